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
import aiohttp.web
import orjson
import pytest

from k8slab.mesos import recordio
from k8slab.mesos.http import LARGEST_BODY, Routes, serve
from tests.daemons.mesos.cluster import Cluster, Driver, Node, command, eventually, get_json, scalar
from tests.daemons.mesos.test_operator_api import Watcher
from tests.daemons.processes import Supervisor, free_port

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


@pytest.mark.parametrize("sent", [b"", b"GET /state HTTP/1.1\r\nHost: x\r\nAcc"], ids=["nothing", "half a header"])
async def test_headers_have_a_time_limit(sent: bytes) -> None:
    async def served(_: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(text="served")

    routes = Routes("x")
    routes.add("/served", served)
    port = free_port()
    runner = await serve(routes, host="127.0.0.1", port=port, slowest_headers=0.5)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        patient_reader, patient_writer = await asyncio.open_connection("127.0.0.1", port)
        patient_writer.write(b"GET /served HTTP/1.1\r\nHost: x\r\n\r\n")
        await patient_reader.readuntil(b"served")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        patient_writer.write(b"GET /served HTTP/1.1\r\nHost: x\r\n\r\n")
        await patient_reader.readuntil(b"served")
        for each in (writer, patient_writer):
            each.close()
    finally:
        await runner.cleanup()


UNKNOWN_AGENTS = {
    "no call to begin with": {"type": "UPDATE"},
    "a number for an id": {"type": "REREGISTER", "agent_info": {"id": {"value": 5}}},
    "a path for an id": {"type": "REREGISTER", "agent_info": {"id": {"value": "../x"}}},
    "nowhere": {"type": "REGISTER", "pid": "x"},
    "no port": {"type": "REGISTER", "pid": "slave(1)@127.0.0.1:http"},
    "a number for a hostname": {"type": "REGISTER", "agent_info": {"hostname": 7}},
    "endless": {"type": "REGISTER", "agent_info": {"resources": [scalar("cpus", 1e306)]}},
}


@pytest.mark.parametrize("kind", UNKNOWN_AGENTS)
async def test_who_is_no_agent_is_not_admitted_and_spoils_nothing(master: Cluster, kind: str) -> None:
    call = {"pid": "slave(1)@127.0.0.1:5051", "agent_info": {}, **UNKNOWN_AGENTS[kind]}
    call["agent_info"] = {"hostname": "h", "resources": [scalar("cpus", 4)], **call["agent_info"]}
    async with Driver(master.master_flag) as driver:
        await driver.event("SUBSCRIBED")
        await post(master.masters[0], "/api/v1/agent", recordio.encode(orjson.dumps(call)))
        master.agent()
        await driver.launch(command("meanwhile", "true"))
        await driver.status("meanwhile", "TASK_FINISHED")
    assert [slave["hostname"] for slave in (await master.state())["slaves"]] == ["agent-0"]


async def test_an_amount_beyond_all_numbers_takes_nothing_of_the_offer(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("endless", "true", cpus=1e306))
        assert (await driver.status("endless", "TASK_ERROR"))["reason"] == "REASON_TASK_INVALID"
        await driver.launch(command("meanwhile", "true"))
        await driver.status("meanwhile", "TASK_FINISHED")


async def _ended(watcher: Watcher) -> bool:
    return watcher.ended


async def test_a_subscription_over_http_1_0(master: Cluster) -> None:
    """Without chunks: what comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", master.masters[0].port)
    body = b'{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"old"}}}'
    head = b"POST /api/v1/scheduler HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    async with asyncio.timeout(10):
        told = await reader.readuntil(b'"SUBSCRIBED"')
    assert told.startswith(b"HTTP/1.0 200")
    assert b"chunked" not in told.lower()
    writer.close()


MASTER = "k8slab.mesos.master.main"
AGENT = "k8slab.mesos.agent.main"


@pytest.mark.parametrize(
    ("module", "flag", "why"),
    [
        (MASTER, "--zk=zk://h:abc/m", "expected zk://"),
        (MASTER, "--zk=zk://h,,i/m", "expected zk://"),
        (MASTER, "--ip=localhost", "Failed to load flag 'ip'"),
        (MASTER, "--ip=::1", "Failed to load flag 'ip'"),
        (MASTER, "--port=99999", "is not a whole number from 1 to 65535"),
        (MASTER, "--port=\u00b2", "is not a whole number from 1 to 65535"),
        (MASTER, "--quorum=x", "is not a whole number from 1 upwards"),
        (MASTER, "--max_agent_ping_timeouts=-1", "is not a whole number from 1 upwards"),
        (MASTER, "--allocation_interval=0secs", "must be more than nothing"),
        (MASTER, "--agent_ping_timeout=0secs", "must be more than nothing"),
        (AGENT, "--master=zk://h:abc/m", "expected zk://"),
        (AGENT, "--port=0", "is not a whole number from 1 to 65535"),
        (AGENT, "--disk_watch_interval=0secs", "must be more than nothing"),
        (AGENT, "--gc_disk_headroom=nan", "--gc_disk_headroom: 'nan' is not a number from 0 to 1"),
    ],
)
async def test_flags_that_cannot_be_meant(supervisor: Supervisor, module: str, flag: str, why: str) -> None:
    flags = {"--work_dir": str(supervisor.directory), "--port": str(free_port()), "--ip": "127.0.0.1"}
    if module == AGENT:
        flags["--master"] = "127.0.0.1:1"
    elif flag.startswith("--quorum"):
        flags["--zk"] = "zk://127.0.0.1:1/m"
    elif flag.startswith("--zk"):
        flags["--quorum"] = "1"
    flags.pop(flag.partition("=")[0], None)
    daemon = supervisor.module("program", module, *(f"{name}={value}" for name, value in flags.items()), flag)
    daemon.start(wait=False)
    assert await daemon.exited(20) == 2
    said = daemon.tail()
    assert why in said
    assert "Traceback" not in said
