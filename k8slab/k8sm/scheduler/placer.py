"""Rounds of placing: waiting pods and offers in hand are matched, pods are launched, the others hear why they wait.

Offers are wanted while somebody waits. With nobody waiting those in hand stay for a moment, for the next pod, then
they go back, and after a while Mesos is told to send no more; the first pod that comes revives them. Pods that fit
nowhere keep offers away for about as long as they are held back themselves: an agent that has more than it had is
offered all the same, because a filter only holds for what was refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from k8slab.k8sm import mapping
from k8slab.k8sm.resources import pod_resources
from k8slab.k8sm.scheduler import tasks as registry
from k8slab.k8sm.scheduler.matching import Asked, Placement, Policy, Round, Surroundings, match
from k8slab.k8sm.scheduler.offers import RETURN, OfferRegistry, Slot
from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.queue import LONGEST_DELAY, PodQueue
from k8slab.k8sm.scheduler.reasons import is_hopeful
from k8slab.k8sm.scheduler.reconciliation import Reconciler
from k8slab.k8sm.scheduler.rounds import Rounds
from k8slab.k8sm.scheduler.tasks import Task, TaskRegistry
from k8slab.mesos.client import MesosError
from k8slab.mesos.client.scheduler import SchedulerClient, launch

log = logging.getLogger(__name__)

# With nobody waiting, an offer that was sent back need not return by itself: a pod that comes revives all offers.
IDLE_REFUSAL: Final = 600.0
BUSY_REFUSAL: Final = LONGEST_DELAY
REVIVE_SPACING: Final = 0.05
# After so long without a waiting pod Mesos is told to send no offers at all.
QUIET: Final = 30.0
# Pods come in flocks: those of one flock should share a call for each agent.
ROUND_SPACING: Final = 0.02
CALLS_AT_ONCE: Final = 16

Pod = Mapping[str, Any]


class Placer:
    """``queue``, ``offers`` and ``tasks`` are shared with the framework, which fills them and calls ``wake``.

    ``offer_ttl``: seconds for which offers that nobody needs stay in hand.
    """

    def __init__(
        self,
        client: SchedulerClient,
        pods: PodStore,
        policy: Policy,
        *,
        queue: PodQueue,
        offers: OfferRegistry,
        tasks: TaskRegistry,
        reconciler: Reconciler,
        offer_ttl: float,
    ) -> None:
        self._client = client
        self._pods = pods
        self._policy = policy
        self._queue = queue
        self._offers = offers
        self._tasks = tasks
        self._reconciler = reconciler
        self._offer_ttl = offer_ttl
        self._rounds = Rounds(client, self._round, self._pause, spacing=ROUND_SPACING)
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)
        self._revived_at = float("-inf")
        self._round_at = float("-inf")
        self._launched_at = float("-inf")
        self._memory: dict[str, Asked] = {}
        self._wants_offers = False
        self._suppressed = False
        # Offers that left the books with a call that broke off: the master may hold them for this framework forever.
        self._untold: list[str] = []
        self._idle_since = float("-inf")
        self.launches = 0
        self.rounds = 0

    @property
    def suppressed(self) -> bool:
        """Whether Mesos has been told to send no offers."""
        return self._suppressed

    def wake(self) -> None:
        """Something changed that may let a pod be placed."""
        self._rounds.wake()

    def want_offers(self) -> None:
        """What was refused before may be wanted now."""
        self._wants_offers = True
        self._rounds.wake()

    def subscribed(self) -> None:
        """A subscription begins with nothing suppressed and nothing refused."""
        self._suppressed = False
        self._untold.clear()
        self._idle_since = _now()
        self._wants_offers = bool(self._queue)
        self._queue.expect_offers(_now())
        self._rounds.wake()

    async def decline(self, offers: Sequence[str], *, refuse_seconds: float) -> None:
        """Send back offers that are out of the books. Raises MesosError, and then tries again later by itself."""
        await self._tell(offers, self._client.decline(offers, refuse_seconds=refuse_seconds), sends_back=True)

    async def run(self) -> None:
        await self._rounds.run()

    async def _round(self) -> None:
        now = _now()
        self.rounds += 1
        if self._queue.any_released(self._round_at, now):
            self._wants_offers = True
        self._round_at = now
        if self._untold:
            # Those that it did hear of are no offers any more, and it says nothing about them.
            untold, self._untold = self._untold, []
            await self.decline(untold, refuse_seconds=0)
        if self._queue and self._wants_offers:
            # Told below; who is to be spread must not pile up on the one agent whose offer happens to be in hand.
            self._offers.call_back(now)
        if waiting := self._queue.pods(now):
            slots = self._offers.slots()
            if slots or self._queue.any_due(now):
                matched = match(
                    waiting, slots, self._surroundings(), self._policy, turn=self.rounds, memory=self._memory
                )
                if len(self._memory) > 2 * len(self._queue) + 100:
                    self._memory = {uid: asked for uid, asked in self._memory.items() if uid in self._queue}
                self._wants_offers = self._wants_offers or matched.deferred > 0
                if matched.placements:
                    self._launched_at = now
                await self._launch(matched)
                for uid, reason in matched.reasons.items():
                    self._complain(uid, reason, now)
        if self._queue and self._wants_offers and now - self._revived_at >= REVIVE_SPACING:
            self._suppressed, self._revived_at = False, now
            self._wants_offers = False
            try:
                await self._client.revive()
            except MesosError:
                self._wants_offers = True
                raise
        if expired := self._offers.expire(now - self._offer_ttl, now):
            await self.decline(expired, refuse_seconds=BUSY_REFUSAL if self._queue else IDLE_REFUSAL)
        if self._queue:
            self._idle_since = now
        elif now - self._idle_since >= QUIET and not self._offers and not self._suppressed:
            self._suppressed = True
            await self._client.suppress()

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            nodes=self._pods.nodes,
            census=self._pods.census,
            namespaces=self._pods.namespaces,
            remembered=self._offers.remembered(_now()),
            expected=self._offers.expected(_now()),
        )

    async def _launch(self, matched: Round) -> None:
        infos: dict[str, list[dict[str, Any]]] = defaultdict(list)
        slots = {placement.slot.agent: placement.slot for placement in matched.placements}
        for placement in matched.placements:
            infos[placement.slot.agent].append(self._book(placement))
        calls = []
        for agent, slot in slots.items():
            self._offers.use(slot, matched.left[agent], _now())
            calls.append(self._accept(slot, infos[agent]))
        if not calls:
            return
        # What is left of these offers is free again in a moment, and may be what the next pod needs.
        self._wants_offers = self._wants_offers or bool(self._queue)
        # Whether a call that broke off has arrived is unknown: the reconciliation of what is launching tells.
        self._reconciler.soon()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, MesosError):
                log.warning("launches not told: %s", outcome)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _accept(self, slot: Slot, infos: Sequence[Mapping[str, Any]]) -> None:
        async with self._calls:
            await self._tell(slot.offers, self._client.accept(slot.offers, [launch(infos)], refuse_seconds=0))
        self._offers.heard(slot, _now())

    async def _tell(self, offers: Sequence[str], call: Awaitable[None], *, sends_back: bool = False) -> None:
        """Make a call about offers that are out of the books; whatever becomes of it, they go back to Mesos.

        What failed is sent back in the next round, unless it was Mesos that would not have it: it would not then.
        """
        try:
            await call
        except MesosError as error:
            if not sends_back or error.status // 100 != 4:
                self._untold += offers
                self._rounds.wake()
            raise

    def _book(self, placement: Placement) -> dict[str, Any]:
        """Write a launch into the books; its TaskInfo."""
        pod, meta, slot, executor = placement.pod, placement.pod["metadata"], placement.slot, self._policy.executor
        annotations = mapping.binding_annotations(
            task_id=mapping.new_task_id(), host=slot.host, agent=slot.agent, offer=slot.offers[0], executor=executor.id
        )
        if placement.ports:
            wanted = pod_resources(pod, self._policy.defaults, wildcard=self._policy.wildcard).ports
            pod = mapping.with_host_ports(pod, wanted, placement.ports)
        self._queue.remove(meta["uid"])
        task = Task(
            id=annotations[mapping.TASK_ID],
            uid=meta["uid"],
            pod=f"{meta['namespace']}/{meta['name']}",
            agent=slot.agent,
            host=slot.host,
            executor=executor.id,
            state=registry.LAUNCHING,
            changed=_now(),
        )
        self._tasks.add(task)
        self._pods.census.place(pod, slot.host)
        self._pods.scheduled(pod, slot.host)
        self.launches += 1
        log.info("pod %s goes to %s as task %s", task.pod, task.host, task.id)
        info = mapping.task_info(pod, annotations, placement.resources, executor)
        return {**info, "discovery": mapping.discovery_info(pod)} if self._policy.discovery else info

    def _complain(self, uid: str, reason: str, now: float) -> None:
        if is_hopeful(reason) and now - self._launched_at < RETURN and self._queue.put_off(uid, now):
            # Each time that it is put off, not in each round: Mesos must have time to offer something.
            self._wants_offers = True
        entry = self._queue.failed(uid, reason, now)
        if entry is None or self._pods.by_uid(uid) is None:
            return
        self._wants_offers = True
        meta = entry.pod["metadata"]
        log.info("pod %s/%s waits: %s", meta["namespace"], meta["name"], reason)
        self._pods.unschedulable(entry.pod, reason)

    def _pause(self) -> float | None:
        """Seconds until something is due by itself."""
        now = _now()
        times = []
        if (oldest := self._offers.oldest()) is not None:
            times.append(oldest + self._offer_ttl)
        # Counted from the last round: what fell due while Mesos was being told of its outcome is not lost.
        if (due := self._queue.next_due(self._round_at)) is not None:
            times.append(due)
        if self._queue and (lapse := self._offers.next_lapse(self._round_at)) is not None:
            # Who waits for an offer that never comes has to be told, or placed elsewhere.
            times.append(lapse)
        if self._queue and self._wants_offers:
            times.append(self._revived_at + REVIVE_SPACING)
        if not self._queue and not self._suppressed:
            times.append(self._idle_since + QUIET)
        return max(0.02, min(times) - now) if times else None


def _now() -> float:
    return asyncio.get_running_loop().time()
