"""Clients that send nonsense, too much, too slowly or not at all: the daemons answer and go on."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from k8slab.mesos.http import LARGEST_BODY
from tests.daemons.mesos.cluster import Cluster, Driver, Node, command, eventually, get_json
from tests.daemons.mesos.test_operator_api import Watcher

MIB = 1 << 20
MASTER_ROUTES = (
    "/api/v1/scheduler",
    "/api/v1",
    "/api/v1/agent",
    "/weights",
    "/teardown",
    "/quota",
    "/state",
    "/files/read",
)
AGENT_ROUTES = ("/api/v1/executor", "/api/v1", "/state", "/files/read")
DEEP = 100_000
BODIES = {
    "empty": b"",
    "truncated": b'{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"ro',
    "binary": bytes(range(256)) * 8,
    "not utf-8": b'{"type":"\xff\xfe"}',
    "surrogate": b'{"type":"TEARDOWN","framework_id":{"value":"\\ud800"}}',
    "no object": b"[1,2,3]",
    "null": b"null",
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"type":' * DEEP + b"1" + b"}" * DEEP,
    "deep in a free field": b'{"type":"SUBSCRIBE","request":' + b'{"a":' * 300 + b"{}" + b"}" * 301,
    "huge number": b'{"type":"SET_LOGGING_LEVEL","set_logging_level":{"level":1e300,"duration":{"nanoseconds":1}}}',
    "wrong types": b'{"type":{"value":[]},"framework_id":[{}],"subscribe":"x","accept":7}',
    "form": b"frameworkId=%00%ff&frameworkId=&=&&&",
    "a length of its own": b"99999999999999999999\n{}",
    "record of no call": b"2\n{}",
    "record of an odd call": b'50\n{"type":"REGISTER","agent_info":[],"pid":{"a":1}}  ',
}


def rss(node: Node) -> int:
    """Bytes of memory the daemon holds."""
    status = Path(f"/proc/{node.daemon.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


async def answers(node: Node, *, within: float = 2.0) -> None:
    async with asyncio.timeout(within):
        await get_json(f"{node.url}/state")


async def post(node: Node, path: str, body: bytes, content_type: str = "application/json") -> int:
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{node.url}{path}", data=body, headers={"Content-Type": content_type}) as response,
    ):
        await response.read()
        return response.status


@pytest.mark.parametrize("kind", BODIES)
async def test_nonsense_is_the_clients_fault(small: Cluster, kind: str) -> None:
    master, agent = small.masters[0], small.agents[0]
    for node, routes in ((master, MASTER_ROUTES), (agent, AGENT_ROUTES)):
        for path in routes:
            status = await post(node, path, BODIES[kind])
            assert status < 500 or status == 501, f"{path}: {status}"
            if path in ("/api/v1/scheduler", "/api/v1/executor") and kind != "deep in a free field":
                assert status == 400
        await answers(node)


async def test_what_nests_too_deeply_to_be_shown_never_gets_into_the_books(small: Cluster) -> None:
    labels = b'{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"deep"},"offer_constraints":'
    body = labels + b'{"a":' * 300 + b"{}" + b"}" * 302
    assert await post(small.masters[0], "/api/v1/scheduler", body) == 400
    assert (await get_json(f"{small.masters[0].url}/frameworks"))["frameworks"] == []


async def test_a_body_has_a_largest_size(small: Cluster) -> None:
    body = b'{"type":"' + b"x" * LARGEST_BODY + b'"}'
    for node, path in ((small.masters[0], "/api/v1/scheduler"), (small.agents[0], "/api/v1/executor")):
        # It may answer and hang up while we are still sending.
        with contextlib.suppress(aiohttp.ClientConnectionError):
            assert await post(node, path, body) == 413
        await answers(node)
        assert node.daemon.returncode is None


@asynccontextmanager
async def half_open(node: Node, count: int, sent: bytes) -> AsyncIterator[list[socket.socket]]:
    """Connections that have sent so much and then nothing more."""
    connections = []
    loop = asyncio.get_running_loop()
    try:
        for _ in range(count):
            connection = socket.socket()
            connection.setblocking(False)
            connections.append(connection)
            await loop.sock_connect(connection, ("127.0.0.1", node.port))
            await loop.sock_sendall(connection, sent)
        yield connections
    finally:
        for connection in connections:
            connection.close()


@pytest.fixture
def many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Ty",
        b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        b"POST /api/v1/agent HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n100\n{\r\n",
        b"POST /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
        b'{"type":"SUBSCRIBE"}',
    ],
    ids=["headers", "body", "link", "subscriber"],
)
@pytest.mark.usefixtures("many_files")
async def test_a_thousand_half_open_streams(small: Cluster, sent: bytes) -> None:
    master = small.masters[0]
    await answers(master)
    before = rss(master)
    async with half_open(master, 1000, sent), Driver(small.master_flag) as driver:
        await driver.launch(command("meanwhile", "true"))
        await driver.status("meanwhile", "TASK_FINISHED")
        await answers(master)
        assert rss(master) - before < 100 * MIB
        metrics = await get_json(f"{master.url}/metrics/snapshot")
        assert metrics["master/elected"] == metrics["master/slaves_active"] == 1
    assert master.daemon.returncode is None


@pytest.mark.usefixtures("many_files")
async def test_beyond_a_thousand_subscribers_the_oldest_is_dropped(small: Cluster) -> None:
    subscribe = b"POST /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
    master = small.masters[0]
    async with Watcher(small) as oldest, half_open(master, 1000, subscribe + b'{"type":"SUBSCRIBE"}'):
        await eventually(lambda: _ended(oldest), what="the oldest subscriber is dropped")
        await answers(master)


async def _ended(watcher: Watcher) -> bool:
    return watcher.ended
