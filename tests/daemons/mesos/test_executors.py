"""Custom executors: how they start, talk, end, and outlive their agent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8slab.mesos.client.stream import decode_bytes, encode_bytes
from k8slab.mesos.recordio import Decoder
from tests.daemons.mesos.cluster import Cluster, Driver, Node, command, eventually, get_json, scalar, task

PROGRAM = Path(__file__).with_name("programs.py")
ROOT = Path(__file__).parents[3]


def executor(executor_id: str = "custom", *, line: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "executor_id": {"value": executor_id},
        "name": "Custom",
        "command": {
            "value": line or f"exec {sys.executable} {PROGRAM}",
            "environment": {"variables": [{"name": "PYTHONPATH", "value": str(ROOT)}]},
        },
        "resources": [scalar("cpus", 0.1), scalar("mem", 32)],
        **fields,
    }


async def executor_pid(agent: Node) -> int:
    """Of the only executor there is."""
    [path] = agent.work_dir.glob("meta/slaves/latest/frameworks/*/executors/*/runs/latest/pids/forked.pid")
    return int(json.loads(path.read_text())["pid"])


async def all_acknowledged(agent: Node) -> bool:
    try:
        journals = [path.read_bytes() for path in agent.work_dir.glob("meta/slaves/latest/**/task.updates")]
    except FileNotFoundError:
        # The agent was just putting one away.
        return False
    return all(text.count(b'"UPDATE"') == text.count(b'"ACK"') for text in journals)


def children_of(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_row_24_tasks_and_messages(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.launch(
            task("one", executor=executor()), task("two", executor=executor()), refuse_seconds=0
        )
        running = await driver.status("one", "TASK_RUNNING")
        await driver.status("two", "TASK_RUNNING")
        assert decode_bytes(running["data"]) == b"\x00\xffdata"
        assert running["executor_id"] == {"value": "custom"}
        again = await driver.offer()
        assert again["executor_ids"] == [{"value": "custom"}]
        amounts = {r["name"]: r["scalar"]["value"] for r in again["resources"] if r["type"] == "SCALAR"}
        assert amounts["cpus"] == 3.7
        agent_id, data = offer["agent_id"]["value"], bytes(range(256))
        await driver.client.message(agent_id, "custom", data)
        message = (await driver.event("MESSAGE"))["message"]
        assert decode_bytes(message["data"]) == data[::-1]
        assert (message["agent_id"], message["executor_id"]) == (offer["agent_id"], {"value": "custom"})
        await driver.client.message(agent_id, "custom", b"finish one")
        await driver.status("one", "TASK_FINISHED")
        await driver.client.kill("two", agent_id)
        assert (await driver.status("two", "TASK_KILLED"))["message"] == "as asked"
        [shown] = (await small.state())["frameworks"][0]["executors"]
        assert (shown["executor_id"], shown["name"], shown["slave_id"]) == ("custom", "Custom", agent_id)


async def test_row_21_an_executor_that_dies_takes_its_tasks_along(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.launch(task("orphan", executor=executor()))
        await driver.status("orphan", "TASK_RUNNING")
        await driver.client.message(offer["agent_id"]["value"], "custom", b"fail")
        status = await driver.status("orphan", "TASK_FAILED")
        assert (status["source"], status["reason"]) == ("SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED")
        failure = await driver.event("FAILURE")
        assert failure["failure"] == {
            "agent_id": offer["agent_id"],
            "executor_id": {"value": "custom"},
            "status": 256,
        }


async def test_row_22_an_executor_that_never_subscribes(master: Cluster) -> None:
    master.agent("--executor_registration_timeout=500ms")
    async with Driver(master.master_flag) as driver:
        await driver.launch(task("silent", executor=executor(line="sleep 1000")))
        status = await driver.status("silent", "TASK_FAILED")
        assert status["reason"] == "REASON_EXECUTOR_REGISTRATION_TIMEOUT"
        assert (await driver.event("FAILURE"))["failure"]["status"] == 9


async def test_row_23_one_executor_id_means_one_executor(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(task("first", executor=executor()), refuse_seconds=0)
        await driver.status("first", "TASK_RUNNING")
        await driver.launch(task("second", executor=executor(name="Another")))
        status = await driver.status("second", "TASK_ERROR")
        assert "ExecutorInfo is not compatible with existing ExecutorInfo" in status["message"]


async def test_environment(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(task("env", executor=executor("e", line="env; exit 0")))
        await driver.status("env", "TASK_FAILED")
        out = next(small.agents[0].work_dir.glob("slaves/*/frameworks/*/executors/e/runs/latest/stdout")).resolve()
        env = dict(line.partition("=")[::2] for line in out.read_text().splitlines())
        agent = small.agents[0]
        agent_id = (await get_json(f"{agent.url}/state"))["id"]
        expected = {
            "MESOS_FRAMEWORK_ID": driver.client.framework_id,
            "MESOS_EXECUTOR_ID": "e",
            "MESOS_SLAVE_ID": agent_id,
            "MESOS_SLAVE_PID": f"slave(1)@{agent.address}",
            "MESOS_AGENT_ENDPOINT": agent.address,
            "MESOS_CHECKPOINT": "1",
            "MESOS_RECOVERY_TIMEOUT": "15mins",
            "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "5secs",
            "MESOS_SANDBOX": str(out.parent),
            "MESOS_DIRECTORY": str(out.parent),
            "MESOS_HTTP_COMMAND_EXECUTOR": "0",
            "LIBPROCESS_PORT": "0",
            "LIBPROCESS_IP": "127.0.0.1",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(ROOT),
        }
        assert {key: env.get(key) for key in expected} == expected
        shells_own = {"PWD", "OLDPWD", "SHLVL", "_"}
        assert set(env) - shells_own == set(expected), "nothing of the agent's own environment"


async def test_environment_without_checkpointing_and_with_the_agents_variables(master: Cluster) -> None:
    variables = json.dumps({"FROM_AGENT": "yes", "PYTHONPATH": "/overridden"})
    agent = master.agent(f"--executor_environment_variables={variables}")
    async with Driver(master.master_flag, checkpoint=False) as driver:
        grace = {"nanoseconds": 250_000_000}
        await driver.launch(task("env", executor=executor("e", line="env; exit 0", shutdown_grace_period=grace)))
        await driver.status("env", "TASK_FAILED")
        out = next(agent.work_dir.glob("slaves/*/frameworks/*/executors/e/runs/latest/stdout"))
        env = dict(line.partition("=")[::2] for line in out.read_text().splitlines())
        assert (env["MESOS_CHECKPOINT"], env["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"]) == ("0", "250ms")
        assert not {"MESOS_RECOVERY_TIMEOUT", "MESOS_SUBSCRIPTION_BACKOFF_MAX"} & set(env)
        assert (env["FROM_AGENT"], env["PYTHONPATH"]) == ("yes", str(ROOT))


async def test_a_custom_executor_leads_its_own_session_and_process_group(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(task("alone", executor=executor()))
        running = await driver.status("alone", "TASK_RUNNING")
        pid = running["container_status"]["executor_pid"]
        assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
        assert os.getpgid(small.agents[0].daemon.pid) != pid


@pytest.mark.parametrize("boot", ["same", "another"])
async def test_row_26_agent_restart(master: Cluster, tmp_path: Path, boot: str) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first boot\n")
    agent = master.agent(env={"MESOS_BOOT_ID_FILE": str(boot_id)})
    async with Driver(master.master_flag) as driver:
        offer = await driver.launch(task("kept", executor=executor()), command("plain", "sleep 1000"))
        for task_id in ("kept", "plain"):
            await driver.status(task_id, "TASK_RUNNING")
        await eventually(lambda: all_acknowledged(agent), what="every update is acknowledged")
        pids = [
            json.loads(path.read_text())["pid"]
            for path in agent.work_dir.glob("meta/slaves/latest/frameworks/*/executors/*/runs/latest/pids/forked.pid")
        ]
        assert len(pids) == 2
        agent.daemon.kill()
        assert all(map(alive, pids))
        if boot == "another":
            boot_id.write_text("second boot\n")
        count = len(driver.events)
        await agent.daemon.start_async()
        assert (await get_json(f"{agent.url}/state"))["id"] == offer["agent_id"]["value"]
        if boot == "another":
            for task_id in ("kept", "plain"):
                status = await driver.status(task_id, "TASK_FAILED")
                assert status["reason"] == "REASON_EXECUTOR_TERMINATED"
            return
        await driver.client.message(offer["agent_id"]["value"], "custom", b"ping")
        assert decode_bytes((await driver.event("MESSAGE"))["message"]["data"]) == b"gnip"
        assert not [event for event in driver.events[count:] if event["type"] == "UPDATE"]
        await driver.client.message(offer["agent_id"]["value"], "custom", b"finish kept")
        await driver.status("kept", "TASK_FINISHED")
        await driver.client.kill("plain")
        await driver.status("plain", "TASK_KILLED")


async def test_an_unacknowledged_last_update_survives_the_agent(small: Cluster) -> None:
    agent = small.agents[0]
    async with Driver(small.master_flag, acknowledge=False) as driver:
        await driver.launch(command("brief", "true"))
        for state in ("TASK_STARTING", "TASK_RUNNING"):
            await driver.client.acknowledge(await driver.status("brief", state))
        finished = await driver.status("brief", "TASK_FINISHED")

        async def executors() -> list[dict[str, Any]]:
            frameworks = (await get_json(f"{agent.url}/state"))["frameworks"]
            return [shown for framework in frameworks for shown in framework["executors"] if shown["tasks"]]

        async def ended() -> bool:
            metrics = await get_json(f"{agent.url}/metrics/snapshot")
            return metrics["slave/executors_running"] + metrics["slave/executors_terminating"] == 0

        await eventually(ended, what="the executor ended")
        assert [task["state"] for shown in await executors() for task in shown["tasks"]] == ["TASK_FINISHED"]
        for count in (1, 2):
            agent.daemon.kill()
            await agent.daemon.start_async()
            await driver.until(
                lambda count=count: (
                    sum(status["uuid"] == finished["uuid"] for status in driver.statuses("brief")) > count
                ),
                what="TASK_FINISHED again",
            )
        await driver.client.acknowledge(finished)

        async def forgotten() -> bool:
            return not await executors()

        await eventually(forgotten, what="the acknowledged task is forgotten")
        [run] = agent.work_dir.glob("meta/slaves/latest/frameworks/*/executors/brief/runs/latest")
        assert (run / "executor.sentinel").exists()
        assert list((run / "tasks").iterdir()) == []
        agent.daemon.kill()
        await agent.daemon.start_async()
        assert (await get_json(f"{agent.url}/state"))["frameworks"] == []
        assert driver.statuses("brief")[-1]["state"] == "TASK_FINISHED"


async def test_nothing_is_left_of_an_executor_that_died_with_its_agent(small: Cluster) -> None:
    agent = small.agents[0]
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("plain", "sleep 1000"))
        await driver.status("plain", "TASK_RUNNING")
        pid = await executor_pid(agent)
        [child] = children_of(pid)
        agent.daemon.kill()
        os.kill(pid, 9)
        assert alive(child)
        await agent.daemon.start_async()
        assert (await driver.status("plain", "TASK_FAILED"))["reason"] == "REASON_EXECUTOR_TERMINATED"
        assert not alive(child)


async def test_without_checkpointing_an_executor_ends_with_its_agent(small: Cluster) -> None:
    agent = small.agents[0]
    async with Driver(small.master_flag, checkpoint=False) as driver:
        await driver.launch(task("short", executor=executor()))
        await driver.status("short", "TASK_RUNNING")
        pid = await executor_pid(agent)
        agent.daemon.kill()
        status = await driver.status("short", "TASK_LOST")
        assert status["reason"] == "REASON_AGENT_DISCONNECTED"

        async def dead() -> bool:
            return not alive(pid)

        await eventually(dead, what="the executor ends itself")


async def test_what_came_while_an_executor_was_away_waits_for_it(small: Cluster) -> None:
    url = f"{small.agents[0].url}/api/v1/executor"
    away = executor("away", line="exec sleep 1000")
    async with Driver(small.master_flag) as driver, aiohttp.ClientSession() as session:
        offer = await driver.launch(task("first", executor=away), refuse_seconds=0)
        ids = {"framework_id": {"value": driver.client.framework_id}, "executor_id": {"value": "away"}}

        async def events(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
            decoder, found = Decoder(), []
            async with asyncio.timeout(10.0):
                while len(found) < count:
                    found += [json.loads(record) for record in decoder.feed(await response.content.readany())]
            return found

        async def launched() -> bool:
            frameworks = (await get_json(f"{small.agents[0].url}/state"))["frameworks"]
            return any(shown["queued_tasks"] for framework in frameworks for shown in framework["executors"])

        await eventually(launched, what="the first task waits")
        subscribe = {**ids, "type": "SUBSCRIBE", "subscribe": {}}
        async with session.post(url, json=subscribe) as response:
            assert [event["type"] for event in await events(response, 2)] == ["SUBSCRIBED", "LAUNCH"]
            status = {
                "task_id": {"value": "first"},
                "state": "TASK_RUNNING",
                "source": "SOURCE_EXECUTOR",
                "uuid": encode_bytes(bytes(16)),
            }
            async with session.post(url, json={**ids, "type": "UPDATE", "update": {"status": status}}) as answer:
                assert answer.status == 202
            await driver.status("first", "TASK_RUNNING")
            response.close()

        async def disconnected() -> bool:
            async with session.post(url, json={**ids, "type": "MESSAGE", "message": {"data": ""}}) as answer:
                return answer.status == 403

        await eventually(disconnected, what="the agent noticed")
        await driver.launch(task("second", executor=away), refuse_seconds=0)
        await eventually(launched, what="the second task waits")
        await driver.client.kill("first", offer["agent_id"]["value"], grace_seconds=7)
        # The agent is reached through one ordered link: what it queued after the kill shows that the kill arrived.
        await driver.launch(task("third", executor=away), refuse_seconds=0)

        async def both() -> bool:
            [framework] = (await get_json(f"{small.agents[0].url}/state"))["frameworks"]
            return len(framework["executors"][0]["queued_tasks"]) == 2

        await eventually(both, what="the third task waits")
        async with session.post(url, json=subscribe) as response:
            got = await events(response, 4)
            assert [event["type"] for event in got] == ["SUBSCRIBED", "LAUNCH", "LAUNCH", "KILL"]
            assert got[3]["kill"] == {
                "task_id": {"value": "first"},
                "kill_policy": {"grace_period": {"nanoseconds": 7_000_000_000}},
            }
        assert not [s for name in ("second", "third") for s in driver.statuses(name)]


async def test_row_30_the_executor_apis_ladder(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver, aiohttp.ClientSession() as session:
        await driver.launch(task("idle", executor=executor("idle", line="exec sleep 1000")))

        async def known() -> bool:
            return bool((await get_json(f"{small.agents[0].url}/state"))["frameworks"])

        await eventually(known)
        ids = {"framework_id": {"value": driver.client.framework_id}, "executor_id": {"value": "idle"}}
        status = {
            "task_id": {"value": "idle"},
            "state": "TASK_RUNNING",
            "source": "SOURCE_EXECUTOR",
            "uuid": encode_bytes(bytes(16)),
        }

        async def post(call: dict[str, Any], **headers: str) -> int:
            url = f"{small.agents[0].url}/slave(1)/api/v1/executor"
            async with session.post(url, json={**ids, **call}, headers=headers) as response:
                return response.status

        def update(**changed: Any) -> dict[str, Any]:
            return {"type": "UPDATE", "update": {"status": {**status, **changed}}}

        assert await post(update()) == 403
        assert await post(update(uuid=encode_bytes(bytes(3)))) == 400
        assert await post(update(state="TASK_STAGING")) == 400
        assert await post(update(source="SOURCE_AGENT")) == 400
        assert await post(update(executor_id={"value": "other"})) == 400
        assert await post({"type": "NOTHING"}) == 400
        assert await post({"type": "SUBSCRIBE", "subscribe": {}, "executor_id": {"value": "who"}}) == 400
        assert await post({"type": "SUBSCRIBE", "subscribe": {}}, Accept="text/html") == 406
        assert await post({"type": "SUBSCRIBE", "subscribe": {}, "framework_id": {"value": "who"}}) == 400
        assert await post({"type": "SUBSCRIBE"}) == 400
        assert await post({"type": "MESSAGE", "message": {"data": ""}}) == 403
        assert await post({"type": "HEARTBEAT"}) == 202
        url = f"{small.agents[0].url}/api/v1/executor"
        async with session.post(url, data=b"{}", headers={"Content-Type": "text/plain"}) as response:
            assert response.status == 415
        async with session.post(url, data=b"{", headers={"Content-Type": "application/json"}) as response:
            assert response.status == 400
        async with session.get(f"{small.agents[0].url}/api/v1/executor") as response:
            assert response.status == 405
