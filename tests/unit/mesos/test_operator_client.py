"""The operator's client against servers that say what masters say, over real sockets."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from k8slab.mesos import recordio
from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.operator import AgentClient, MasterClient
from k8slab.mesos.client.sandbox import PIECE, Sandbox


@asynccontextmanager
async def server(handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """``host:port`` of a server with this one handler."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as started:
        yield f"{started.host}:{started.port}"


def redirects_to(address: str) -> Callable[[web.Request], Any]:
    async def follower(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"//{address}{request.path_qs}"})

    return follower


async def test_a_question_finds_its_way_to_the_leader() -> None:
    asked: list[Any] = []

    async def leader(request: web.Request) -> web.Response:
        asked.append(orjson.loads(await request.read()))
        return web.json_response(
            {"type": "GET_WEIGHTS", "get_weights": {"weight_infos": [{"role": "a", "weight": 2.0}]}}
        )

    async with server(leader) as leading, server(redirects_to(leading)) as following:
        master = MasterClient(following)
        assert await master.weights() == {"a": 2.0}
        assert asked == [{"type": "GET_WEIGHTS"}]
        await master.close()


async def test_an_order_that_may_have_been_heard_is_not_given_twice() -> None:
    heard = 0

    async def dies(request: web.Request) -> web.Response:
        nonlocal heard
        heard += 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with server(dies) as leading:
        master = MasterClient(leading, patience=2.0)
        with pytest.raises(MesosError):
            await master.mark_agent_gone("S1")
        assert heard == 1
        await master.close()


@pytest.mark.parametrize(("status", "text"), [(403, "not you"), (409, "conflict"), (501, "not served")])
async def test_a_refusal_is_the_masters_word(status: int, text: str) -> None:
    async def refuses(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    async with server(refuses) as leading:
        master = MasterClient(leading)
        with pytest.raises(MesosError) as caught:
            await master.update_weights({"a": 2.0})
        assert (caught.value.status, caught.value.text) == (status, text)
        await master.close()


async def test_events_go_on_over_every_end_of_the_stream() -> None:
    streams = 0

    async def leader(request: web.Request) -> web.StreamResponse:
        nonlocal streams
        streams += 1
        assert orjson.loads(await request.read()) == {"type": "SUBSCRIBE"}
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        kinds = ("SUBSCRIBED", "HEARTBEAT", "AGENT_ADDED")
        for byte in b"".join(recordio.encode(orjson.dumps({"type": kind, "stream": streams})) for kind in kinds):
            # Chunks have nothing to do with records.
            await response.write(bytes([byte]))
        return response

    async with server(leader) as leading, server(redirects_to(leading)) as following:
        master = MasterClient(following)
        seen = []
        async with aclosing(master.events()) as events:
            async for event in events:
                seen.append((event["type"], event.get("stream")))
                if len(seen) == 5:
                    break
        once = [("SUBSCRIBED", 1), ("AGENT_ADDED", 1), ("DISCONNECTED", None)]
        assert seen == [*once, ("SUBSCRIBED", 2), ("AGENT_ADDED", 2)]
        await master.close()


async def test_a_sandbox_is_read_piece_by_piece_as_it_grows() -> None:
    # Not text, in any encoding.
    written = bytes(range(256)) * (PIECE // 100) + b"the end\n"
    content, missing = b"", True

    async def agent(request: web.Request) -> web.Response:
        if request.path == "/state":
            executor = {"id": "t", "directory": "/sandbox", "tasks": [], "queued_tasks": [], "completed_tasks": []}
            return web.json_response({"id": "S0", "frameworks": [{"id": "f", "executors": [executor]}]})
        assert request.path == "/api/v1"
        call = orjson.loads(await request.read())
        if missing:
            return web.Response(status=404)
        asked = call["read_file"]
        assert (call["type"], asked["path"]) == ("READ_FILE", "/sandbox/stdout")
        piece = content[asked["offset"] : asked["offset"] + asked["length"]]
        answer = {"size": len(content), "data": base64.b64encode(piece).decode()}
        return web.json_response({"type": "READ_FILE", "read_file": answer})

    async with server(agent) as address:
        client = AgentClient(f"slave(1)@{address}")
        sandbox = Sandbox(client, framework_id="f", executor_id="t", task_id="t")
        over, begun = asyncio.Event(), asyncio.Event()
        read = b""

        async def follow() -> None:
            nonlocal read
            async with aclosing(sandbox.follow("stdout", over.is_set)) as pieces:
                async for piece in pieces:
                    read += piece
                    begun.set()

        following = asyncio.create_task(follow())
        content, missing = written[:200], False
        await asyncio.wait_for(begun.wait(), 10)
        assert read == written[:200]
        content = written
        over.set()
        await asyncio.wait_for(following, 10)
        assert read == written
        await client.close()


async def test_an_agent_that_refuses_is_not_asked_for_ever() -> None:
    async def refuses(_request: web.Request) -> web.Response:
        return web.Response(status=401, text="who are you")

    async with server(refuses) as address:
        client = AgentClient(address)
        sandbox = Sandbox(client, framework_id="f", executor_id="t", task_id="t")
        with pytest.raises(MesosError, match="who are you"):
            async with asyncio.timeout(10), aclosing(sandbox.follow("stdout", lambda: False)) as pieces:
                await anext(pieces)
        await client.close()


async def test_an_answer_that_is_no_json_is_an_error_of_the_call() -> None:
    async def leader(_request: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async with server(leader) as leading:
        master = MasterClient(leading)
        with pytest.raises(MesosError, match="GET_WEIGHTS is answered with no JSON"):
            await master.weights()
        await master.close()


async def test_masters_that_send_one_in_circles_are_not_asked_in_a_hurry() -> None:
    asked = 0
    addresses: list[str] = []

    def follower(other: int) -> Callable[[web.Request], Any]:
        async def handle(_request: web.Request) -> web.Response:
            nonlocal asked
            asked += 1
            return web.Response(status=307, headers={"Location": f"//{addresses[other]}/api/v1"})

        return handle

    async with server(follower(1)) as one, server(follower(0)) as other:
        addresses += [one, other]
        master = MasterClient(one)

        async def listen() -> None:
            async for _ in master.events():
                raise AssertionError("nobody leads")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listen(), 1.0)
        assert 2 <= asked <= 6
        await master.close()
