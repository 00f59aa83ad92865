"""The framework: pods that need a place on one side, offers and task states on the other.

What is true lives outside: pods in the API, tasks in Mesos. Here is only what ties them together, rebuilt from the
pods' annotations and a reconciliation whenever this process, the master or the API was away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from k8slab.k8sm import mapping
from k8slab.k8sm.scheduler import tasks as registry
from k8slab.k8sm.scheduler.fate import Fate, fate, is_sweeper, may_leave_containers, sweeper
from k8slab.k8sm.scheduler.handover import ASK_AGAIN, Replacer
from k8slab.k8sm.scheduler.kills import Killer
from k8slab.k8sm.scheduler.matching import Policy
from k8slab.k8sm.scheduler.nodes import NodeKeeper
from k8slab.k8sm.scheduler.offers import OfferRegistry, parse
from k8slab.k8sm.scheduler.placer import Placer
from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.queue import PodQueue
from k8slab.k8sm.scheduler.reconciliation import Reconciler
from k8slab.k8sm.scheduler.settings import Settings
from k8slab.k8sm.scheduler.strangers import Strangers
from k8slab.k8sm.scheduler.tasks import TERMINAL, Task, TaskRegistry
from k8slab.mesos.client import MesosError
from k8slab.mesos.client.scheduler import SchedulerClient

log = logging.getLogger(__name__)

SWEEP_PATIENCE: Final = 300.0

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
        timing = settings.timing
        self.offers = OfferRegistry(linger=timing.offer_linger_ttl)
        self.queue = PodQueue(first=timing.initial_pod_backoff, longest=timing.max_pod_backoff)
        self.tasks = TaskRegistry()
        self.reconciler = Reconciler(
            client,
            self.tasks,
            interval=settings.reconcile_interval,
            implicit_delay=timing.initial_implicit_reconciliation_delay,
            cooldown=timing.reconcile_cooldown,
            longest_delay=timing.explicit_reconciliation_max_backoff,
        )
        self.placer = Placer(
            client,
            pods,
            Policy(
                settings.executor,
                settings.defaults,
                strategy=settings.strategy,
                roles=settings.pod_roles,
                wildcard=settings.wildcard_ports,
                discovery=settings.task_discovery,
            ),
            queue=self.queue,
            offers=self.offers,
            tasks=self.tasks,
            reconciler=self.reconciler,
            offer_ttl=timing.offer_ttl,
        )
        self._killer = Killer(client, pods, self.tasks)
        self._replacer = Replacer(client, self.tasks)
        self._strangers = Strangers(client, pods, self.reconciler, self._judge)
        pods.subscribe(self._pod_changed, self.placer.want_offers)

    @property
    def subscribed(self) -> bool:
        return self._client.subscribed

    def now(self) -> float:
        """The clock that offers, tasks and waiting pods are timed by, in seconds."""
        return _now()

    async def run(self) -> None:
        """Follow Mesos and place pods until cancelled, or until the master ends this framework (MesosError)."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.placer.run(), name="placement")
            group.create_task(self._killer.run(), name="kills")
            group.create_task(self.reconciler.run(), name="reconciliation")
            group.create_task(self._strangers.run(), name="unknown tasks")
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
        self._strangers.clear()
        if self._known_id != framework_id:
            self._known_id = framework_id
            for task in self.tasks:
                self._end(task, {"state": "TASK_GONE", "message": "it belonged to an earlier framework"})
        self._told(framework_id)
        self._nodes.subscribed(master)
        self.reconciler.subscribed()
        self.placer.subscribed()
        self._killer.subscribed()

    async def _on_offers(self, offers: list[Event]) -> None:
        now = _now()
        unfit: list[str] = []
        others: list[tuple[str, str, str]] = []
        for offer in (parse(raw, now) for raw in offers):
            self._nodes.noticed(offer.agent)
            foreign = [one for one in offer.executors if one != self._settings.executor.id]
            if foreign:
                unfit.append(offer.id)
                others += [(offer.agent, offer.host, one) for one in foreign]
                self._bring_executor(offer.host)
            else:
                self.offers.add(offer)
                if not offer.executors and self._settings.executor.data:
                    # Static pods run on every node, whether it has other pods or not.
                    self._bring_executor(offer.host)
        self.placer.wake()
        # Only when every offer is in the books or sent back: what is told to executors may break off.
        if unfit:
            # With a filter for as long as the old executor may take to leave: then the agent offers more than now.
            await self.placer.decline(unfit, refuse_seconds=ASK_AGAIN)
        for agent, host, executor in others:
            await self._replacer.replace(agent, host, executor)

    async def end_executors(self) -> list[str]:
        """Ask all executors that have tasks to end, and to leave the pods to the next ones; the agents they are on."""
        places = {(task.agent, task.executor) for task in self.tasks if task.agent and task.executor}
        for agent, executor in places:
            await self._client.message(agent, executor, mapping.HAND_OVER)
        return sorted(agent for agent, _ in places)

    @property
    def pods(self) -> Mapping[str, Pod]:
        """All pods that are this scheduler's, by uid."""
        return self._pods.all

    async def _on_update(self, status: Mapping[str, Any]) -> None:
        task_id, state = status["task_id"]["value"], status["state"]
        task = self.tasks.get(task_id)
        log.debug("task %s is %s: %s", task_id, state, status.get("message", ""))
        self._strangers.forget(task_id)
        if task is None:
            await self._on_unknown_task(status)
        elif state in TERMINAL or (state == "TASK_UNKNOWN" and self.reconciler.settled):
            self._end(task, status)
        elif state != "TASK_UNKNOWN":
            self.tasks.change(task_id, state, _now())
            if state == "TASK_RUNNING":
                self.queue.launched(task.uid)
            self._killer.changed(task.uid)

    async def _on_unknown_task(self, status: Mapping[str, Any]) -> None:
        """A task that is not in the books: another life of this scheduler launched it. It is taken over, or killed."""
        if status["state"] in TERMINAL or status["state"] in ("TASK_UNKNOWN", "TASK_KILLING"):
            agent = self._nodes.agents.get((status.get("agent_id") or {}).get("value", ""))
            if agent is not None and may_leave_containers(status):
                self._bring_executor(agent.host)
            return
        pod = self._pods.by_task(status["task_id"]["value"])
        if pod is not None:
            await self._judge(status, pod)
        else:
            self._strangers.ask(status)

    async def _judge(self, status: Mapping[str, Any], pod: Pod | None) -> None:
        task_id = status["task_id"]["value"]
        if self.tasks.get(task_id) is not None:
            # The watch told of its pod meanwhile.
            await self._on_update(status)
            return
        if pod is not None and not registry.is_finished(pod) and (task := registry.recovered(pod, _now())) is not None:
            self.queue.remove(task.uid)
            self.tasks.add(task)
            self.tasks.change(task.id, status["state"], _now())
            self._killer.consider(task.uid)
            return
        log.warning("killing task %s, which is no pod's", task_id)
        await self._client.kill(task_id, (status.get("agent_id") or {}).get("value"))

    async def _on_failure(self, failure: Mapping[str, Any]) -> None:
        agent = failure["agent_id"]["value"]
        held = self.offers.drop_agent(agent)
        if "executor_id" in failure:
            log.warning("executor %s on agent %s ended", failure["executor_id"]["value"], agent)
            known = self._nodes.agents.get(agent)
            if known is not None and self._settings.executor.data:
                self._bring_executor(known.host)
            if held:
                # They count on an executor that is no more: the next ones will not.
                await self.placer.decline(held, refuse_seconds=0)
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
        if pod is None or not pod["spec"].get("nodeName"):
            self._pods.census.remove(task.uid)
        if outcome is Fate.SWEEP:
            self._bring_executor(task.host)
        if pod is None and is_sweeper(task.uid):
            # Refused by an executor that runs is what it is for; one that does not even start must not be hurried.
            tell = self.queue.launched if status.get("source") == "SOURCE_EXECUTOR" else self.queue.launch_failed
            tell(task.uid)
        if pod is None:
            return
        if task.state in _NOT_YET_RUNNING:
            self.queue.launch_failed(task.uid)
        if outcome is Fate.DELETE:
            self._pods.delete(pod)
        elif outcome is Fate.LAUNCH and self.tasks.of_pod(task.uid) is None:
            if not registry.is_deleted(pod):
                self._pods.say_warning(pod, "TaskLost", f"Mesos task ended as {status['state']}: {why}".rstrip(": "))
            self._consider(pod)

    def _bring_executor(self, host: str) -> None:
        """Have an executor run there, to look for containers of pods that are gone or for the sake of static pods; one
        that cannot come in time is let be."""
        if self.queue.put(sweeper(host), _now()):
            log.info("an executor is to come to %s", host)
            self.placer.want_offers()
            asyncio.get_running_loop().call_later(SWEEP_PATIENCE, self.queue.remove, sweeper(host)["metadata"]["uid"])

    def _pod_changed(self, pod: Pod, *, gone: bool) -> None:
        """The API has a new view of a pod."""
        task = self.tasks.of_pod(pod["metadata"]["uid"])
        if gone:
            self.queue.remove(pod["metadata"]["uid"])
            self.queue.launched(pod["metadata"]["uid"])
        elif task is None:
            self._consider(pod)
        if task is not None and (gone or registry.is_deleted(pod)) and task.killed_at is None:
            self._killer.consider(task.uid)

    def _consider(self, pod: Pod) -> None:
        """Queue a pod that needs a task; take one over that has one already."""
        uid = pod["metadata"]["uid"]
        bound = bool(pod["spec"].get("nodeName"))
        if self._pods.is_going(uid):
            self.queue.remove(uid)
            return
        if registry.is_finished(pod):
            self.queue.remove(uid)
            if registry.is_deleted(pod):
                self._pods.delete(pod)
            return
        task = registry.recovered(pod, _now())
        if task is not None and not self.tasks.has_ended(task.id):
            self.queue.remove(uid)
            self.tasks.add(task)
            self._killer.consider(uid)
            self.reconciler.soon()
            return
        if registry.is_deleted(pod) and not bound:
            self.queue.remove(uid)
            return
        if registry.is_deleted(pod):
            self._killer.consider(uid)
        if self.queue.put(pod, _now()):
            self.placer.want_offers()


def _now() -> float:
    return asyncio.get_running_loop().time()
