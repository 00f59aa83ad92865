"""What is offered, to whom, and what declining, suppressing and using offers does."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.daemons.mesos.cluster import Cluster, Driver, command, get_json, scalar, task


async def test_row_10_an_idle_agent_is_offered_whole(master: Cluster) -> None:
    master.agent("--attributes=rack:r0;level:3", resources="cpus:2;mem:512;disk:100;ports:[31000-31005,32000-32000]")
    async with Driver(master.master_flag) as driver:
        offer = await driver.offer(timeout=2.0)
        assert offer["hostname"] == "agent-0"
        assert offer["framework_id"]["value"] == driver.client.framework_id
        assert offer["attributes"] == [
            {"name": "rack", "type": "TEXT", "text": {"value": "r0"}},
            {"name": "level", "type": "SCALAR", "scalar": {"value": 3.0}},
        ]
        assert offer["url"]["path"] == "/slave(1)"
        assert "allocation_info" not in offer
        resources = {resource["name"]: resource for resource in offer["resources"]}
        assert resources["cpus"] == {**scalar("cpus", 2.0), "role": "*"}
        assert resources["ports"]["ranges"]["range"] == [
            {"begin": 31000, "end": 31005},
            {"begin": 32000, "end": 32000},
        ]
        await asyncio.sleep(0.5)
        assert not driver.offers


async def test_row_11_declined_offers_return_after_their_filter(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        for refuse, soonest, latest in ((0.0, 0.0, 0.9), (1.5, 1.4, 2.4)):
            offer = await driver.offer()
            declined = time.monotonic()
            await driver.client.decline([offer["id"]["value"]], refuse_seconds=refuse)
            again = await driver.offer()
            waited = time.monotonic() - declined
            assert soonest <= waited <= latest, (refuse, waited)
            await driver.client.decline([again["id"]["value"]], refuse_seconds=0.0)


async def test_row_12_suppress_and_revive(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.offer()
        await driver.client.suppress()
        await driver.client.decline([offer["id"]["value"]], refuse_seconds=3600)
        await asyncio.sleep(0.6)
        assert not driver.offers
        await driver.client.revive()
        await driver.offer(timeout=1.0)


async def test_used_resources_are_not_offered_again(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("sleeper", "sleep 1000", cpus=1.5, mem=1000), refuse_seconds=0.0)
        offer = await driver.offer()
        amounts = {r["name"]: r["scalar"]["value"] for r in offer["resources"] if r["type"] == "SCALAR"}
        assert amounts == {"cpus": 2.5, "mem": 3096.0, "disk": 2000.0}
        await driver.status("sleeper", "TASK_RUNNING")
        state = await small.state()
        assert state["slaves"][0]["used_resources"]["cpus"] == 1.5
        assert state["slaves"][0]["offered_resources"]["cpus"] == 2.5
        assert state["frameworks"][0]["tasks"][0]["state"] == "TASK_RUNNING"
        assert state["frameworks"][0]["resources"]["cpus"] == 4.0


async def test_two_frameworks_share(master: Cluster) -> None:
    async with Driver(master.master_flag, name="a") as one, Driver(master.master_flag, name="b") as two:
        for _ in range(4):
            master.agent(wait=True)
        await asyncio.gather(one.offer(), two.offer())


async def test_row_13_used_offers_cannot_be_used_again(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.launch(command("first", "sleep 1000"))
        again = {"agent_id": offer["agent_id"], **command("second", "true")}
        await driver.client.accept([offer["id"]["value"]], [{"type": "LAUNCH", "launch": {"task_infos": [again]}}])
        lost = await driver.status("second", "TASK_LOST")
        assert lost["reason"] == "REASON_INVALID_OFFERS"
        assert lost["source"] == "SOURCE_MASTER"
        assert "no longer valid" in lost["message"]
        assert "uuid" not in lost
    async with Driver(small.master_flag, capabilities=[{"type": "PARTITION_AWARE"}]) as aware:
        offer = await aware.offer()
        infos = [{"agent_id": offer["agent_id"], **command("third", "true")}]
        await aware.client.accept(["nonsense"], [{"type": "LAUNCH", "launch": {"task_infos": infos}}])
        await aware.status("third", "TASK_DROPPED")


async def test_row_14_wrong_tasks(small: Cluster) -> None:
    executor = {"executor_id": {"value": "e"}, "command": {"value": "true"}}
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "greedy": (command("greedy", "true", cpus=100), "more resources"),
        "astray": (command("astray", "true") | {"agent_id": {"value": "elsewhere"}}, "invalid agent"),
        "empty": (command("empty", "true") | {"resources": []}, "no resources"),
        "both": (command("both", "true", executor=executor), "CommandInfo or ExecutorInfo"),
        "neither": (task("neither"), "CommandInfo or ExecutorInfo"),
        "a/b": (command("a/b", "true"), "invalid"),
        "impatient": (
            command("impatient", "true", kill_policy={"grace_period": {"nanoseconds": -1}}),
            "grace_period",
        ),
    }
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("twin", "sleep 1000"), refuse_seconds=0.0)
        await driver.launch(*(info for info, _ in wrong.values()), command("twin", "true"), refuse_seconds=0.0)
        for task_id, (_, words) in wrong.items():
            error = await driver.status(task_id, "TASK_ERROR")
            assert (error["reason"], error["source"]) == ("REASON_TASK_INVALID", "SOURCE_MASTER"), task_id
            assert words in error["message"], task_id
        assert "duplicate" in (await driver.status("twin", "TASK_ERROR"))["message"]
        offer = await driver.offer()
        assert next(r for r in offer["resources"] if r["name"] == "cpus")["scalar"]["value"] == 3.9


async def test_offers_expire_when_told_so(cluster: Cluster) -> None:
    cluster.master("--offer_timeout=500ms", "--allocation_interval=200ms")
    cluster.agent()
    async with Driver(cluster.master_flag) as driver:
        offer = await driver.offer()
        rescinded = await driver.event("RESCIND")
        assert rescinded["rescind"]["offer_id"] == offer["id"]
        await driver.offer()


async def test_a_lost_agent_takes_its_offers_along(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.offer()
        small.agents[0].daemon.kill()
        rescinded = await driver.event("RESCIND")
        assert rescinded["rescind"]["offer_id"] == offer["id"]
        assert (await small.state())["deactivated_slaves"] == 1


async def test_reserved_resources_go_to_their_role(master: Cluster) -> None:
    master.agent(resources="cpus(web):3;cpus:1;mem:512;disk:0;ports:[]")
    async with Driver(master.master_flag, role="batch") as batch:
        offer = await batch.offer()
        assert [r for r in offer["resources"] if r["name"] == "cpus"] == [{**scalar("cpus", 1.0), "role": "*"}]
        async with Driver(master.master_flag, role="web") as web:
            offer = await web.offer()
            assert [r for r in offer["resources"] if r["name"] == "cpus"] == [{**scalar("cpus", 3.0), "role": "web"}]
    slaves = await get_json(f"{master.masters[0].url}/slaves")
    assert slaves["slaves"][0]["reserved_resources"]["web"]["cpus"] == 3.0
