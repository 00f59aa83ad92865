"""A framework's side of the scheduler API: subscribe, be offered resources, launch, hear what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import aiohttp

from k8slab.mesos.authentication import Credentials
from k8slab.mesos.client.acknowledgements import Acknowledgements
from k8slab.mesos.client.detector import MasterDetector
from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.stream import Event, Moved, Subscription, encode_bytes

log = logging.getLogger(__name__)

SILENT_HEARTBEATS = 5
DEFAULT_HEARTBEAT = 15.0
RECONCILE_SECONDS = 10.0
LAST_CONFIRMATIONS = 2.0

Call = dict[str, Any]
# Type and payload of an acknowledgement.
Confirmation = tuple[str, dict[str, Any]]


class SchedulerClient:
    """Keeps one framework subscribed to whichever master leads.

    ``framework_info`` is the v1 FrameworkInfo; with an ``id`` in it that framework is taken over. Events and calls are
    v1 JSON as dicts. Calls need a live subscription and raise MesosError when refused or when there is none.

    An UPDATE is acknowledged when the next event is asked for, which is when it has been dealt with: whoever raises or
    leaves the loop before gets it again from the agent, in this life or the next one. Nobody waits for it: it is sent
    beside the next events. One whose acknowledgement got lost on the way is acknowledged again and not told twice.
    """

    def __init__(
        self,
        master: str,
        framework_info: Mapping[str, Any],
        *,
        backoff: float = 0.1,
        max_backoff: float = 5.0,
        session_timeout: float = 10.0,
        suppressed_roles: Sequence[str] = (),
        explicit_acknowledgements: bool = False,
        credentials: Credentials | None = None,
    ) -> None:
        """``credentials``: for masters that ask who is calling; a framework without a principal gets theirs.
        ``backoff``: seconds before the first retry, doubled up to ``max_backoff``.

        With ``explicit_acknowledgements`` nothing is acknowledged but by ``acknowledge``.
        """
        self.framework_info: dict[str, Any] = dict(framework_info)
        if credentials is not None:
            self.framework_info.setdefault("principal", credentials.principal)
        self._credentials = credentials
        self.framework_id: str | None = (framework_info.get("id") or {}).get("value")
        self.master_info: dict[str, Any] = {}
        self.detector = MasterDetector(master, session_timeout=session_timeout)
        self.suppressed_roles = tuple(suppressed_roles)
        self._acknowledgements = None if explicit_acknowledgements else Acknowledgements()
        self._backoff, self._max_backoff = backoff, max_backoff
        self._subscription: Subscription | None = None
        self._subscribed = False
        self._heartbeat = DEFAULT_HEARTBEAT
        self._closed = asyncio.Event()
        self._sent_on = 0

    @property
    def subscribed(self) -> bool:
        return self._subscribed

    @property
    def _silence(self) -> float:
        """Seconds after which a stream without heartbeats counts as dead."""
        return self._heartbeat * SILENT_HEARTBEATS

    async def events(self) -> AsyncGenerator[Event, None]:
        """Every event but heartbeats, over all resubscriptions, and ``{"type": "DISCONNECTED"}`` when a stream ends.

        Ends after an ERROR (and its DISCONNECTED) or ``close()``: an ERROR is the master's last word on this
        subscription, such as "Framework has been removed". To begin anew, clear ``framework_id`` and call this again.
        Raises MesosError when the master does not even hear the framework out (a status of 400 to 499).
        """
        delay = self._backoff
        while not self._closed.is_set():
            leader = await self._or_closed(self.detector.leader())
            if leader is None:
                return
            failed = False
            async with contextlib.aclosing(self._stream(leader)) as stream, self._confirming() as confirm:
                async for event in stream:
                    if not self._told_before(event):
                        yield event
                    if (owed := self._settled(event)) is not None:
                        confirm(owed)
                    if event["type"] == "SUBSCRIBED":
                        delay, self._sent_on = self._backoff, 0
                    failed = failed or event["type"] == "ERROR"
            if failed:
                return
            # A random share of the delay keeps a class of frameworks from returning to a new master all at once.
            await self._or_closed(asyncio.sleep(self._pause() * random.uniform(0.5, 1.0)))
            if await self._or_closed(self.detector.moved_within(leader, delay * random.uniform(0.5, 1.0))):
                delay = self._backoff
            else:
                self.detector.give_up(leader)
                delay = min(delay * 2, self._max_backoff)

    def _pause(self) -> float:
        """Seconds before any retry: short after one redirect, longer while masters send us from one to the other."""
        return float(min(self._backoff * 2 ** max(self._sent_on - 1, 0), self._max_backoff))

    def _told_before(self, event: Event) -> bool:
        return self._acknowledgements is not None and self._acknowledgements.repeated(event)

    def _settled(self, event: Event) -> Confirmation | None:
        """The event has been dealt with; what is owed for it."""
        if self._acknowledgements is None or (call := self._acknowledgements.call(event)) is None:
            return None
        self._acknowledgements.note(event)
        return call

    @contextlib.asynccontextmanager
    async def _confirming(self) -> AsyncGenerator[Callable[[Confirmation], None], None]:
        """Takes what is to be confirmed, in order. What gets lost is confirmed when the update returns."""
        owed: asyncio.Queue[Confirmation] = asyncio.Queue()

        async def send() -> None:
            while True:
                call = await owed.get()
                try:
                    await self._confirm(*call)
                except MesosError as error:
                    log.info("%s waits for the update's next delivery: %s", call[0], error)
                finally:
                    owed.task_done()

        sending = asyncio.create_task(send(), name="acknowledgements")
        try:
            yield owed.put_nowait
        finally:
            try:
                if self._subscribed and not sending.done():
                    # Who leaves the loop has dealt with all that is owed.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(owed.join(), LAST_CONFIRMATIONS)
            finally:
                # Also when whoever leaves has no time for that.
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _stream(self, leader: str) -> AsyncGenerator[Event, None]:
        """One subscription, ended by the peer, by silence, by ``close()`` or because another master leads."""
        subscription = self._subscription = Subscription(f"http://{leader}/api/v1/scheduler", self._credentials)
        events = subscription.open(self._subscribe_call())
        elsewhere = asyncio.create_task(self.detector.moved(leader))
        closed = asyncio.create_task(self._closed.wait())
        try:
            while (event := await _next_unless(events, elsewhere, closed, silence=self._silence)) is not None:
                if event["type"] == "SUBSCRIBED":
                    self._note_subscribed(event["subscribed"])
                if event["type"] != "HEARTBEAT":
                    yield event
        except Moved as moved:
            log.info("%s does not lead, %s does", leader, moved.location)
            self._sent_on += 1
            self.detector.redirect(moved.location)
        except (aiohttp.ClientError, TimeoutError, OSError, MesosError) as error:
            if isinstance(error, MesosError) and error.status // 100 == 4:
                raise
            log.warning("subscription at %s: %s %s", leader, type(error).__name__, error)
        finally:
            for task in (elsewhere, closed):
                task.cancel()
            was_subscribed, self._subscribed, self._subscription = self._subscribed, False, None
            await subscription.close()
        if was_subscribed:
            yield {"type": "DISCONNECTED"}

    def _subscribe_call(self) -> Call:
        call: Call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": dict(self.framework_info)}}
        call["subscribe"]["framework_info"].pop("id", None)
        if self.suppressed_roles:
            call["subscribe"]["suppressed_roles"] = list(self.suppressed_roles)
        if self.framework_id is not None:
            call["framework_id"] = call["subscribe"]["framework_info"]["id"] = {"value": self.framework_id}
        return call

    def _note_subscribed(self, subscribed: Mapping[str, Any]) -> None:
        self.framework_id = subscribed["framework_id"]["value"]
        self.master_info = subscribed.get("master_info", {})
        self._heartbeat = subscribed.get("heartbeat_interval_seconds", DEFAULT_HEARTBEAT)
        self._subscribed = True

    async def _or_closed(self, awaitable: Any) -> Any:
        """The result of ``awaitable``; None when ``close()`` comes first."""
        task = asyncio.ensure_future(awaitable)
        closed = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait({task, closed}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            closed.cancel()

    async def _call(self, type: str, payload: Mapping[str, Any] | None = None) -> None:
        await self._live(type).call(self._form(type, payload))

    async def _confirm(self, type: str, payload: Mapping[str, Any]) -> None:
        await self._live(type).confirm(self._form(type, payload))

    def _live(self, type: str) -> Subscription:
        if self._subscription is None or not self._subscribed:
            raise MesosError(0, f"{type}: not subscribed")
        return self._subscription

    def _form(self, type: str, payload: Mapping[str, Any] | None) -> Call:
        call: Call = {"type": type, "framework_id": {"value": self.framework_id}}
        return call if payload is None else {**call, type.lower(): payload}

    async def accept(
        self, offer_ids: Sequence[str], operations: Sequence[Mapping[str, Any]], *, refuse_seconds: float | None = None
    ) -> None:
        """Use offers (of one agent) for ``operations``, such as ``launch([task_info, …])``; what is left returns."""
        await self._call("ACCEPT", {**_offers(offer_ids, refuse_seconds), "operations": list(operations)})

    async def decline(self, offer_ids: Sequence[str], *, refuse_seconds: float | None = None) -> None:
        await self._call("DECLINE", _offers(offer_ids, refuse_seconds))

    async def kill(self, task_id: str, agent_id: str | None = None, *, grace_seconds: float | None = None) -> None:
        payload: dict[str, Any] = {"task_id": {"value": task_id}}
        if agent_id is not None:
            payload["agent_id"] = {"value": agent_id}
        if grace_seconds is not None:
            payload["kill_policy"] = {"grace_period": {"nanoseconds": int(grace_seconds * 1e9)}}
        await self._call("KILL", payload)

    async def acknowledge(self, status: Mapping[str, Any]) -> None:
        """Confirm an UPDATE's status; one without uuid comes from the master itself and needs no confirmation.

        Only with ``explicit_acknowledgements``; else the client does it.
        """
        if status.get("uuid"):
            await self._confirm("ACKNOWLEDGE", {key: status[key] for key in ("agent_id", "task_id", "uuid")})

    async def reconcile(self, tasks: Sequence[tuple[str, str | None]] = ()) -> None:
        """Ask for the latest state of ``(task id, agent id or None)``; of every task when there are none."""
        wanted = [
            {"task_id": {"value": task}, **({"agent_id": {"value": agent}} if agent else {})} for task, agent in tasks
        ]
        await self._call("RECONCILE", {"tasks": wanted})

    async def keep_reconciled(
        self, tasks: Callable[[], Sequence[tuple[str, str | None]]], *, interval: float = RECONCILE_SECONDS
    ) -> None:
        """Reconcile ``tasks()``, those not known to have ended, every ``interval`` seconds until cancelled.

        Once is not enough: a master that has just begun to lead answers nothing about an agent that may yet return,
        and a launch that got lost with the last one would be waited for in vain.
        """
        while True:
            await asyncio.sleep(interval)
            if self._subscribed and (wanted := tasks()):
                with contextlib.suppress(MesosError):
                    await self.reconcile(wanted)

    async def revive(self, roles: Sequence[str] = ()) -> None:
        """Want offers again, and at once, whatever was refused before: in ``roles``, or in all."""
        await self._call("REVIVE", {"roles": list(roles)} if roles else None)

    async def suppress(self, roles: Sequence[str] = ()) -> None:
        """Want no offers, in ``roles`` or in all, until the next ``revive``."""
        await self._call("SUPPRESS", {"roles": list(roles)} if roles else None)

    async def request(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Ask for resources; the standard allocator hears and offers what it would have offered anyway."""
        await self._call("REQUEST", {"requests": list(requests)})

    async def reconcile_operations(self, operations: Sequence[Mapping[str, Any]]) -> None:
        await self._call("RECONCILE_OPERATIONS", {"operations": list(operations)})

    async def update_framework(self, framework_info: Mapping[str, Any], suppressed_roles: Sequence[str] = ()) -> None:
        """Change what the framework is, while it is subscribed and for the subscriptions to come."""
        known = {"id": {"value": self.framework_id}}
        payload = {"framework_info": {**framework_info, **known}, "suppressed_roles": list(suppressed_roles)}
        await self._call("UPDATE_FRAMEWORK", payload)
        self.framework_info, self.suppressed_roles = dict(framework_info), tuple(suppressed_roles)

    async def teardown(self) -> None:
        """End the framework: all its tasks and executors are killed, its id can never be used again."""
        await self._call("TEARDOWN")

    async def shutdown(self, agent_id: str, executor_id: str) -> None:
        await self._call("SHUTDOWN", {"agent_id": {"value": agent_id}, "executor_id": {"value": executor_id}})

    async def message(self, agent_id: str, executor_id: str, data: bytes) -> None:
        """Best effort: nobody tells when it got lost."""
        await self._call(
            "MESSAGE",
            {"agent_id": {"value": agent_id}, "executor_id": {"value": executor_id}, "data": encode_bytes(data)},
        )

    async def close(self) -> None:
        """Leave without teardown: the framework stays known for its ``failover_timeout``."""
        self._closed.set()
        if self._subscription is not None:
            await self._subscription.close()
        await self.detector.close()


def launch(task_infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The operation that launches tasks."""
    return {"type": "LAUNCH", "launch": {"task_infos": list(task_infos)}}


def launch_group(executor: Mapping[str, Any], task_infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The operation that launches tasks together, all or none, under one default executor."""
    return {
        "type": "LAUNCH_GROUP",
        "launch_group": {"executor": dict(executor), "task_group": {"tasks": list(task_infos)}},
    }


def reserve(resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The operation that keeps offered resources for the role that their reservation names."""
    return {"type": "RESERVE", "reserve": {"resources": list(resources)}}


def unreserve(resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The inverse of ``reserve``."""
    return {"type": "UNRESERVE", "unreserve": {"resources": list(resources)}}


def _offers(offer_ids: Sequence[str], refuse_seconds: float | None) -> dict[str, Any]:
    payload: dict[str, Any] = {"offer_ids": [{"value": offer_id} for offer_id in offer_ids]}
    if refuse_seconds is not None:
        payload["filters"] = {"refuse_seconds": refuse_seconds}
    return payload


async def _next_unless(events: AsyncIterator[Event], *stops: asyncio.Task[Any], silence: float) -> Event | None:
    """The next event; None at the end of the stream or as soon as one of ``stops`` is done.

    Raises TimeoutError when none comes for ``silence`` seconds.
    """
    upcoming = asyncio.ensure_future(anext(events, None))
    try:
        done, _ = await asyncio.wait({upcoming, *stops}, return_when=asyncio.FIRST_COMPLETED, timeout=silence)
        if upcoming.done():
            return upcoming.result()
        if not done:
            raise TimeoutError(f"nothing heard for {silence:g} s")
        return None
    finally:
        if not upcoming.done():
            upcoming.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, OSError):
                await upcoming
