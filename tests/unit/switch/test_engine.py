"""The client of the engine against a socket that answers as the engine does, whole or in pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from k8slab.lab.switch.engine import Engine, EngineGone, EngineRefused, Event

Answer = Callable[[str], list[bytes]]


@asynccontextmanager
async def engine(path: Path, answer: Answer) -> AsyncIterator[Engine]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        for piece in answer(request.split(" ")[1]):
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield Engine(str(path))


def whole(data: object, status: str = "200 OK") -> list[bytes]:
    body = json.dumps(data).encode()
    return [f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body]


def chunked(*chunks: bytes, end: bool = True) -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks), *([b"0\r\n\r\n"] if end else [])]


def container(**state: object) -> dict[str, object]:
    labels = {"k8slab.lab": "demo", "k8slab.node": "etcd-0", "k8slab.wire": "{}"}
    return {
        "Id": "abc",
        "State": {"Running": True, "Pid": 7, "StartedAt": "now", **state},
        "Config": {"Labels": labels},
    }


async def test_running_nodes_are_asked_for_by_label(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(path: str) -> list[bytes]:
        asked.append(path)
        return whole([{"Id": "abc"}, {"Id": "def"}])

    async with engine(tmp_path / "s", answer) as client:
        assert await client.running("demo") == ["abc", "def"]
    filters = json.loads(parse_qs(urlsplit(asked[0]).query)["filters"][0])
    assert filters == {"label": ["k8slab.lab=demo", "k8slab.node"], "status": ["running", "paused"]}


async def test_a_container_that_does_not_run_has_no_process(tmp_path: Path) -> None:
    async with engine(tmp_path / "s", lambda _: whole(container())) as client:
        found = await client.inspect("abc")
        assert found
        assert (found.node, found.pid) == ("etcd-0", 7)
    async with engine(tmp_path / "t", lambda _: whole(container(Running=False))) as client:
        found = await client.inspect("abc")
        assert found
        assert found.pid == 0


async def test_no_such_container(tmp_path: Path) -> None:
    async with engine(tmp_path / "s", lambda _: whole({"message": "no"}, "404 Not Found")) as client:
        assert await client.inspect("abc") is None


async def test_other_refusals_are_told(tmp_path: Path) -> None:
    async with engine(tmp_path / "s", lambda _: whole({"message": "busy"}, "500 Oh")) as client:
        with pytest.raises(EngineRefused, match="busy"):
            await client.inspect("abc")


async def test_events_may_come_in_any_pieces_and_the_end_is_told(tmp_path: Path) -> None:
    def line(action: str, node: str) -> bytes:
        event = {"Action": action, "Actor": {"ID": "id-" + node, "Attributes": {"k8slab.node": node}}}
        return json.dumps(event).encode() + b"\n"

    stranger = json.dumps({"Action": "start", "Actor": {"ID": "switch", "Attributes": {}}}).encode() + b"\n"
    text = line("start", "a") + stranger + line("die", "b")
    seen: list[Event] = []
    for pieces in ([text], [text[i : i + 7] for i in range(0, len(text), 7)]):
        async with engine(tmp_path / f"s{len(pieces)}", lambda _, p=pieces: chunked(*p)) as client:  # type: ignore[misc]
            with pytest.raises(EngineGone, match="ended"):
                async for event in client.events("demo", since=1.5):
                    seen.append(event)
    assert seen == [Event("start", "id-a", "a"), Event("die", "id-b", "b")] * 2


async def test_an_engine_that_is_gone_or_goes_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineGone, match="socket"):
        await Engine(str(tmp_path / "none")).running("demo")
    async with engine(tmp_path / "s", lambda _: chunked(b"[", end=False)) as client:
        with pytest.raises(EngineGone, match="broke off"):
            await client.running("demo")
    async with engine(tmp_path / "t", lambda _: []) as client:
        with pytest.raises(EngineGone, match="broke off"):
            await client.running("demo")
