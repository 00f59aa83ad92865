"""The master's routes for people and tools: their keys, their wrappings, who answers them."""

from __future__ import annotations

import gzip
import socket
import uuid
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest

from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json, scalar
from tests.daemons.processes import ZooKeeper

VERSION = {"version", "build_date", "build_time", "build_user"}
STATE = VERSION | {
    "start_time", "elected_time", "id", "pid", "hostname", "capabilities", "activated_slaves", "deactivated_slaves",
    "unreachable_slaves", "leader", "leader_info", "cluster", "flags", "slaves", "recovered_slaves", "frameworks",
    "completed_frameworks", "orphan_tasks", "unregistered_frameworks",
}  # fmt: skip
SLAVE = {
    "id", "hostname", "port", "attributes", "pid", "registered_time", "resources", "used_resources",
    "offered_resources", "reserved_resources", "unreserved_resources", "active", "deactivated", "version",
    "capabilities",
}  # fmt: skip
FULL = {"reserved_resources_full", "unreserved_resources_full", "used_resources_full", "offered_resources_full"}
FRAMEWORK = {
    "id", "name", "used_resources", "offered_resources", "capabilities", "hostname", "webui_url", "active", "connected",
    "recovered", "user", "failover_timeout", "checkpoint", "registered_time", "unregistered_time", "resources", "role",
    "tasks", "unreachable_tasks", "completed_tasks", "offers", "executors",
}  # fmt: skip
TASK = {"id", "name", "framework_id", "executor_id", "slave_id", "state", "resources", "role", "statuses"}
COUNTS = {
    "TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_FINISHED", "TASK_KILLED", "TASK_FAILED",
    "TASK_LOST", "TASK_ERROR", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNREACHABLE",
}  # fmt: skip
SUMMED = {
    "id", "name", "hostname", "webui_url", "active", "connected", "recovered", "capabilities", "used_resources",
    "offered_resources", "resources", "slave_ids",
}  # fmt: skip
ROLE = {"name", "weight", "frameworks", "resources", "allocated", "offered", "reserved", "quota"}
METRICS = {
    "master/uptime_secs", "master/elected", "master/cpus_total", "master/cpus_used", "master/cpus_percent",
    "master/cpus_revocable_total", "master/mem_revocable_used", "master/disk_revocable_percent",
    "master/mem_total", "master/mem_used", "master/mem_percent", "master/disk_total", "master/gpus_total",
    "master/slaves_active", "master/slaves_inactive", "master/slaves_connected", "master/slaves_disconnected",
    "master/slaves_unreachable", "master/slave_registrations", "master/slave_reregistrations", "master/slave_removals",
    "master/frameworks_active", "master/frameworks_inactive", "master/frameworks_connected",
    "master/frameworks_disconnected", "master/outstanding_offers", "master/tasks_staging", "master/tasks_starting",
    "master/tasks_running", "master/tasks_killing", "master/tasks_finished", "master/tasks_failed",
    "master/tasks_killed", "master/tasks_lost", "master/tasks_error", "master/tasks_dropped",
    "master/tasks_unreachable", "master/tasks_gone", "master/tasks_gone_by_operator", "master/valid_status_updates",
    "master/invalid_status_updates", "master/dropped_messages", "allocator/mesos/allocation_runs",
    "allocator/mesos/allocation_run_ms", "allocator/mesos/resources/cpus/total",
    "allocator/mesos/resources/cpus/offered_or_allocated", "system/cpus_total", "system/load_1min",
    "system/load_5min", "system/load_15min", "system/mem_total_bytes", "system/mem_free_bytes",
}  # fmt: skip


async def fetch(url: str, *, method: str = "GET", **options: Any) -> tuple[int, Any, bytes]:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, url, allow_redirects=False, **options) as response,
    ):
        return response.status, response.headers, await response.read()


def differences(shown: dict[str, Any], expected: set[str]) -> set[str]:
    return set(shown) ^ expected


async def test_row_29_the_keys_of_every_view(small: Cluster) -> None:
    url = small.masters[0].url
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("running", "sleep 100"), command("over", "true"))
        await driver.status("running", "TASK_RUNNING")
        await driver.status("over", "TASK_FINISHED")
        await eventually(lambda: _completed(url), what="the task among the completed")
        state = await get_json(f"{url}/state")
        assert not differences(state, STATE)
        assert not differences(state["leader_info"], {"id", "pid", "port", "hostname"})
        slave, framework = state["slaves"][0], state["frameworks"][0]
        assert not differences(slave, SLAVE)
        assert not differences(framework, FRAMEWORK)
        assert [task["id"] for task in framework["tasks"]] == ["running"]
        for task in framework["tasks"] + framework["completed_tasks"]:
            assert not differences(task, TASK)
            assert all({"state", "timestamp"} <= set(status) for status in task["statuses"])
        for resources in (slave["resources"], slave["used_resources"], framework["resources"]):
            assert {"cpus", "gpus", "mem", "disk"} <= set(resources)
        assert slave["resources"]["ports"] == "[31000-31099]"

        summary = await get_json(f"{url}/state-summary")
        assert not differences(summary, {"hostname", "cluster", "slaves", "frameworks"})
        assert not differences(summary["slaves"][0], SLAVE | COUNTS | {"framework_ids"})
        assert not differences(summary["frameworks"][0], SUMMED | COUNTS)
        for counted in (summary["slaves"][0], summary["frameworks"][0]):
            assert {key: counted[key] for key in COUNTS if counted[key]} == {"TASK_RUNNING": 1, "TASK_FINISHED": 1}

        slaves = await get_json(f"{url}/slaves")
        assert not differences(slaves, {"slaves", "recovered_slaves"})
        assert not differences(slaves["slaves"][0], SLAVE | FULL)
        frameworks = await get_json(f"{url}/frameworks")
        assert not differences(frameworks, {"frameworks", "completed_frameworks", "unregistered_frameworks"})
        tasks = await get_json(f"{url}/tasks")
        assert {task["id"] for task in tasks["tasks"]} == {"running", "over"}
        roles = await get_json(f"{url}/roles")
        assert not differences(roles["roles"][0], ROLE)
        assert roles["roles"][0]["allocated"]["cpus"] == pytest.approx(0.1)
        assert not differences(await get_json(f"{url}/version"), VERSION)
        metrics = await get_json(f"{url}/metrics/snapshot")
        assert not METRICS - set(metrics)
        assert all(isinstance(value, int | float) for value in metrics.values())
        assert metrics["master/tasks_running"] == metrics["master/tasks_finished"] == 1
        assert metrics["master/slaves_active"] == metrics["master/frameworks_active"] == metrics["master/elected"] == 1
        assert metrics["master/cpus_total"] == 4
        assert metrics["master/cpus_used"] == pytest.approx(0.1)
        assert metrics["master/cpus_percent"] == pytest.approx(0.025)


async def _completed(url: str) -> bool:
    framework = (await get_json(f"{url}/frameworks"))["frameworks"][0]
    return [task["id"] for task in framework["completed_tasks"]] == ["over"]


@pytest.mark.parametrize(
    "path", ["/state", "/state-summary", "/slaves", "/frameworks", "/tasks", "/version", "/metrics/snapshot", "/roles"]
)
async def test_row_29_jsonp(master: Cluster, path: str) -> None:
    url = master.masters[0].url
    for known in (path, f"/master{path}", f"{path}/"):
        status, headers, body = await fetch(f"{url}{known}?jsonp=cb", headers={"Accept-Encoding": "identity"})
        assert status == 200
        assert headers["Content-Type"].startswith("text/javascript")
        assert body.startswith(b"cb(")
        assert body.endswith(b");")
        assert isinstance(orjson.loads(body[3:-2]), dict)


async def test_what_is_long_is_gzipped_for_those_who_accept_it(master: Cluster) -> None:
    url = master.masters[0].url
    accepting = {"Accept-Encoding": "gzip"}
    _, headers, body = await fetch(f"{url}/state", headers=accepting)
    assert headers["Content-Encoding"] == "gzip"
    assert len(gzip.decompress(body)) >= 1024
    for path, encoding in (("/state", "identity"), ("/version", "gzip")):
        _, headers, body = await fetch(f"{url}{path}", headers={"Accept-Encoding": encoding})
        assert "Content-Encoding" not in headers
        assert orjson.loads(body)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/redirect/anything", 404),
        ("/state/x", 404),
        ("/nothing", 404),
        ("/master/nothing", 404),
        ("/api/v1/../state", 404),
        ("/files/..", 404),
        ("/health/", 200),
        ("/master/health", 200),
        ("/state.json", 200),
        ("/help", 200),
        ("/system/stats.json", 200),
        ("/weights", 200),
        ("/quota", 200),
        ("/maintenance/schedule", 200),
        ("/maintenance/status", 200),
        ("/redirect", 307),
        ("/machine/down", 405),
        ("/teardown", 405),
        ("/reserve", 405),
        ("/files/read?path=/etc/passwd", 404),
        ("/files/browse", 400),
        ("/logging/toggle", 200),
        ("/logging/toggle?level=1", 400),
        ("/logging/toggle?level=9&duration=1secs", 400),
        ("/logging/toggle?level=1&duration=soon", 400),
        ("/logging/toggle?level=1&duration=1secs", 200),
    ],
)
async def test_which_paths_there_are(master: Cluster, path: str, status: int) -> None:
    assert await raw_status(master.masters[0].port, path) == status


async def raw_status(port: int, path: str) -> int:
    """By hand: a client would tidy the path up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return int(connection.recv(4096).split()[1])


async def test_row_27_a_follower_redirects_what_only_the_leader_knows(cluster: Cluster, zookeeper: ZooKeeper) -> None:
    cluster.zk = f"zk://{zookeeper.hosts}/{uuid.uuid4()}"
    leader = cluster.master()
    await eventually(lambda: _answers(f"{leader.url}/state"), what="the first master leads")
    follower = cluster.master()
    await eventually(lambda: _redirects(f"{follower.url}/redirect"), what="the second knows who leads")
    for path in (
        "/state", "/state-summary", "/slaves", "/frameworks", "/tasks?limit=3", "/roles", "/weights", "/quota",
        "/maintenance/schedule", "/maintenance/status", "/master/state", "/state.json",
    ):  # fmt: skip
        status, headers, body = await fetch(f"{follower.url}{path}")
        assert (status, headers["Location"], body) == (307, f"//127.0.0.1:{leader.port}{path}", b"")
    for path in ("/teardown", "/reserve", "/unreserve", "/machine/down", "/api/v1", "/api/v1/scheduler"):
        status, headers, _ = await fetch(f"{follower.url}{path}", method="POST")
        assert (status, headers["Location"]) == (307, f"//127.0.0.1:{leader.port}{path}")
    for path in ("/health", "/version", "/metrics/snapshot", "/flags", "/logging/toggle", "/system/stats.json"):
        assert (await fetch(f"{follower.url}{path}"))[0] == 200
    assert (await fetch(f"{follower.url}/files/browse"))[0] == 400
    _, headers, _ = await fetch(f"{follower.url}/redirect")
    assert headers["Location"] == f"//127.0.0.1:{leader.port}"
    assert (await get_json(f"{follower.url}/metrics/snapshot"))["master/elected"] == 0


async def _answers(url: str) -> bool:
    return (await fetch(url))[0] == 200


async def _redirects(url: str) -> bool:
    return (await fetch(url))[0] == 307


async def test_row_27_without_any_leader(cluster: Cluster) -> None:
    cluster.zk = "zk://127.0.0.1:1/mesos"
    alone = cluster.master(wait=False)
    await eventually(lambda: _healthy(f"{alone.url}/health"), what="it serves")
    for path in ("/state", "/redirect", "/slaves"):
        assert (await fetch(f"{alone.url}{path}"))[0] == 503


async def _healthy(url: str) -> bool:
    try:
        return (await fetch(url))[0] == 200
    except aiohttp.ClientError:
        return False


async def test_queries_choose(small: Cluster) -> None:
    url = small.masters[0].url
    async with Driver(small.master_flag) as driver:
        await driver.launch(*(command(f"t{number}", "sleep 100") for number in range(4)))
        for number in range(4):
            await driver.status(f"t{number}", "TASK_RUNNING")
        framework = (await get_json(f"{url}/frameworks"))["frameworks"][0]["id"]
        assert len((await get_json(f"{url}/tasks?limit=3"))["tasks"]) == 3
        assert len((await get_json(f"{url}/tasks?offset=3&framework_id={framework}"))["tasks"]) == 1
        assert [t["id"] for t in (await get_json(f"{url}/tasks?task_id=t2"))["tasks"]] == ["t2"]
        newest = [t["id"] for t in (await get_json(f"{url}/tasks"))["tasks"]]
        assert [t["id"] for t in (await get_json(f"{url}/tasks?order=asc"))["tasks"]] == newest[::-1]
        assert (await get_json(f"{url}/tasks?framework_id=nobody"))["tasks"] == []
        assert (await get_json(f"{url}/slaves?slave_id=nobody"))["slaves"] == []
        assert (await get_json(f"{url}/frameworks?framework_id=nobody"))["frameworks"] == []


async def test_weights_are_set_all_or_nothing(master: Cluster) -> None:
    url = f"{master.masters[0].url}/weights"
    status, _, _ = await fetch(url, method="PUT", data=b'[{"role":"a","weight":2.5},{"role":"b","weight":1}]')
    assert status == 200
    for bad in (b'[{"role":"c","weight":1},{"role":"d","weight":0}]', b'[{"role":"a b","weight":1}]', b"{}", b"[1]"):
        assert (await fetch(url, method="PUT", data=bad))[0] == 400
    assert await get_json(url) == [{"role": "a", "weight": 2.5}, {"role": "b", "weight": 1.0}]
    roles = (await get_json(f"{master.masters[0].url}/roles"))["roles"]
    assert {role["name"]: role["weight"] for role in roles} == {"*": 1.0, "a": 2.5, "b": 1.0}


@pytest.mark.parametrize(
    "path", ["/destroy-volumes", "/create-volumes", "/machine/down", "/quota", "/maintenance/schedule"]
)
async def test_what_is_not_served_says_so(master: Cluster, path: str) -> None:
    status, _, body = await fetch(f"{master.masters[0].url}{path}", method="POST", data=b"{}")
    assert (status, b"not served" in body) == (501, True)


async def test_teardown_by_form(small: Cluster) -> None:
    url = small.masters[0].url
    for body in (b"", b"frameworkId=", b"frameworkId=nobody"):
        assert (await fetch(f"{url}/teardown", method="POST", data=body))[0] == 400
    async with Driver(small.master_flag) as driver:
        framework_id = driver.events[0]["subscribed"]["framework_id"]["value"]
        assert (await fetch(f"{url}/teardown", method="POST", data=f"frameworkId={framework_id}".encode()))[0] == 200
        frameworks = await get_json(f"{url}/frameworks")
        assert [known["id"] for known in frameworks["completed_frameworks"]] == [framework_id]


async def test_the_log_is_a_file_to_read(cluster: Cluster) -> None:
    logs = cluster.supervisor.directory / "logs"
    master = cluster.master(f"--log_dir={logs}")
    size = (await get_json(f"{master.url}/files/read?path=/master/log&offset=-1"))["offset"]
    assert size > 0
    shown = await get_json(f"{master.url}/files/read?path=/master/log&offset=0&length={size}")
    assert shown["offset"] == 0
    assert "serves at" in shown["data"]
    assert (await get_json(f"{master.url}/state"))["log_dir"] == str(logs)
    _, headers, body = await fetch(f"{master.url}/files/download?path=/master/log")
    assert body.decode().startswith(shown["data"])
    assert "mesos-master.INFO" in headers["Content-Disposition"]


async def test_the_agents_log_is_a_file_to_read(cluster: Cluster) -> None:
    logs, external = cluster.supervisor.directory / "logs", cluster.supervisor.directory / "external"
    external.write_text("by a supervisor\n")
    cluster.master()
    agents = [cluster.agent(*flags) for flags in ((f"--log_dir={logs}",), (f"--external_log_file={external}",), ())]
    shown = [await fetch(f"{agent.url}/files/read?path=/slave/log&offset=0") for agent in agents]
    assert [status for status, _, _ in shown] == [200, 200, 404]
    assert "serves at" in orjson.loads(shown[0][2])["data"]
    assert orjson.loads(shown[1][2])["data"] == "by a supervisor\n"
    states = [await get_json(f"{agent.url}/state") for agent in agents]
    assert [state.get("log_dir") for state in states] == [str(logs), None, None]
    assert [state.get("external_log_file") for state in states] == [None, str(external), None]


async def test_reservations_by_form(small: Cluster) -> None:
    url = small.masters[0].url
    agent_id = (await get_json(f"{url}/slaves"))["slaves"][0]["id"]

    async def change(path: str, cpus: float, role: str = "dev", slave: str = agent_id) -> int:
        reservation = {"type": "DYNAMIC", "role": role}
        form = {"slaveId": slave, "resources": orjson.dumps([{**scalar("cpus", cpus), "reservations": [reservation]}])}
        return (await fetch(f"{url}{path}", method="POST", data=urlencode(form).encode()))[0]

    async def reserved() -> dict[str, float]:
        slave = (await get_json(f"{url}/slaves"))["slaves"][0]
        assert slave["resources"]["cpus"] == 4
        return {role: part["cpus"] for role, part in slave["reserved_resources"].items()}

    assert await change("/reserve", 1.5) == 202
    assert await reserved() == {"dev": 1.5}
    assert await change("/reserve", 3) == 409
    assert await change("/unreserve", 2) == 409
    assert await change("/unreserve", 1, role="ops") == 409
    assert await change("/reserve", 1, slave="nobody") == 400
    assert (await fetch(f"{url}/reserve", method="POST", data=b"slaveId=x&resources=no"))[0] == 400
    async with Driver(small.master_flag, role="other") as other:
        offer = await other.offer()
        assert _cpus(offer) == 2.5
    async with Driver(small.master_flag, role="dev") as dev:
        assert _cpus(await dev.offer()) == 4
    assert await change("/unreserve", 1.5) == 202
    assert await reserved() == {}


def _cpus(offer: dict[str, Any]) -> float:
    return sum(part["scalar"]["value"] for part in offer["resources"] if part["name"] == "cpus")


async def test_a_reservation_outlives_the_agents_process(small: Cluster) -> None:
    url = small.masters[0].url
    agent_id = (await get_json(f"{url}/slaves"))["slaves"][0]["id"]
    resource = {**scalar("cpus", 1), "reservations": [{"type": "DYNAMIC", "role": "dev"}]}
    form = urlencode({"slaveId": agent_id, "resources": orjson.dumps([resource])}).encode()
    assert (await fetch(f"{url}/reserve", method="POST", data=form))[0] == 202

    async def back() -> Any:
        slave = (await get_json(f"{url}/slaves"))["slaves"][0]
        return slave if slave["active"] and "reregistered_time" in slave else None

    small.agents[0].daemon.kill()
    small.agents[0].daemon.start()
    slave = await eventually(back, what="the agent is back")
    assert slave["id"] == agent_id
    assert {role: part["cpus"] for role, part in slave["reserved_resources"].items()} == {"dev": 1}
    assert slave["resources"]["cpus"] == 4
