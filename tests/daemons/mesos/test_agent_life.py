"""What a master orders an agent beside running tasks, and what the agent keeps, shows and throws away."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8slab.mesos.client.stream import decode_bytes, encode_bytes
from k8slab.mesos.recordio import Decoder
from tests.daemons.mesos.cluster import Cluster, Driver, Node, command, eventually, get_json, scalar, task
from tests.daemons.mesos.link_master import LinkMaster
from tests.daemons.processes import Supervisor


@pytest.fixture
async def link(supervisor: Supervisor) -> AsyncIterator[LinkMaster]:
    async with LinkMaster(supervisor) as link:
        yield link


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_an_agent_that_is_gone_ends_its_executors_and_comes_back_as_another(link: LinkMaster) -> None:
    agent = await link.start_agent("--executor_shutdown_grace_period=1secs")
    await link.run_task(command("doomed", "sleep 1000"))
    running = await link.status("doomed", "TASK_RUNNING")
    await link.send("SHUTDOWN", message="marked gone")
    assert await agent.daemon.exited() == 0
    assert not alive(running["container_status"]["executor_pid"])
    count = len(link.calls)
    await agent.daemon.start_async()
    again = await link.call("REGISTER", after=count)
    assert "id" not in again["agent_info"]
    assert (await get_json(f"{agent.url}/state"))["id"] == "S1"


async def test_sigusr1_unregisters(small: Cluster) -> None:
    agent = small.agents[0]
    async with Driver(small.master_flag) as driver:
        offer = await driver.launch(command("left", "sleep 1000"))
        running = await driver.status("left", "TASK_RUNNING")
        agent.daemon.signal(signal.SIGUSR1)
        assert await agent.daemon.exited() == 0
        assert (await driver.status("left", "TASK_LOST"))["reason"] == "REASON_AGENT_REMOVED"
        assert (await driver.event("FAILURE"))["failure"]["agent_id"] == offer["agent_id"]
        assert not alive(running["container_status"]["executor_pid"])
        assert (await small.state())["slaves"] == []


async def test_reservations_are_kept_and_told_again(link: LinkMaster) -> None:
    agent = await link.start_agent()
    assert "checkpointed_resources" not in link.calls[0]
    reserved = scalar("cpus", 1.0) | {"reservations": [{"type": "DYNAMIC", "role": "r", "principal": "p"}]}
    resources = [scalar("cpus", 3.0), reserved, scalar("mem", 4096.0), scalar("disk", 2000.0)]
    await link.send("CHECKPOINT_RESOURCES", resources=resources)

    async def shown() -> Any:
        return (await get_json(f"{agent.url}/state"))["reserved_resources"].get("r")

    assert (await eventually(shown, what="the reservation is shown"))["cpus"] == 1.0
    agent.daemon.kill()
    count = len(link.calls)
    await agent.daemon.start_async()
    again = await link.call("REREGISTER", after=count)
    assert again["checkpointed_resources"] == resources


async def test_sandboxes_are_removed_in_time(link: LinkMaster) -> None:
    agent = await link.start_agent("--gc_delay=1ms", "--disk_watch_interval=200ms", "--gc_disk_headroom=0")
    await link.run_task(command("steady", "sleep 1000"))
    await link.run_task(command("brief", "true"))
    await link.status("brief", "TASK_FINISHED")
    await link.status("steady", "TASK_RUNNING")

    async def only_steady() -> bool:
        homes = (agent.work_dir / "slaves", agent.work_dir / "meta" / "slaves")
        left = [sorted(path.name for path in home.glob("S0/frameworks/F/executors/*")) for home in homes]
        return left == [["steady"], ["steady"]]

    await eventually(only_steady, what="what ended is removed, what runs is not")
    await link.kill("steady")
    await link.status("steady", "TASK_KILLED")


async def test_operators_calls(small: Cluster) -> None:
    agent = small.agents[0]
    async with Driver(small.master_flag) as driver, aiohttp.ClientSession() as session:
        offer = await driver.launch(command("seen", "sleep 1000"))
        running = await driver.status("seen", "TASK_RUNNING")

        async def call(kind: str) -> Any:
            async with session.post(f"{agent.url}/api/v1", json={"type": kind}) as response:
                assert response.status == 200, await response.text()
                answer = await response.json()
                assert answer["type"] == kind
                return answer[kind.lower()]

        assert await call("GET_HEALTH") == {"healthy": True}
        assert (await call("GET_VERSION"))["version_info"]["version"] == "1.11.0"
        flags = {flag["name"]: flag["value"] for flag in (await call("GET_FLAGS"))["flags"]}
        assert flags["port"] == str(agent.port)
        metrics = {metric["name"]: metric["value"] for metric in (await call("GET_METRICS"))["metrics"]}
        assert metrics["slave/tasks_running"] == 1
        assert (await call("GET_AGENT"))["agent_info"]["id"] == offer["agent_id"]
        [shown] = (await call("GET_TASKS"))["launched_tasks"]
        assert (shown["task_id"], shown["state"]) == ({"value": "seen"}, "TASK_RUNNING")
        state = await call("GET_STATE")
        assert set(state) == {"get_tasks", "get_executors", "get_frameworks"}
        [executor] = state["get_executors"]["executors"]
        assert executor["executor_info"]["executor_id"] == {"value": "seen"}
        [framework] = state["get_frameworks"]["frameworks"]
        assert framework["framework_info"]["id"]["value"] == driver.client.framework_id
        [container] = (await call("GET_CONTAINERS"))["containers"]
        assert container["container_id"] == running["container_status"]["container_id"]
        assert container["container_status"]["executor_pid"] == running["container_status"]["executor_pid"]
        assert container["resource_statistics"]["mem_rss_bytes"] > 1 << 20
        [statistics] = await get_json(f"{agent.url}/monitor/statistics")
        assert (statistics["executor_id"], statistics["source"]) == ("seen", "seen")
        assert statistics["statistics"]["cpus_limit"] == 0.2
        assert statistics["statistics"]["cpus_user_time_secs"] > 0
        for body, status in (
            ({"type": "LAUNCH_CONTAINER"}, 501),
            ({"type": "NOTHING"}, 400),
            ({"type": "READ_FILE"}, 400),
        ):
            async with session.post(f"{agent.url}/api/v1", json=body) as response:
                assert response.status == status


async def test_sandboxes_are_read_by_path_and_by_name(small: Cluster) -> None:
    agent = small.agents[0]
    async with Driver(small.master_flag) as driver, aiohttp.ClientSession() as session:
        await driver.launch(command("told", "echo words; sleep 1000"))
        await driver.status("told", "TASK_RUNNING")
        [framework] = (await get_json(f"{agent.url}/state"))["frameworks"]
        directory = framework["executors"][0]["directory"]
        alias = f"/frameworks/{framework['id']}/executors/told/runs/latest"

        async def written() -> bool:
            return "words" in (await get_json(f"{agent.url}/files/read?path={directory}/stdout&offset=0"))["data"]

        await eventually(written, what="the task's words")
        listed = await get_json(f"{agent.url}/files/browse?path={alias}")
        assert [entry["path"] for entry in listed] == [f"{alias}/stderr", f"{alias}/stdout"]
        body = {"type": "READ_FILE", "read_file": {"path": f"{alias}/stdout", "offset": 0}}
        async with session.post(f"{agent.url}/api/v1", json=body) as response:
            read = (await response.json())["read_file"]
        assert b"words" in decode_bytes(read["data"])
        body = {"type": "LIST_FILES", "list_files": {"path": directory}}
        async with session.post(f"{agent.url}/api/v1", json=body) as response:
            found = (await response.json())["list_files"]["file_infos"]
        assert [info["path"] for info in found] == [f"{directory}/stderr", f"{directory}/stdout"]
        for path in ("/etc/passwd", f"{alias}/../../../../../../meta/boot_id", "/frameworks/nobody"):
            async with session.get(f"{agent.url}/files/read", params={"path": path}) as response:
                assert response.status in (400, 404)


class ByHand:
    """An executor that is nothing but requests of a test."""

    def __init__(self, session: aiohttp.ClientSession, url: str, executor_id: str) -> None:
        self._session = session
        self._url = f"{url}/api/v1/executor"
        self._ids = {"framework_id": {"value": "F"}, "executor_id": {"value": executor_id}}

    async def subscribe(self, **subscribe: Any) -> aiohttp.ClientResponse:
        body = {**self._ids, "type": "SUBSCRIBE", "subscribe": subscribe}
        response = await self._session.post(self._url, json=body)
        assert response.status == 200
        assert "Mesos-Stream-Id" not in response.headers
        return response

    async def update(self, status: dict[str, Any]) -> int:
        body = {**self._ids, "type": "UPDATE", "update": {"status": status}}
        async with self._session.post(self._url, json=body) as response:
            return response.status


async def events(response: aiohttp.ClientResponse, count: int | None = None) -> list[dict[str, Any]]:
    """The next ``count``, or all to the end of the stream."""
    decoder, found = Decoder(), []
    async with asyncio.timeout(10.0):
        while count is None or len(found) < count:
            chunk = await response.content.readany()
            if not chunk:
                assert count is None
                break
            found += [json.loads(record) for record in decoder.feed(chunk)]
    return found


def status_of(task_id: str, state: str, number: int) -> dict[str, Any]:
    uuid = encode_bytes(bytes([number]) * 16)
    return {"task_id": {"value": task_id}, "state": state, "source": "SOURCE_EXECUTOR", "uuid": uuid}


def custom(task_id: str) -> dict[str, Any]:
    info = {
        "executor_id": {"value": "hand"},
        "command": {"value": "exec sleep 1000"},
        "resources": [scalar("cpus", 0.1)],
    }
    return task(task_id, executor=info)


async def test_what_an_executor_tells_again_is_taken_once(link: LinkMaster) -> None:
    agent = await link.start_agent()
    async with aiohttp.ClientSession() as session:
        hand = ByHand(session, agent.url, "hand")
        await link.run_task(custom("one"))
        await eventually(lambda: _known(agent.url), what="the executor is known")
        first = await hand.subscribe()
        subscribed, launch = await events(first, 2)
        assert set(subscribed["subscribed"]) == {"executor_info", "framework_info", "agent_info", "container_id"}
        assert subscribed["subscribed"]["framework_info"]["id"] == {"value": "F"}
        assert launch["launch"]["task"]["task_id"] == {"value": "one"}
        running = status_of("one", "TASK_RUNNING", 1)
        assert await hand.update(running) == 202
        [acknowledged] = await events(first, 1)
        assert acknowledged["acknowledged"] == {"task_id": {"value": "one"}, "uuid": running["uuid"]}
        await link.status("one", "TASK_RUNNING")
        finished = status_of("one", "TASK_FINISHED", 2)
        second = await hand.subscribe(
            unacknowledged_tasks=[launch["launch"]["task"]],
            unacknowledged_updates=[{"status": running}, {"status": finished}],
        )
        assert await events(first) == [], "the later subscription ends the earlier one"
        assert [event["type"] for event in await events(second, 3)] == ["SUBSCRIBED", "ACKNOWLEDGED", "ACKNOWLEDGED"]
        await link.status("one", "TASK_FINISHED")
        assert [status["uuid"] for status in link.statuses("one")] == [running["uuid"], finished["uuid"]]
        second.close()


@pytest.mark.parametrize(("capabilities", "state"), [((), "TASK_LOST"), (("PARTITION_AWARE",), "TASK_DROPPED")])
async def test_a_task_the_executor_never_got_is_lost(
    supervisor: Supervisor, capabilities: tuple[str, ...], state: str
) -> None:
    framework = {"capabilities": [{"type": name} for name in capabilities]}
    async with LinkMaster(supervisor, framework=framework) as link, aiohttp.ClientSession() as session:
        agent = await link.start_agent("--executor_reregistration_timeout=15secs")
        hand = ByHand(session, agent.url, "hand")
        await link.run_task(custom("had"))
        await link.run_task(custom("missed"))
        await eventually(lambda: _known(agent.url, queued=2), what="both tasks are known")
        first = await hand.subscribe()
        launches = await events(first, 3)
        await eventually(lambda: _written_down(agent), what="the next agent will know its process")
        agent.daemon.kill()
        await asyncio.to_thread(agent.daemon.start, wait=False)

        async def again() -> aiohttp.ClientResponse | None:
            try:
                return await hand.subscribe(unacknowledged_tasks=[launches[1]["launch"]["task"]])
            except aiohttp.ClientConnectionError:
                return None

        second = await eventually(again, what="subscribed again")
        status = await link.status("missed", state)
        assert (status["source"], status["reason"]) == ("SOURCE_AGENT", "REASON_AGENT_RESTARTED")
        assert not link.statuses("had")
        second.close()


async def test_an_executor_that_comes_while_it_is_being_ended_is_told_so(link: LinkMaster) -> None:
    agent = await link.start_agent()
    async with aiohttp.ClientSession() as session:
        hand = ByHand(session, agent.url, "hand")
        info = custom("one")
        info["executor"]["shutdown_grace_period"] = {"nanoseconds": 60_000_000_000}
        await link.run_task(info)
        await eventually(lambda: _known(agent.url), what="the executor is known")
        first = await hand.subscribe()
        await events(first, 2)
        await link.send("SHUTDOWN_EXECUTOR", framework_id={"value": "F"}, executor_id={"value": "hand"})
        assert [event["type"] for event in await events(first, 1)] == ["SHUTDOWN"]
        second = await hand.subscribe()
        assert [event["type"] for event in await events(second)] == ["SHUTDOWN"]


async def _written_down(agent: Node) -> bool:
    return any(agent.work_dir.glob("meta/slaves/latest/frameworks/*/executors/*/runs/latest/pids/forked.pid"))


async def _known(url: str, *, queued: int = 1) -> bool:
    frameworks = (await get_json(f"{url}/state"))["frameworks"]
    return any(len(shown["queued_tasks"]) == queued for known in frameworks for shown in known["executors"])


async def test_an_executor_that_does_not_shut_down_in_time_is_killed(link: LinkMaster) -> None:
    agent = await link.start_agent()
    async with aiohttp.ClientSession() as session:
        info = custom("one")
        info["executor"]["shutdown_grace_period"] = {"nanoseconds": 1_000_000_000}
        await link.run_task(info)
        await eventually(lambda: _known(agent.url), what="the executor is known")
        hand = ByHand(session, agent.url, "hand")
        stream = await hand.subscribe()
        await events(stream, 2)
        asked = time.monotonic()
        await link.send("SHUTDOWN_EXECUTOR", framework_id={"value": "F"}, executor_id={"value": "hand"})
        ended = await link.call("EXECUTOR_EXITED")
        assert (ended["executor_id"], ended["status"]) == ({"value": "hand"}, 9)
        assert 0.9 < time.monotonic() - asked < 3.0
        status = await link.status("one", "TASK_FAILED")
        assert (status["source"], status["reason"]) == ("SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED")
        assert [event["type"] for event in await events(stream)] == ["SHUTDOWN"]
