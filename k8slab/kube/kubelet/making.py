"""Makes what a pod consists of in the engine: its sandbox and its containers, up to their postStart hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from k8slab.kube.events import NORMAL, WARNING
from k8slab.kube.kubelet import containers, naming
from k8slab.kube.kubelet.context import Context, Pod
from k8slab.kube.kubelet.ending import Ending, Say
from k8slab.kube.kubelet.engine import EngineError
from k8slab.kube.kubelet.environment import ConfigError
from k8slab.kube.kubelet.hooks import HookError, run_hook
from k8slab.kube.kubelet.images import ImageError, policy_of
from k8slab.kube.kubelet.observation import RUNNING, Seen
from k8slab.kube.kubelet.patience import Patience
from k8slab.kube.kubelet.payload import VolumeError
from k8slab.kube.kubelet.privileges import this_machine
from k8slab.kube.kubelet.probes import Target
from k8slab.kube.kubelet.pull_secrets import pull_credentials
from k8slab.kube.kubelet.recipe import container_recipe
from k8slab.kube.kubelet.spec import container_named, termination_grace
from k8slab.kube.kubelet.status import Waiting
from k8slab.kube.kubelet.volumes import PodDirectory

T = TypeVar("T")


class Making:
    """Of one pod. ``waiting``: why each container that does not run does not; ``poke``: called when there is news."""

    def __init__(
        self,
        context: Context,
        directory: PodDirectory,
        patience: Patience,
        ending: Ending,
        *,
        say: Say,
        poke: Callable[[], None],
    ) -> None:
        self._context = context
        self._directory = directory
        self._patience = patience
        self._ending = ending
        self._say = say
        self._poke = poke
        self._work: asyncio.Future[Any] | None = None
        self.waiting: dict[str, Waiting] = {}

    async def settle(self) -> None:
        """Wait for what the engine has been asked to make, whoever asked for it and has left since."""
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)

    async def sandbox(self, pod: Pod, attempt: int) -> bool:
        """The pod's pause container; whether it runs."""
        context = self._context
        try:
            await context.images.ensure(context.infra_image, "IfNotPresent")
            config = containers.sandbox_config(
                pod,
                image=context.infra_image,
                node=context.node,
                attempt=attempt,
                domain=context.dns.domain,
                machine=this_machine(),
            )
            name = naming.container_name(pod, naming.SANDBOX, attempt)
            await self._made(context.engine.start(await self._made(context.engine.create(str(name), config))))
        except (ImageError, EngineError) as error:
            self._say(WARNING, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}", "")
            self._patience.failed(naming.SANDBOX)
            return False
        self._patience.forgive(naming.SANDBOX)
        return True

    async def container(self, pod: Pod, name: str, attempt: int, sandbox: str, address: str) -> None:
        """Make and start one; what stands in its way becomes its reason for waiting and sets when to try again.

        ``sandbox``: the id of the pod's pause container, ``address``: the pod's.
        """
        container = container_named(pod, name)
        try:
            await self._create_and_start(pod, container, attempt, sandbox, address)
        except ImageError as error:
            self.waiting[name] = Waiting(error.reason, error.message)
            self._patience.hold(name, error.retry)
        except VolumeError as error:
            self._say(WARNING, "FailedMount", str(error), name)
            self.waiting[name] = Waiting("ContainerCreating", str(error))
            self._patience.failed(name)
        except ConfigError as error:
            self._say(WARNING, "Failed", f"Error: {error}", name)
            self.waiting[name] = Waiting("CreateContainerConfigError", str(error))
            self._patience.failed(name)
        except EngineError as error:
            self._say(WARNING, "Failed", f"Error: {error}", name)
            self.waiting[name] = Waiting("CreateContainerError", str(error))
            self._patience.failed(name)

    async def _create_and_start(
        self, pod: Pod, container: Mapping[str, Any], attempt: int, sandbox: str, address: str
    ) -> None:
        context, name = self._context, container["name"]
        image = await self._image(pod, container)
        recipe = await container_recipe(
            context,
            self._directory,
            pod,
            container,
            image=image,
            attempt=attempt,
            sandbox=sandbox,
            pod_ip=address,
        )
        for reason, sentence in recipe.warnings:
            self._say(WARNING, reason, sentence, name)
        called = str(naming.container_name(pod, name, attempt))
        made = await self._made(context.engine.create(called, recipe.config))
        self._say(NORMAL, "Created", f"Created container {name}", name)
        try:
            await self._made(context.engine.start(made))
        except EngineError as error:
            # The engine keeps the error with the container, where the next look finds it as a failed attempt.
            self._patience.count_restart(name, attempt)
            self.waiting[name] = Waiting("RunContainerError", f'failed to start container "{name}": {error}')
            self._say(WARNING, "Failed", f'Error: failed to start container "{name}": {error}', name)
            self._poke()
            return
        self._patience.count_restart(name, attempt)
        self.waiting.pop(name, None)
        self._patience.forgive(name)
        self._say(NORMAL, "Started", f"Started container {name}", name)
        await self._after_start(pod, container, made, attempt, address)

    async def _after_start(self, pod: Pod, container: Mapping[str, Any], made: str, attempt: int, address: str) -> None:
        """The container's postStart hook; without it done the container ends, and its next attempt has to wait."""
        name = container["name"]
        handler = (container.get("lifecycle") or {}).get("postStart")
        if not handler:
            return
        try:
            await run_hook(Target(self._context.engine, made, container, address), handler)
        except HookError as error:
            self._say(WARNING, "FailedPostStartHook", "PostStartHook failed", name)
            self.waiting[name] = Waiting("PostStartHookError", str(error))
            seen = Seen(made, name, attempt, RUNNING, container["image"], "")
            grace = termination_grace(pod)
            await self._ending.end(pod, seen, address, grace, "FailedPostStartHook")
            self._poke()

    async def _made(self, work: Coroutine[Any, Any, T]) -> T:
        """What the engine was asked to make is waited for even by who no longer wants it: it would be left behind."""
        self._work = asyncio.ensure_future(work)
        return await asyncio.shield(self._work)

    async def _image(self, pod: Pod, container: Mapping[str, Any]) -> str:
        name, reference = container["name"], str(container["image"])

        def say(kind: str, reason: str, message: str) -> None:
            self._say(kind, reason, message, name)

        found = await self._context.images.ensure(
            reference,
            policy_of(container),
            owner=str(pod["metadata"]["uid"]),
            say=say,
            credentials=lambda: pull_credentials(
                pod, reference, self._context.supplies, self._context.engine.own_registry, say
            ),
        )
        say(NORMAL, "Pulled", found.how)
        return reference
