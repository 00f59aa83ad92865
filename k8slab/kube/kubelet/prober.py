"""Watches over a pod's running containers by their probes and keeps what these have found.

Per container, by its id in the engine: first its startup probe alone, then liveness and readiness side by side.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.engine import EngineError, EngineUnavailable
from k8slab.kube.kubelet.observation import Health, Seen
from k8slab.kube.kubelet.probes import ProbeError, Result
from k8slab.kube.kubelet.spec import all_containers, told_status

log = logging.getLogger(__name__)

STARTUP: Final = "Startup"
LIVENESS: Final = "Liveness"
READINESS: Final = "Readiness"
FIELDS: Final = {STARTUP: "startupProbe", LIVENESS: "livenessProbe", READINESS: "readinessProbe"}

_PERIOD: Final = 10
_FAILURES: Final = 3
_SUCCESSES: Final = 1

Look = Callable[[Seen, Mapping[str, Any], Mapping[str, Any]], Awaitable[Result]]
"""Of a container, its declaration and the probe."""
Say = Callable[[str, str, str], None]
"""Told a warning's reason, its words and the name of the container."""


@dataclass
class _Watch:
    health: Health
    task: asyncio.Task[None] | None = None


class Threshold:
    """Counts results alike until they are enough for a verdict."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        successes, failures = spec.get("successThreshold"), spec.get("failureThreshold")
        self._enough = {True: int(successes or _SUCCESSES), False: int(failures or _FAILURES)}
        self._last: bool | None = None
        self._run = 0

    def verdict(self, well: bool) -> bool | None:
        """Whether the container is well, or None while that is open."""
        self._run = self._run + 1 if well == self._last else 1
        self._last = well
        return well if self._run >= self._enough[well] else None


class Prober:
    """``look``: makes one probe; ``changed``: called when a container's health is another than before."""

    def __init__(self, look: Look, say: Say, changed: Callable[[], None]) -> None:
        self._look = look
        self._say = say
        self._changed = changed
        self._watches: dict[str, _Watch] = {}

    def health(self, seen: Seen) -> Health:
        watch = self._watches.get(seen.id)
        return watch.health if watch else Health()

    def follow(self, pod: Pod, all_seen: tuple[Seen, ...]) -> None:
        """Watch over those that run now; what was found about one is kept until it is gone."""
        present = {seen.id for seen in all_seen}
        for identity in [known for known in self._watches if known not in present]:
            self._stop(self._watches.pop(identity))
        declared = {one["name"]: one for one in all_containers(pod)}
        for seen in all_seen:
            container = declared.get(seen.container)
            if container is None or not any(container.get(field) for field in FIELDS.values()):
                continue
            watch = self._watches.get(seen.id)
            if watch is None:
                watch = self._watches[seen.id] = _Watch(_first_health(pod, container, seen))
            if not seen.running:
                self._stop(watch)
            elif watch.task is None and not watch.health.failed:
                name = f"probes of {naming.display_name(pod)}/{seen.container}"
                watch.task = asyncio.create_task(self._watch(watch, seen, container), name=name)

    async def close(self) -> None:
        tasks = [watch.task for watch in self._watches.values() if watch.task]
        for watch in self._watches.values():
            self._stop(watch)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop(self, watch: _Watch) -> None:
        if watch.task is not None:
            watch.task.cancel()
            watch.task = None

    async def _watch(self, watch: _Watch, seen: Seen, container: Mapping[str, Any]) -> None:
        if container.get(FIELDS[STARTUP]) and not watch.health.started:
            await self._repeat(STARTUP, watch, seen, container)
        if watch.health.failed:
            return
        async with asyncio.TaskGroup() as group:
            for kind in (LIVENESS, READINESS):
                if container.get(FIELDS[kind]):
                    group.create_task(self._repeat(kind, watch, seen, container))

    async def _repeat(self, kind: str, watch: _Watch, seen: Seen, container: Mapping[str, Any]) -> None:
        """Startup ends with its first verdict, liveness with a bad one, readiness never."""
        spec: Mapping[str, Any] = container[FIELDS[kind]]
        period = int(spec.get("periodSeconds") or _PERIOD)
        threshold = Threshold(spec)
        running_since = seen.started or datetime.now(UTC)
        await asyncio.sleep(int(spec.get("initialDelaySeconds") or 0) - _seconds_since(running_since))
        while True:
            result = await self._once(kind, seen, container, spec)
            verdict = None if result is None else threshold.verdict(result.well)
            if verdict is not None and kind == READINESS:
                self._set(watch, Health(watch.health.started, verdict, watch.health.failed))
            elif verdict is False and not watch.health.failed:
                self._set(watch, Health(watch.health.started, watch.health.ready, kind.lower()))
                return
            elif verdict and kind == STARTUP:
                self._set(watch, Health(True, watch.health.ready))
                return
            await asyncio.sleep(period)

    async def _once(
        self, kind: str, seen: Seen, container: Mapping[str, Any], spec: Mapping[str, Any]
    ) -> Result | None:
        name = str(container["name"])
        try:
            result = await self._look(seen, container, spec)
        except (EngineUnavailable, ProbeError, EngineError) as trouble:
            log.info("%s probe of container %s (%s): %s", kind, name, seen.id[:12], trouble)
            if not isinstance(trouble, EngineUnavailable):
                self._say("Unhealthy", f"{kind} probe errored: {trouble}", name)
            return None
        except Exception as trouble:
            # A container that nobody looks at any more would stay for good what it was found to be last.
            log.exception("%s probe of container %s (%s)", kind, name, seen.id[:12])
            self._say("Unhealthy", f"{kind} probe errored: {trouble or type(trouble).__name__}", name)
            return None
        if not result.well:
            self._say("Unhealthy", f"{kind} probe failed: {result.said}", name)
        elif result.warning:
            self._say("ProbeWarning", f"{kind} probe warning: {result.said}", name)
        return result

    def _set(self, watch: _Watch, health: Health) -> None:
        if watch.health != health:
            watch.health = health
            self._changed()


def _first_health(pod: Pod, container: Mapping[str, Any], seen: Seen) -> Health:
    """What an earlier kubelet has told of this very container stays until it is found to be otherwise."""
    told = told_status(pod, seen.container)
    if told.get("containerID") != f"docker://{seen.id}":
        told = {}
    started = not container.get(FIELDS[STARTUP]) or bool(told.get("started"))
    ready = not container.get(FIELDS[READINESS]) or bool(told.get("ready"))
    return Health(started, ready)


def _seconds_since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()
