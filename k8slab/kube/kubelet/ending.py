"""Ends a pod's containers: each one's preStop hook, then the signal to end, and what is left of the grace."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from k8slab.kube.events import NORMAL, WARNING
from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.decision import Kill
from k8slab.kube.kubelet.engine import Engine
from k8slab.kube.kubelet.hooks import HookError, run_hook
from k8slab.kube.kubelet.observation import Seen
from k8slab.kube.kubelet.probes import Target
from k8slab.kube.kubelet.spec import container_named, init_containers

log = logging.getLogger(__name__)

# What has used its grace up in its hook still hears the signal before it is killed.
_LEAST_AFTER_HOOK: Final = 2

Say = Callable[[str, str, str, str], None]
"""Told an event's type, reason, message and container."""


class Ending:
    """Of one pod. However often a container is ended, its hook runs once."""

    def __init__(self, engine: Engine, say: Say) -> None:
        self._engine = engine
        self._say = say
        self._told: set[str] = set()

    async def end_all(self, pod: Pod, kills: Sequence[Kill], address: str, grace: int) -> None:
        """The main containers together, then the others in the order of ``kills``, each after the one before.

        ``address``: the pod's; ``grace``: seconds for all of them.
        """
        initial = {container["name"] for container in init_containers(pod)}
        deadline = time.monotonic() + grace
        mains = [kill for kill in kills if kill.seen.container not in initial]
        await asyncio.gather(*(self._end(pod, kill, address, grace) for kill in mains))
        for kill in kills:
            if kill.seen.container in initial:
                await self._end(pod, kill, address, math.ceil(max(0.0, deadline - time.monotonic())))

    async def _end(self, pod: Pod, kill: Kill, address: str, grace: int) -> None:
        await self.end(pod, kill.seen, address, grace if kill.grace is None else min(kill.grace, grace), kill.why)

    async def end(self, pod: Pod, seen: Seen, address: str, grace: int, why: str = "") -> None:
        """``address``: the pod's; ``why``: said instead of the usual sentence."""
        first = seen.id not in self._told
        self._told.add(seen.id)
        if first:
            self._say(NORMAL, "Killing", why or f"Stopping container {seen.container}", seen.container)
        container = container_named(pod, seen.container)
        handler = (container.get("lifecycle") or {}).get("preStop")
        left = grace
        if first and handler and grace > 0:
            began = time.monotonic()
            try:
                async with asyncio.timeout(grace):
                    await run_hook(Target(self._engine, seen.id, container, address), handler)
            except HookError as error:
                log.info("pod %s: %s", pod["metadata"]["name"], error)
                self._say(WARNING, "FailedPreStopHook", "PreStopHook failed", seen.container)
            except TimeoutError:
                log.info("pod %s: preStop hook not completed in grace period", pod["metadata"]["name"])
            left = max(_LEAST_AFTER_HOOK, math.ceil(grace - (time.monotonic() - began)))
        await self._engine.stop(seen.id, left)
