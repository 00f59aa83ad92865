"""The framework: pods that need a place on one side, offers and task states on the other.

What is true lives outside: pods in the API, tasks in Mesos. Here is only what ties them together, rebuilt from the
pods' annotations and a reconciliation whenever this process, the master or the API was away.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from k8slab.k8sm import mapping
from k8slab.k8sm.scheduler import tasks as registry
from k8slab.k8sm.scheduler.fate import Fate, fate
from k8slab.k8sm.scheduler.matching import Placement, match, unsupported
from k8slab.k8sm.scheduler.nodes import NodeKeeper
from k8slab.k8sm.scheduler.offers import OfferRegistry, parse
from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.queue import PodQueue
from k8slab.k8sm.scheduler.reconciliation import Reconciler
from k8slab.k8sm.scheduler.settings import Settings
from k8slab.k8sm.scheduler.tasks import TERMINAL, Task, TaskRegistry
from k8slab.mesos.client import MesosError
from k8slab.mesos.client.scheduler import SchedulerClient, launch

log = logging.getLogger(__name__)

OFFER_TTL: Final = 5.0
# With nobody waiting, an offer that was sent back need not return by itself: a pod that comes revives all offers.
IDLE_REFUSAL: Final = 600.0
BUSY_REFUSAL: Final = 2.0
REVIVE_SPACING: Final = 1.0
KILL_AGAIN: Final = 15.0

_NOT_YET_RUNNING: Final = frozenset({registry.LAUNCHING, "TASK_STAGING", "TASK_STARTING"})

Pod = Mapping[str, Any]
Event = Mapping[str, Any]


class Framework:
    """``on_subscribed``: told the framework id at each subscription."""

    def __init__(
        self,
        settings: Settings,
        client: SchedulerClient,
        pods: PodStore,
        nodes: NodeKeeper,
        *,
        on_subscribed: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._client = client
        self._pods = pods
        self._nodes = nodes
        self._told = on_subscribed
        self._known_id = client.framework_id
        self._wake = asyncio.Event()
        self._revived_at = float("-inf")
        self._wants_offers = False
        self.offers = OfferRegistry()
        self.queue = PodQueue()
        self.tasks = TaskRegistry()
        self.launches = 0
        self.reconciler = Reconciler(client, self.tasks, interval=settings.reconcile_interval)
        pods.subscribe(self._pod_changed, self._wake.set)

    @property
    def subscribed(self) -> bool:
        return self._client.subscribed

    def now(self) -> float:
        """The clock that offers, tasks and waiting pods are timed by, in seconds."""
        return _now()

    async def run(self) -> None:
        """Follow Mesos and place pods until cancelled, or until the master ends this framework (MesosError)."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._place_forever(), name="placement")
            group.create_task(self.reconciler.run(), name="reconciliation")
            group.create_task(self._follow_mesos(), name="mesos events")

    async def _follow_mesos(self) -> None:
        while True:
            verdict = ""
            async for event in self._client.events():
                if event["type"] == "ERROR":
                    verdict = event["error"]["message"]
                    log.error("the master says: %s", verdict)
                    continue
                try:
                    await self._handle(event)
                except MesosError as error:
                    # The stream's own end follows; whatever was lost is found by the reconciliation after it.
                    log.warning("%s not handled: %s", event["type"], error)
            if "removed" not in verdict:
                raise MesosError(0, verdict or "the subscription has ended")
            # Somebody tore this framework down: all its tasks are gone, and it begins anew.
            self._client.framework_id = None

    async def _handle(self, event: Event) -> None:
        match event["type"]:
            case "SUBSCRIBED":
                self._on_subscribed()
            case "DISCONNECTED":
                log.warning("the master is away")
                self.offers.clear()
                self.reconciler.disconnected()
                self._nodes.disconnected()
            case "OFFERS":
                await self._on_offers(event["offers"].get("offers") or [])
            case "RESCIND":
                self.offers.remove(event["rescind"]["offer_id"]["value"])
            case "UPDATE":
                await self._on_update(event["update"]["status"])
            case "FAILURE":
                await self._on_failure(event["failure"])

    def _on_subscribed(self) -> None:
        framework_id = self._client.framework_id or ""
        master = self._client.detector.current or ""
        log.info("framework %s is subscribed at %s", framework_id, master)
        self.offers.clear()
        if self._known_id != framework_id:
            self._known_id = framework_id
            for task in self.tasks:
                self._end(task, {"state": "TASK_GONE", "message": "it belonged to an earlier framework"})
        self._told(framework_id)
        self._nodes.subscribed(master)
        self.reconciler.subscribed()
        self.queue.expect_offers(_now())
        self._wants_offers = bool(self.queue)
        self._wake.set()

    async def _on_offers(self, offers: list[Event]) -> None:
        now = _now()
        unfit: list[str] = []
        for offer in (parse(raw, now) for raw in offers):
            self._nodes.noticed(offer.agent)
            foreign = [one for one in offer.executors if one != self._settings.executor.id]
            if foreign:
                log.warning("declining offer of %s: another executor runs there: %s", offer.host, ", ".join(foreign))
                unfit.append(offer.id)
            else:
                self.offers.add(offer)
        if unfit:
            await self._client.decline(unfit, refuse_seconds=IDLE_REFUSAL)
        self._wake.set()

    async def _on_update(self, status: Mapping[str, Any]) -> None:
        task_id, state = status["task_id"]["value"], status["state"]
        task = self.tasks.get(task_id)
        log.debug("task %s is %s: %s", task_id, state, status.get("message", ""))
        if task is None:
            await self._on_unknown_task(status)
        elif state in TERMINAL or (state == "TASK_UNKNOWN" and self.reconciler.settled):
            self._end(task, status)
        elif state != "TASK_UNKNOWN":
            self.tasks.change(task_id, state, _now())
            if state == "TASK_RUNNING":
                self.queue.launched(task.uid)
            self._wake.set()

    async def _on_unknown_task(self, status: Mapping[str, Any]) -> None:
        """A task that is not in the books: another life of this scheduler launched it. It is taken over, or killed."""
        if status["state"] in TERMINAL or status["state"] in ("TASK_UNKNOWN", "TASK_KILLING"):
            return
        task_id = status["task_id"]["value"]
        for pod in await self._pods.fresh():
            if mapping.annotation(pod, mapping.TASK_ID) == task_id and not registry.is_finished(pod):
                task = registry.recovered(pod, _now())
                if task is not None:
                    self.queue.remove(task.uid)
                    self.tasks.add(task)
                    self.tasks.change(task.id, status["state"], _now())
                    return
        log.warning("killing task %s, which is no pod's", task_id)
        await self._client.kill(task_id, (status.get("agent_id") or {}).get("value"))

    async def _on_failure(self, failure: Mapping[str, Any]) -> None:
        agent = failure["agent_id"]["value"]
        held = self.offers.drop_agent(agent)
        if "executor_id" in failure:
            log.warning("executor %s on agent %s ended", failure["executor_id"]["value"], agent)
            if held:
                # They count on an executor that is no more: the next ones will not.
                await self._client.decline(held, refuse_seconds=0)
            return
        log.warning("agent %s is lost", agent)
        self._nodes.lost(agent)

    def _end(self, task: Task, status: Mapping[str, Any]) -> None:
        """A task is over; its pod goes on, goes away, or needs another one."""
        self.tasks.remove(task.id)
        pod = self._pods.by_uid(task.uid)
        outcome = fate(pod, status)
        why = " ".join(str(status[key]) for key in ("reason", "message") if status.get(key))
        log.info("task %s of pod %s is %s (%s): %s", task.id, task.pod, status["state"], why, outcome.name)
        if pod is None:
            return
        if task.state in _NOT_YET_RUNNING:
            self.queue.launch_failed(task.uid)
        if outcome is Fate.DELETE:
            self._pods.delete(pod)
        elif outcome is Fate.LAUNCH:
            if not registry.is_deleted(pod):
                self._pods.say_warning(pod, "TaskLost", f"Mesos task ended as {status['state']}: {why}".rstrip(": "))
            self._consider(pod)

    def _pod_changed(self, pod: Pod, *, gone: bool) -> None:
        """The API has a new view of a pod."""
        task = self.tasks.of_pod(pod["metadata"]["uid"])
        if gone:
            self.queue.remove(pod["metadata"]["uid"])
            self.queue.launched(pod["metadata"]["uid"])
        elif task is None:
            self._consider(pod)
        if task is not None and (gone or registry.is_deleted(pod)) and task.killed_at is None:
            self._wake.set()

    def _consider(self, pod: Pod) -> None:
        """Queue a pod that needs a task; take one over that has one already."""
        uid = pod["metadata"]["uid"]
        bound = bool(pod["spec"].get("nodeName"))
        if registry.is_finished(pod):
            self.queue.remove(uid)
            if registry.is_deleted(pod):
                self._pods.delete(pod)
            return
        task = registry.recovered(pod, _now())
        if task is not None and not self.tasks.has_ended(task.id):
            self.queue.remove(uid)
            self.tasks.add(task)
            self.reconciler.soon()
            return
        if registry.is_deleted(pod) and not bound:
            self.queue.remove(uid)
            return
        if self.queue.put(pod, _now()):
            self._wants_offers = True
            self._wake.set()

    async def _place_forever(self) -> None:
        while True:
            self._wake.clear()
            if self._client.subscribed:
                try:
                    await self._round()
                except MesosError as error:
                    log.warning("round not finished: %s", error)
            try:
                await asyncio.wait_for(self._wake.wait(), self._pause())
            except TimeoutError:
                continue

    async def _round(self) -> None:
        now = _now()
        await self._kill_deleted(now)
        if self.queue:
            matched = match(
                (pod for pod in self.queue.pods(now) if not unsupported(pod)),
                self.offers.slots(),
                self._pods.nodes,
                self._settings.executor,
                self._settings.defaults,
            )
            await self._launch(matched.placements)
            for pod in self.queue.pods(now):
                uid = pod["metadata"]["uid"]
                self._complain(pod, matched.reasons.get(uid) or unsupported(pod), now)
        if self.queue and self._wants_offers and now - self._revived_at >= REVIVE_SPACING:
            self._wants_offers = False
            self._revived_at = now
            await self._client.revive()
        if expired := self.offers.expire(now - OFFER_TTL):
            await self._client.decline(expired, refuse_seconds=BUSY_REFUSAL if self.queue else IDLE_REFUSAL)

    async def _launch(self, placements: tuple[Placement, ...]) -> None:
        by_agent: dict[str, list[Placement]] = defaultdict(list)
        for placement in placements:
            by_agent[placement.slot.agent].append(placement)
        for agent, chosen in by_agent.items():
            slot = chosen[0].slot
            infos: list[Event] = []
            for placement in chosen:
                pod, meta = placement.pod, placement.pod["metadata"]
                annotations = mapping.binding_annotations(
                    task_id=mapping.new_task_id(),
                    host=slot.host,
                    agent=agent,
                    offer=slot.offers[0],
                    executor=self._settings.executor.id,
                )
                infos.append(mapping.task_info(pod, annotations, placement.resources, self._settings.executor))
                self.queue.remove(meta["uid"])
                self.tasks.add(
                    Task(
                        id=annotations[mapping.TASK_ID],
                        uid=meta["uid"],
                        pod=f"{meta['namespace']}/{meta['name']}",
                        agent=agent,
                        host=slot.host,
                        executor=self._settings.executor.id,
                        state=registry.LAUNCHING,
                        changed=_now(),
                    )
                )
                log.info(
                    "pod %s/%s goes to %s as task %s",
                    meta["namespace"],
                    meta["name"],
                    slot.host,
                    annotations[mapping.TASK_ID],
                )
                self._pods.scheduled(pod, slot.host)
                self.launches += 1
            for offer in slot.offers:
                self.offers.remove(offer)
            # Whether a call that broke off has arrived is unknown: the reconciliation of what is launching tells.
            self.reconciler.soon()
            await self._client.accept(
                slot.offers, [launch(infos)], refuse_seconds=BUSY_REFUSAL if self.queue else IDLE_REFUSAL
            )

    def _complain(self, pod: Pod, reason: str, now: float) -> None:
        entry = self.queue.failed(pod["metadata"]["uid"], reason, now)
        if entry is None:
            return
        self._wants_offers = True
        log.info("pod %s/%s waits: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], reason)
        self._pods.unschedulable(pod, reason)

    async def _kill_deleted(self, now: float) -> None:
        for task in self.tasks:
            if task.killed_at is not None and now - task.killed_at < KILL_AGAIN:
                continue
            pod = self._pods.by_uid(task.uid)
            if pod is not None and not registry.is_deleted(pod):
                continue
            if pod is None and not self._pods.is_complete:
                continue
            if pod is not None and task.state == registry.LAUNCHING:
                # Launched for the sake of its end: a kill that overtakes the launch would leave its containers alone.
                continue
            grace = 0.0 if pod is None else float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            self.tasks.killing(task.id, now)
            log.info("pod %s is deleted: killing task %s", task.pod, task.id)
            await self._client.kill(task.id, task.agent or None, grace_seconds=grace)

    def _pause(self) -> float | None:
        """Seconds until something is due by itself."""
        now = _now()
        times = [task.killed_at + KILL_AGAIN for task in self.tasks if task.killed_at is not None]
        if (oldest := self.offers.oldest()) is not None:
            times.append(oldest + OFFER_TTL)
        if (due := self.queue.next_due(now)) is not None:
            times.append(due)
        if self.queue and self._wants_offers:
            times.append(self._revived_at + REVIVE_SPACING)
        return max(0.05, min(times) - now) if times else None


def _now() -> float:
    return asyncio.get_running_loop().time()
