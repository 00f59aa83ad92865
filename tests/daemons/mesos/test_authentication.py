"""Who may call: Basic authentication of frameworks, readers and operators at masters and agents."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8slab.mesos.authentication import Credentials
from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.operator import AgentClient, MasterClient
from k8slab.mesos.client.scheduler import SchedulerClient
from k8slab.mesos.link import PATH as AGENT_PATH
from tests.daemons.mesos.cluster import Cluster, Node, get_json
from tests.daemons.mesos.test_ladder import JSON, Stream, subscribe

ALICE = Credentials("alice", "wonder:land")
BOB = Credentials("bob", "builder")
ALL = (
    "--authenticate_http_frameworks=true",
    "--http_framework_authenticators=basic",
    "--authenticate_http_readonly=true",
    "--authenticate_http_readwrite=true",
)
OPEN_ROUTES = {"/health", "/version", "/redirect", "/help"}


@pytest.fixture
def known(tmp_path: Path) -> Path:
    listed = [{"principal": who.principal, "secret": who.secret} for who in (ALICE, BOB)]
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"credentials": listed}))
    return path


@pytest.fixture
def guarded(cluster: Cluster, known: Path) -> Node:
    return cluster.master(f"--credentials=file://{known}", *ALL)


async def post(node: Node, call: dict[str, Any], **headers: str) -> tuple[int, str, str]:
    url = f"{node.url}/api/v1/scheduler"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=json.dumps(call), headers={**JSON, **headers}) as response,
    ):
        return response.status, response.headers.get("WWW-Authenticate", ""), await response.text()


async def open_endpoints(node: Node) -> set[str]:
    """The routes that do not ask who is calling; that those which do say so for their realm is checked on the way."""
    answer = await get_json(f"{node.url}/help")
    paths = {endpoint["name"] for endpoint in answer["processes"][0]["endpoints"]}
    unguarded = set()
    async with aiohttp.ClientSession() as session:
        for path in paths:
            async with session.get(f"{node.url}{path}", allow_redirects=False) as response:
                if response.status == 401:
                    assert response.headers["WWW-Authenticate"].startswith('Basic realm="mesos-')
                else:
                    unguarded.add(path)
    return unguarded


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Basic",
        "Basic %%%",
        "Bearer YWxpY2U6d29uZGVyOmxhbmQ=",
        Credentials("alice", "wrong").headers["Authorization"],
        Credentials("nobody", "builder").headers["Authorization"],
        Credentials("alice", "builder").headers["Authorization"],
        "Basic YWxpY2U=",
    ],
)
async def test_who_is_not_known_is_asked_again(guarded: Node, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    status, challenge, _ = await post(guarded, {"type": "whatever"}, **headers)
    assert (status, challenge) == (401, 'Basic realm="mesos-master-scheduler"')
    assert (await post(guarded, {"type": "whatever"}, **ALICE.headers))[0] == 400


async def test_nobody_speaks_for_anothers_framework(guarded: Node) -> None:
    status, _, text = await post(guarded, subscribe(principal="bob"), **ALICE.headers)
    assert (status, text) == (
        400,
        "Failed to validate scheduler::Call: Authenticated principal 'alice' does not match principal 'bob' "
        "set in `FrameworkInfo`",
    )
    async with aiohttp.ClientSession() as session:
        response = await session.post(
            f"{guarded.url}/api/v1/scheduler",
            data=json.dumps(subscribe(principal="alice", failover_timeout=60.0)),
            headers={**JSON, **ALICE.headers},
        )
        stream = Stream(response)
        subscribed = await stream.next()
        assert subscribed is not None
        framework_id = subscribed["subscribed"]["framework_id"]
        call = {"type": "REVIVE", "framework_id": framework_id}
        bobs = await post(guarded, call, **BOB.headers, **{"Mesos-Stream-Id": stream.stream_id})
        assert bobs[0] == 400
        assert "does not match principal 'alice'" in bobs[2]
        assert (await post(guarded, call, **ALICE.headers, **{"Mesos-Stream-Id": stream.stream_id}))[0] == 202
        taking_over = subscribe(framework_id["value"], principal="bob")
        status, _, text = await post(guarded, taking_over, **BOB.headers)
        assert status == 200
        assert "Changing framework's principal is not allowed." in text


async def test_every_route_of_a_master_but_a_few_is_guarded(guarded: Node) -> None:
    found = await open_endpoints(guarded)
    assert found == OPEN_ROUTES | {AGENT_PATH}


async def test_agents_guard_their_routes_and_still_join(guarded: Node, cluster: Cluster, tmp_path: Path) -> None:
    lines = tmp_path / "credentials.txt"
    lines.write_text("alice wonder:land\nbob builder\n")
    agent = cluster.agent(
        f"--http_credentials={lines}", "--authenticate_http_readonly=true", "--authenticate_http_readwrite=true"
    )
    assert await open_endpoints(agent) <= OPEN_ROUTES | {"/api/v1/executor"}
    async with aiohttp.ClientSession() as session:
        for path, realm in (("/state", "readonly"), ("/api/v1", "readwrite")):
            async with session.get(f"{agent.url}{path}") as response:
                assert response.headers["WWW-Authenticate"] == f'Basic realm="mesos-agent-{realm}"'
    client = AgentClient(agent.address, credentials=BOB)
    master = MasterClient(cluster.master_flag, credentials=ALICE)
    try:
        assert await client.containers() == []
        assert len((await master.state())["slaves"]) == 1
    finally:
        await client.close()
        await master.close()


async def test_clients_say_who_they_are(guarded: Node, cluster: Cluster) -> None:
    assert "wonder" not in repr(ALICE)
    stranger = MasterClient(cluster.master_flag)
    with pytest.raises(MesosError) as refused:
        await stranger.state()
    assert refused.value.status == 401
    await stranger.close()
    client = SchedulerClient(cluster.master_flag, {"user": "root", "name": "test"}, credentials=ALICE)
    async with aclosing(client.events()) as events:
        assert (await anext(events))["type"] == "SUBSCRIBED"
        await client.suppress()
    await client.close()
    master = MasterClient(cluster.master_flag, credentials=BOB)
    flags = await master.get("/flags")
    assert "builder" not in json.dumps(flags)
    await master.close()


@pytest.mark.parametrize(
    ("content", "flags", "said"),
    [
        ("alice", ["--authenticate_http_readonly=true"], "Invalid credential format at line 1"),
        ("{}", ["--authenticate_http_readonly=true"], "expected {"),
        (None, ["--authenticate_http_readonly=true"], "No credentials for --authenticate_http_readonly"),
        ("a b", ["--authenticate_http_frameworks=true"], "Missing --http_framework_authenticators=basic"),
        ("a b", ["--authenticate_http_readonly=true", "--http_authenticators=jwt"], "expected basic, got 'jwt'"),
    ],
)
async def test_flags_that_do_not_fit_end_the_master(
    cluster: Cluster, tmp_path: Path, content: str | None, flags: list[str], said: str
) -> None:
    path = tmp_path / "credentials"
    if content is not None:
        path.write_text(content)
        flags = [*flags, f"--credentials={path}"]
    node = cluster.master(*flags, wait=False)
    assert await node.daemon.exited() != 0
    assert said in node.daemon.tail()
