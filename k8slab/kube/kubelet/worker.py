"""One pod on its node, from first sight to last container: looks, decides, acts, reports; again whenever poked.

All its knowledge is in the engine, so that a new kubelet carries on where another one ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from k8slab.kube import clock
from k8slab.kube.client import ApiError, ApiUnavailable, Object
from k8slab.kube.durations import spelled
from k8slab.kube.events import NORMAL, WARNING
from k8slab.kube.kubelet import naming, status
from k8slab.kube.kubelet.context import Context, Pod
from k8slab.kube.kubelet.decision import Decision, Kill, decide, in_order_of_end
from k8slab.kube.kubelet.ending import Ending
from k8slab.kube.kubelet.engine import EngineError, EngineUnavailable
from k8slab.kube.kubelet.lastwords import with_last_words
from k8slab.kube.kubelet.making import Making
from k8slab.kube.kubelet.observation import Observed, Seen, arranged, observe
from k8slab.kube.kubelet.patience import Patience
from k8slab.kube.kubelet.payload import VolumeError
from k8slab.kube.kubelet.prober import Prober
from k8slab.kube.kubelet.probes import Result, Target, probe
from k8slab.kube.kubelet.spec import all_containers, init_containers, termination_grace, updated_spec
from k8slab.kube.kubelet.status import ENDED, Doom, Waiting
from k8slab.kube.kubelet.support import unsupported
from k8slab.kube.kubelet.volumes import MEASURE_EVERY, PodDirectory

log = logging.getLogger(__name__)

RESYNC: Final = 20.0
RETRY: Final = 2.0

T = TypeVar("T")

_DEADLINE: Final = Doom("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
# The key of failures that are no single container's.
_EVERYTHING: Final = ""


class PodWorker:
    def __init__(self, context: Context, pod: Pod) -> None:
        self._context = context
        self._pod: Object = dict(pod)
        self._directory = PodDirectory(context.root, self.uid, context.supplies)
        self._patience = Patience(context.restarts, self.uid)
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._prober = Prober(self._probe, lambda reason, said, name: self._say(WARNING, reason, said, name), self.poke)
        self._ending = Ending(context.engine, self._say)
        self._making = Making(context, self._directory, self._patience, self._ending, say=self._say, poke=self.poke)
        self.finished = False
        self.contradicted = False
        """Whether the API shows another verdict about the pod than this worker's."""

    @property
    def pod(self) -> Pod:
        """The pod as it was last told, with the status last computed here."""
        return self._pod

    @property
    def uid(self) -> str:
        return str(self._pod["metadata"]["uid"])

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"pod {naming.display_name(self._pod)}")

    def poke(self) -> None:
        """Something happened to its containers: look again."""
        self._poked.set()

    def supplied(self) -> None:
        """What its volumes and variables are made of has changed: what waits for that need not wait any longer."""
        self._patience.end_holds()
        self.poke()

    def update(self, pod: Pod) -> None:
        """Take over the API's newer view of the pod; the status is this worker's own."""
        own = self._pod.get("status") or {}
        self.contradicted = bool(own) and _verdict(pod.get("status") or {}) != _verdict(own)
        told = status.with_foreign_conditions(own, pod.get("status") or {}) if own else pod.get("status") or {}
        before, self._pod = self._pod, {**pod, "spec": updated_spec(self._pod, pod), "status": told}
        labelled = any(pod["metadata"].get(maps) != before["metadata"].get(maps) for maps in ("labels", "annotations"))
        if before["spec"] != self._pod["spec"]:
            self.supplied()
        elif labelled or own != told:
            self.poke()

    async def stop_watching(self) -> None:
        """Leave the pod alone, running."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._prober.close()
        await self._making.settle()

    async def kill(self, grace: int) -> None:
        """End all containers within ``grace`` seconds and remove every trace. May be called again with less grace."""
        await self.stop_watching()
        deadline = time.monotonic() + grace
        while True:
            left = math.ceil(max(0.0, deadline - time.monotonic()))
            try:
                observed = await observe(self._context.engine, self.uid)
                if not observed.everything:
                    break
                kills = [Kill(seen) for seen in in_order_of_end(self._pod, observed)]
                await self._ending.end_all(self._pod, kills, self._pod_ip(observed), left)
                if self._pod["metadata"].get("deletionTimestamp"):
                    self._report(await self._observe(), ending=True)
                for seen in observed.everything:
                    await self._context.engine.remove(seen.id)
            except (EngineError, EngineUnavailable) as error:
                log.warning("ending pod %s: %s", naming.display_name(self._pod), error)
                await asyncio.sleep(RETRY)
            except Exception:
                # Nobody else would ever end it.
                log.exception("ending pod %s", naming.display_name(self._pod))
                await asyncio.sleep(RETRY)
        await self._clear_away()
        self._patience.forget(container["name"] for container in all_containers(self._pod))
        self._context.images.forget(self.uid)
        self.finished = True

    async def _clear_away(self) -> None:
        while True:
            try:
                await self._directory.remove()
                return
            except (VolumeError, OSError) as error:
                log.warning("directory of pod %s: %s", naming.display_name(self._pod), error)
                await asyncio.sleep(RETRY)

    async def _run(self) -> None:
        while not self.finished:
            self._poked.clear()
            try:
                if problems := unsupported(self._pod):
                    self._refuse("; ".join(problems))
                    return
                pause = await self._sync()
                self._patience.forgive(_EVERYTHING)
            except (EngineError, EngineUnavailable, ApiError, ApiUnavailable) as error:
                log.warning("pod %s: %s; trying again", naming.display_name(self._pod), error)
                pause = RETRY
            except Exception as error:
                # Whatever it was, a pod whose worker is gone would neither be run nor be reported on ever again.
                log.exception("pod %s", naming.display_name(self._pod))
                self._say(WARNING, "Failed", f"Error: {error or type(error).__name__}")
                # Asleep also for the engine's events, which may be of this worker's own making.
                await asyncio.sleep(self._patience.failed(_EVERYTHING))
                continue
            if not self.finished:
                try:
                    await asyncio.wait_for(self._poked.wait(), pause)
                except TimeoutError:
                    continue

    def _refuse(self, message: str) -> None:
        self._say(WARNING, "Failed", f"Pod refused: {message}")
        refused = status.refused_status(
            self._pod, reason="UnsupportedPodSpec", message=message, host_ip=self._context.address, now=_now()
        )
        self._tell(refused)
        self.finished = True

    async def _sync(self) -> float:
        """Bring the pod one step nearer to what it wants to be; seconds until the next look, unless poked."""
        observed = await self._observe()
        if self._pod["metadata"].get("deletionTimestamp"):
            # Whoever brings pods here ends it; nothing of it begins again.
            self._report(observed)
            return RESYNC
        told = self._pod.get("status") or {}
        # One that has ended never runs again, even when nothing is left that shows how it ended.
        ended = told.get("phase") in ENDED
        doom = None if ended else await self._doom()
        decision = decide(self._pod, observed, self._patience.left, doomed=ended or doom is not None)
        if doom and decision.kill:
            self._say(WARNING if doom.warns else NORMAL, doom.reason, doom.message)
        await self._end(decision, observed)
        if decision.finished:
            self._prober.follow(self._pod, ())
            if ended:
                self.repeat()
            else:
                self._report(await self._observe() if decision.kill else observed, doom=doom)
            self.finished = True
            return RESYNC
        if decision.sandbox is not None:
            if observed.sandbox is not None:
                changed = "Pod sandbox changed, it will be killed and re-created."
                self._say(NORMAL, "SandboxChanged", changed)
            self._report(observed)
            if self._patience.holds(naming.SANDBOX) or not await self._making.sandbox(self._pod, decision.sandbox):
                return self._pause(decision)
        if start := [(name, attempt) for name, attempt in decision.start if not self._patience.holds(name)]:
            if decision.sandbox is not None or decision.remove or decision.kill:
                observed = await self._observe()
            if observed.sandbox is None:
                return 0.0
            for name, attempt in start:
                await self._making.container(self._pod, name, attempt, observed.sandbox.id, self._pod_ip(observed))
            observed = await self._observe()
            if init_containers(self._pod):
                # The next one may not have to wait for this one's end.
                self.poke()
        for name, seconds in decision.wait:
            self._await_restart(name, seconds)
        await self._refresh_volumes()
        self._report(observed)
        return self._pause(decision)

    async def _end(self, decision: Decision, observed: Observed) -> None:
        """What has to end, and what has to go."""
        grace = termination_grace(self._pod)
        foreign = [Kill(seen) for seen in decision.remove if seen.running and seen.container != naming.SANDBOX]
        await self._ending.end_all(self._pod, [*decision.kill, *foreign], self._pod_ip(observed), grace)
        for seen in decision.remove:
            await self._context.engine.remove(seen.id)
        if decision.kill:
            self.poke()

    def _pause(self, decision: Decision) -> float:
        period = MEASURE_EVERY if self._directory.measures(self._pod) else RESYNC
        restarts = (seconds for _, seconds in decision.wait)
        return min([period, self._seconds_to_deadline(), *self._patience.waits(), *restarts])

    async def _doom(self) -> Doom | None:
        if self._seconds_to_deadline() <= 0:
            return _DEADLINE
        overfull = await self._directory.overfull(self._pod)
        return Doom("Evicted", overfull, warns=True) if overfull else None

    def _seconds_to_deadline(self) -> float:
        deadline = self._pod["spec"].get("activeDeadlineSeconds")
        started = (self._pod.get("status") or {}).get("startTime")
        if not deadline or not started:
            return math.inf
        return (clock.parse(started) + timedelta(seconds=int(deadline)) - _now()).total_seconds()

    async def _observe(self) -> Observed:
        """All that is to be seen of it: its containers, what the dead have said and what their probes have found."""
        plain = await observe(self._context.engine, self.uid)
        observed = await with_last_words(self._context.engine, self._pod, plain, self._directory.message)
        self._prober.follow(self._pod, observed.everything)
        return arranged(dataclasses.replace(seen, health=self._prober.health(seen)) for seen in observed.everything)

    async def _probe(self, seen: Seen, container: Mapping[str, Any], spec: Mapping[str, Any]) -> Result:
        address = str((self._pod.get("status") or {}).get("podIP") or "")
        return await probe(Target(self._context.engine, seen.id, container, address), spec)

    async def _refresh_volumes(self) -> None:
        try:
            await self._directory.refresh(self._pod)
        except VolumeError as error:
            self._say(WARNING, "FailedMount", str(error))

    def _await_restart(self, name: str, seconds: float) -> None:
        delay = spelled(self._patience.delay(name))
        whole = f"{naming.full_name(self._pod)}({self.uid})"
        message = f"back-off {delay} restarting failed container={name} pod={whole}"
        if self._making.waiting.get(name) != Waiting("CrashLoopBackOff", message):
            self._making.waiting[name] = Waiting("CrashLoopBackOff", message)
            self._say(WARNING, "BackOff", f"Back-off restarting failed container {name} in pod {whole}", name)

    def _report(self, observed: Observed, *, doom: Doom | None = None, ending: bool = False) -> None:
        self._tell(
            status.pod_status(
                self._pod,
                observed,
                waiting=self._making.waiting,
                host_ip=self._context.address,
                pod_ip=self._pod_ip(observed),
                now=_now(),
                doom=doom,
                ending=ending,
            )
        )

    def repeat(self) -> None:
        """Publish the status once more."""
        if status := self._pod.get("status"):
            self._context.publish(self._pod, dict(status))

    def _tell(self, computed: Object) -> None:
        if computed != self._pod.get("status"):
            self._pod = {**self._pod, "status": computed}
            self._context.publish(self._pod, computed)

    def _pod_ip(self, observed: Observed) -> str:
        if self._pod["spec"].get("hostNetwork"):
            return self._context.address
        sandbox = observed.sandbox
        if sandbox is not None and sandbox.running:
            return sandbox.address
        return str((self._pod.get("status") or {}).get("podIP") or "")

    def _say(self, kind: str, reason: str, message: str, container: str = "") -> None:
        self._context.recorder.say(self._pod, kind, reason, message, container=container)


def _verdict(status: Mapping[str, Any]) -> tuple[Any, ...]:
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    return status.get("phase"), conditions.get("Ready"), conditions.get("ContainersReady")


def _now() -> datetime:
    return datetime.now(UTC)
