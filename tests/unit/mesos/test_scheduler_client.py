"""The scheduler's client against servers that say what masters say (or stop saying it), over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from k8slab.mesos import recordio
from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.scheduler import SchedulerClient

Event = dict[str, Any]
INFO = {"user": "root", "name": "x"}


def update(uuid: str, state: str = "TASK_RUNNING") -> Event:
    status = {"task_id": {"value": "t"}, "agent_id": {"value": "a"}, "state": state, "uuid": uuid}
    return {"type": "UPDATE", "update": {"status": status}}


@dataclass
class Master:
    """Answers every subscription with the next of ``streams``; ``hang``: it then falls silent instead of ending.

    ``slow``: seconds that an acknowledgement takes; ``stuck``: it never answers a REVIVE."""

    streams: list[list[Event]]
    heartbeat: float = 15.0
    hang: bool = False
    refuse: int = 0
    slow: float = 0.0
    stuck: bool = False
    calls: list[Event] = field(default_factory=list)
    stream_ids: list[str | None] = field(default_factory=list)
    subscriptions: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = orjson.loads(await request.read())
        self.calls.append(call)
        if call["type"] == "ACKNOWLEDGE":
            await asyncio.sleep(self.slow)
        if call["type"] == "REVIVE" and self.stuck:
            await asyncio.Event().wait()
        if call["type"] != "SUBSCRIBE":
            self.stream_ids.append(request.headers.get("Mesos-Stream-Id"))
            status, self.refuse = (self.refuse or 202), 0
            return web.Response(status=status, text="refused" if status != 202 else "")
        self.subscriptions += 1
        response = web.StreamResponse(headers={"Mesos-Stream-Id": f"stream-{self.subscriptions}"})
        await response.prepare(request)
        subscribed = {"framework_id": {"value": "f"}, "heartbeat_interval_seconds": self.heartbeat}
        events = self.streams.pop(0) if self.streams else []
        for event in [{"type": "SUBSCRIBED", "subscribed": subscribed}, {"type": "HEARTBEAT"}, *events]:
            await response.write(recordio.encode(orjson.dumps(event)))
        if self.hang or not self.streams:
            await asyncio.Event().wait()
        return response

    def called(self, kind: str) -> list[Event]:
        return [call for call in self.calls if call["type"] == kind]


@asynccontextmanager
async def serving(master: Master) -> AsyncIterator[SchedulerClient]:
    app = web.Application()
    app.router.add_route("POST", "/api/v1/scheduler", master.handle)
    server = TestServer(app)
    async with server:
        client = SchedulerClient(f"{server.host}:{server.port}", INFO, backoff=0.01, max_backoff=0.05)
        try:
            yield client
        finally:
            await client.close()


async def first(client: SchedulerClient, count: int) -> list[Event]:
    seen: list[Event] = []
    async with asyncio.timeout(10), aclosing(client.events()) as events:
        async for event in events:
            seen.append(event)
            if len(seen) == count:
                break
    return seen


async def test_a_silent_stream_is_given_up_after_five_heartbeats() -> None:
    master = Master([[], []], heartbeat=0.05, hang=True)
    async with serving(master) as client:
        began = asyncio.get_running_loop().time()
        seen = await first(client, 3)
        assert [event["type"] for event in seen] == ["SUBSCRIBED", "DISCONNECTED", "SUBSCRIBED"]
        assert asyncio.get_running_loop().time() - began >= 0.25


async def test_a_framework_returns_with_the_id_it_was_given() -> None:
    master = Master([[], []])
    async with serving(master) as client:
        await first(client, 3)
    before, after = master.called("SUBSCRIBE")
    assert "framework_id" not in before
    assert "id" not in before["subscribe"]["framework_info"]
    assert after["framework_id"] == after["subscribe"]["framework_info"]["id"] == {"value": "f"}


async def test_what_was_dealt_with_is_acknowledged_and_not_told_twice() -> None:
    master = Master([[update("1"), update("2")], [update("2"), update("3"), {"type": "OFFERS", "offers": {}}]])
    async with serving(master) as client:
        seen = await first(client, 7)
        told = [event["update"]["status"]["uuid"] for event in seen if event["type"] == "UPDATE"]
        assert told == ["1", "2", "3"]
        acknowledged = [call["acknowledge"]["uuid"] for call in master.called("ACKNOWLEDGE")]
        # The first stream's acknowledgements may have found it closed; those that were sent again are made for sure.
        assert [uuid for uuid in acknowledged if uuid != "1"][-2:] == ["2", "3"]
        assert acknowledged.count("2") in (1, 2)
        assert acknowledged.count("1") in (0, 1)
        assert master.stream_ids[-1] == "stream-2"


async def test_a_lost_acknowledgement_is_made_when_the_update_returns() -> None:
    master = Master([[update("1"), update("1"), {"type": "OFFERS", "offers": {}}]], refuse=503)
    async with serving(master) as client:
        seen = await first(client, 3)
        assert [event["type"] for event in seen] == ["SUBSCRIBED", "UPDATE", "OFFERS"]
        assert [call["acknowledge"]["uuid"] for call in master.called("ACKNOWLEDGE")] == ["1", "1"]


async def test_an_update_whose_handling_fails_is_not_acknowledged() -> None:
    master = Master([[update("1")]])
    async with serving(master) as client:
        with pytest.raises(ZeroDivisionError):
            async with aclosing(client.events()) as events:
                async for event in events:
                    if event["type"] == "UPDATE":
                        raise ZeroDivisionError
        assert master.called("ACKNOWLEDGE") == []


async def test_nobody_waits_for_acknowledgements() -> None:
    """A master that is slow to take them keeps no event from being told, nor a call from being made."""
    master = Master([[*(update(str(number)) for number in range(100)), {"type": "OFFERS", "offers": {}}]], slow=0.2)
    async with serving(master) as client:
        async with asyncio.timeout(5), aclosing(client.events()) as events:
            async for event in events:
                if event["type"] == "OFFERS":
                    assert len(master.called("ACKNOWLEDGE")) < 10
                    await client.revive()
                    break
        assert len(master.called("REVIVE")) == 1


async def test_calls_that_wait_for_their_turn_fail_with_the_subscription() -> None:
    """A master that goes away with several calls before it costs the framework those calls, and nothing more."""
    master = Master([[{"type": "OFFERS", "offers": {}}]], stuck=True)
    async with serving(master) as client, asyncio.timeout(5), aclosing(client.events()) as events:
        async for event in events:
            if event["type"] == "OFFERS":
                calls = [asyncio.create_task(client.revive()) for _ in range(3)]
                while not master.called("REVIVE"):  # noqa: ASYNC110 (the server's side has no event to wait for)
                    await asyncio.sleep(0.01)
                await client.close()
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
                assert [type(one) for one in outcomes] == [MesosError] * 3
                break


async def test_no_task_is_left_when_the_last_acknowledgements_are_not_waited_for() -> None:
    master = Master([[update("1"), update("2"), {"type": "OFFERS", "offers": {}}]], slow=5)
    async with serving(master) as client:
        events = client.events()
        async for event in events:
            if event["type"] == "OFFERS":
                break
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await events.aclose()
        assert [task for task in asyncio.all_tasks() if task.get_name() == "acknowledgements"] == []


async def test_an_error_is_the_last_word() -> None:
    master = Master([[{"type": "ERROR", "error": {"message": "Framework has been removed"}}], []])
    async with serving(master) as client:
        async with asyncio.timeout(10):
            seen = [event["type"] async for event in client.events()]
        assert seen == ["SUBSCRIBED", "ERROR", "DISCONNECTED"]
        with pytest.raises(MesosError, match="not subscribed"):
            await client.revive()


async def test_calls_carry_what_the_api_wants() -> None:
    master = Master([[]])
    async with serving(master) as client:
        async with aclosing(client.events()) as events:
            assert (await anext(events))["type"] == "SUBSCRIBED"
            await client.suppress(["a"])
            await client.revive()
            await client.update_framework({**INFO, "name": "y"}, ["a"])
            master.refuse = 400
            with pytest.raises(MesosError, match="refused"):
                await client.kill("t", "a", grace_seconds=0.5)
        suppress, revive, changed, kill = master.calls[1:]
        assert suppress == {"type": "SUPPRESS", "framework_id": {"value": "f"}, "suppress": {"roles": ["a"]}}
        assert revive == {"type": "REVIVE", "framework_id": {"value": "f"}}
        assert changed["update_framework"]["framework_info"] == {"user": "root", "name": "y", "id": {"value": "f"}}
        assert kill["kill"]["kill_policy"] == {"grace_period": {"nanoseconds": 500_000_000}}
        assert set(master.stream_ids) == {"stream-1"}


async def test_masters_that_send_one_in_circles_are_asked_ever_more_slowly() -> None:
    asked = 0

    async def follower(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        # Each time another name of the same server: every redirect looks like news.
        return web.Response(status=307, headers={"Location": f"//127.0.0.{1 + asked % 2}:{server.port}/"})

    app = web.Application()
    app.router.add_route("POST", "/api/v1/scheduler", follower)
    server = TestServer(app, host="0.0.0.0")
    async with server:
        client = SchedulerClient(f"127.0.0.1:{server.port}", INFO, backoff=0.01, max_backoff=10.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await first(client, 1)
        assert 3 <= asked <= 10
        await client.close()


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_master_that_does_not_hear_the_framework_out_is_no_reason_to_wait(status: int) -> None:
    async def refuses(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="not you")

    app = web.Application()
    app.router.add_route("POST", "/api/v1/scheduler", refuses)
    async with TestServer(app) as server:
        client = SchedulerClient(f"{server.host}:{server.port}", INFO, backoff=0.01)
        with pytest.raises(MesosError, match="not you"):
            await first(client, 1)
        await client.close()


@pytest.mark.parametrize("record", [b"5\nhello", b"2\n[]", b"2\n{}"])
async def test_a_stream_that_goes_wrong_is_left_for_another(record: bytes) -> None:
    streams = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal streams
        streams += 1
        response = web.StreamResponse()
        await response.prepare(request)
        subscribed = {"type": "SUBSCRIBED", "subscribed": {"framework_id": {"value": "f"}}}
        await response.write(recordio.encode(orjson.dumps(subscribed)) + record)
        return response

    app = web.Application()
    app.router.add_route("POST", "/api/v1/scheduler", handle)
    async with TestServer(app) as server:
        client = SchedulerClient(f"{server.host}:{server.port}", INFO, backoff=0.01)
        seen = await first(client, 3)
        assert [event["type"] for event in seen] == ["SUBSCRIBED", "DISCONNECTED", "SUBSCRIBED"]
        await client.close()


async def test_tasks_that_nobody_told_the_end_of_are_asked_for_again_and_again() -> None:
    master = Master([[]])
    rounds, often = 0, asyncio.Event()

    def unended() -> list[tuple[str, str | None]]:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            often.set()
        return [("t", "a")]

    async with serving(master) as client, aclosing(client.events()) as events:
        assert (await anext(events))["type"] == "SUBSCRIBED"
        asking = asyncio.create_task(client.keep_reconciled(unended, interval=0.01))
        await asyncio.wait_for(often.wait(), 10)
        asking.cancel()
    asked = {"tasks": [{"task_id": {"value": "t"}, "agent_id": {"value": "a"}}]}
    assert [call["reconcile"] for call in master.called("RECONCILE")[:2]] == [asked, asked]
