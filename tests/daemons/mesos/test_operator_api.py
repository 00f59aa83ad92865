"""The operator API: what it shows, what it does, what it does not know, and its stream."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson
import pytest

from k8slab.mesos.recordio import Decoder
from tests.daemons.mesos.cluster import Cluster, Driver, command, get_json

AGENT = {
    "agent_info", "active", "deactivated", "version", "pid", "registered_time", "total_resources",
}  # fmt: skip
NOT_SERVED = (
    "CREATE_VOLUMES", "DESTROY_VOLUMES", "GROW_VOLUME", "SHRINK_VOLUME", "GET_MAINTENANCE_STATUS",
    "GET_MAINTENANCE_SCHEDULE", "UPDATE_MAINTENANCE_SCHEDULE", "START_MAINTENANCE", "STOP_MAINTENANCE", "DRAIN_AGENT",
    "DEACTIVATE_AGENT", "REACTIVATE_AGENT", "GET_QUOTA", "UPDATE_QUOTA", "SET_QUOTA", "REMOVE_QUOTA",
)  # fmt: skip
TASK = {"name", "task_id", "framework_id", "agent_id", "state", "resources", "statuses", "status_update_state"}
FRAMEWORK = {"framework_info", "active", "connected", "recovered", "registered_time"}


async def call(cluster: Cluster, type: str, *, route: str = "/api/v1", **payload: Any) -> tuple[int, Any]:
    body: dict[str, Any] = {"type": type}
    if payload:
        body[type.lower()] = payload
    url = f"{cluster.masters[0].url}{route}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        text = await response.read()
        return response.status, orjson.loads(text) if response.content_type == "application/json" else text


async def ask(cluster: Cluster, type: str, **payload: Any) -> Any:
    status, answer = await call(cluster, type, **payload)
    assert status == 200, answer
    assert answer["type"] == type
    return answer.get(type.lower(), {})


class Watcher:
    """A subscriber of the operator's stream that remembers every event."""

    def __init__(self, cluster: Cluster) -> None:
        self._url = f"{cluster.masters[0].url}/api/v1/operator"
        self.events: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watcher:
        self._task = asyncio.create_task(self._listen())
        await self.event("SUBSCRIBED")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def ended(self) -> bool:
        """Whether the master has closed the stream."""
        return self._task is not None and self._task.done()

    async def _listen(self) -> None:
        decoder = Decoder()
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._url, json={"type": "SUBSCRIBE"}) as response,
        ):
            async for chunk in response.content.iter_any():
                records = decoder.feed(chunk)
                async with self._news:
                    self.events += map(orjson.loads, records)
                    self._news.notify_all()

    async def event(self, kind: str, wanted: Callable[[Any], bool] = lambda body: True) -> Any:
        """The body of the first such event."""

        def found() -> Any:
            bodies = (event.get(kind.lower(), True) for event in self.events if event["type"] == kind)
            return next((body for body in bodies if wanted(body)), None)

        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: found() is not None)
        return found()


async def test_every_view(small: Cluster) -> None:
    async with Driver(small.master_flag, role="dev") as driver:
        await driver.launch(command("one", "sleep 100"))
        await driver.status("one", "TASK_RUNNING")
        framework_id = driver.events[0]["subscribed"]["framework_id"]["value"]
        assert await ask(small, "GET_HEALTH") == {"healthy": True}
        assert (await ask(small, "GET_VERSION"))["version_info"]["version"]
        flags = {flag["name"]: flag["value"] for flag in (await ask(small, "GET_FLAGS"))["flags"]}
        assert flags["cluster"] == "test"
        metrics = {metric["name"]: metric["value"] for metric in (await ask(small, "GET_METRICS"))["metrics"]}
        assert metrics["master/tasks_running"] == 1
        assert await ask(small, "GET_LOGGING_LEVEL") == {"level": 0}
        (agent,) = (await ask(small, "GET_AGENTS"))["agents"]
        assert set(agent) >= AGENT | {"allocated_resources"}
        assert agent["agent_info"]["hostname"] == "agent-0"
        (framework,) = (await ask(small, "GET_FRAMEWORKS"))["frameworks"]
        assert set(framework) >= FRAMEWORK | {"allocated_resources"}
        assert framework["framework_info"]["id"]["value"] == framework_id
        (task,) = (await ask(small, "GET_TASKS"))["tasks"]
        assert set(task) >= TASK
        assert task["state"] == "TASK_RUNNING"
        assert {part["name"]: part["scalar"]["value"] for part in task["resources"]} == {"cpus": 0.1, "mem": 32}
        assert await ask(small, "GET_EXECUTORS") == {}
        assert await ask(small, "GET_OPERATIONS") == {}
        roles = {role["name"]: role for role in (await ask(small, "GET_ROLES"))["roles"]}
        assert roles["dev"]["frameworks"] == [{"value": framework_id}]
        assert await ask(small, "GET_WEIGHTS") == {}
        assert (await ask(small, "GET_MASTER"))["master_info"]["port"] == small.masters[0].port
        state = await ask(small, "GET_STATE")
        assert set(state) == {"get_tasks", "get_executors", "get_frameworks", "get_agents"}
        assert state["get_tasks"]["tasks"][0]["task_id"] == {"value": "one"}


async def test_the_longer_path_reaches_it_too(master: Cluster) -> None:
    for route in ("/api/v1/operator", "/master/api/v1", "/api/v1/"):
        assert (await call(master, "GET_HEALTH", route=route))[0] == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"type":"GET_HEALTH"}', {"Content-Type": "text/plain"}, 415),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"{}", {}, 400),
        (b'{"type":"NOBODY_KNOWS"}', {}, 400),
        (b'{"type":7}', {}, 400),
        (b'{"type":"TEARDOWN"}', {}, 400),
        (b'{"type":"READ_FILE","read_file":{"path":"/master/log"}}', {}, 400),
        (b'{"type":"READ_FILE","read_file":{"path":"/etc/passwd","offset":0}}', {}, 404),
        (b'{"type":"TEARDOWN","teardown":{"framework_id":{"value":"nobody"}}}', {}, 400),
        (b'{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"nobody"}}}', {}, 404),
        (b'{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role":"a","weight":-1}]}}', {}, 400),
        (b'{"type":"SUBSCRIBE"}', {"Accept": "text/html"}, 406),
        *[(b'{"type":"%b"}' % kind.encode(), {}, 501) for kind in NOT_SERVED],
    ],
)
async def test_what_it_does_not_take(master: Cluster, body: bytes, headers: dict[str, str], status: int) -> None:
    headers = {"Content-Type": "application/json", **headers}
    url = f"{master.masters[0].url}/api/v1"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=body, headers=headers) as response:
            assert response.status == status, await response.text()
        async with session.get(url) as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_weights_and_logging_level(master: Cluster) -> None:
    assert (await call(master, "UPDATE_WEIGHTS", weight_infos=[{"role": "a", "weight": 3}]))[0] == 200
    assert await ask(master, "GET_WEIGHTS") == {"weight_infos": [{"role": "a", "weight": 3.0}]}
    hour = {"nanoseconds": 3600 * 10**9}
    assert (await call(master, "SET_LOGGING_LEVEL", level=1, duration=hour))[0] == 200
    assert await ask(master, "GET_LOGGING_LEVEL") == {"level": 1}
    assert (await call(master, "SET_LOGGING_LEVEL", level=-1, duration=hour))[0] == 400


async def test_files(cluster: Cluster) -> None:
    logs = cluster.supervisor.directory / "logs"
    cluster.master(f"--log_dir={logs}")
    read = await ask(cluster, "READ_FILE", path="/master/log", offset=0, length=10)
    written = (logs / "mesos-master.INFO").read_bytes()
    assert base64.b64decode(read["data"]) == written[:10]
    assert 0 < read["size"] <= len(written)
    assert (await call(cluster, "LIST_FILES", path="/master/log"))[0] == 404


async def test_the_stream_tells_what_happens(master: Cluster) -> None:
    async with Watcher(master) as watcher:
        assert set((await watcher.event("SUBSCRIBED"))["get_state"]) == {
            "get_tasks", "get_executors", "get_frameworks", "get_agents",
        }  # fmt: skip
        await watcher.event("HEARTBEAT")
        master.agent()
        added = await watcher.event("AGENT_ADDED")
        assert set(added["agent"]) >= AGENT
        agent_id = added["agent"]["agent_info"]["id"]
        async with Driver(master.master_flag, failover_timeout=60.0) as driver:
            known = (await watcher.event("FRAMEWORK_ADDED"))["framework"]["framework_info"]["id"]
            await driver.launch(command("short", "true"), command("long", "sleep 100"))
            await driver.status("short", "TASK_FINISHED")
            await driver.status("long", "TASK_RUNNING")
            task = (await watcher.event("TASK_ADDED", lambda body: body["task"]["task_id"]["value"] == "short"))["task"]
            assert (task["state"], task["agent_id"], task["framework_id"]) == ("TASK_STAGING", agent_id, known)
            for state in ("TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"):
                updated = await watcher.event("TASK_UPDATED", _is("short", state))
                assert updated["framework_id"] == known
        gone = await watcher.event("FRAMEWORK_UPDATED", lambda body: not body["framework"]["connected"])
        assert gone["framework"]["framework_info"]["id"] == known
        assert (await call(master, "TEARDOWN", framework_id=known))[0] == 200
        await watcher.event("TASK_UPDATED", _is("long", "TASK_KILLED"))
        assert (await watcher.event("FRAMEWORK_REMOVED"))["framework_info"]["id"] == known
        assert (await call(master, "MARK_AGENT_GONE", agent_id=agent_id))[0] == 200
        assert await watcher.event("AGENT_REMOVED") == {"agent_id": agent_id}


def _is(task_id: str, state: str) -> Callable[[Any], bool]:
    return lambda body: body["status"]["task_id"]["value"] == task_id and body["status"]["state"] == state


async def test_tasks_of_an_agent_marked_gone(small: Cluster) -> None:
    aware = [{"type": "PARTITION_AWARE"}]
    async with Driver(small.master_flag, capabilities=aware) as driver:
        offer = await driver.launch(command("one", "sleep 100"))
        await driver.status("one", "TASK_RUNNING")
        assert (await call(small, "MARK_AGENT_GONE", agent_id=offer["agent_id"]))[0] == 200
        status = await driver.status("one", "TASK_GONE_BY_OPERATOR")
        assert "uuid" not in status
        metrics = await get_json(f"{small.masters[0].url}/metrics/snapshot")
        assert metrics["master/tasks_gone_by_operator"] == metrics["master/slave_removals"] == 1
        assert (await call(small, "MARK_AGENT_GONE", agent_id=offer["agent_id"]))[0] == 200
