"""Agents that do on their link what a real one does seldom: come twice, come back changed, answer late."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json
from tests.daemons.mesos.link_agent import LinkAgent

AWARE = [{"type": "PARTITION_AWARE"}]


async def registered(cluster: Cluster) -> set[str]:
    return {slave["hostname"] for slave in (await get_json(f"{cluster.masters[0].url}/slaves"))["slaves"]}


async def test_a_task_whose_id_was_used_again_is_killed_when_its_agent_returns(cluster: Cluster) -> None:
    master = cluster.master("--agent_ping_timeout=200ms", "--max_agent_ping_timeouts=2")
    async with Driver(cluster.master_flag, capabilities=AWARE) as driver, LinkAgent(master, "old") as old:
        offer = await driver.launch(command("twice", "true"))
        framework_id = offer["framework_id"]["value"]
        ordered = await old.event("RUN_TASK")
        old.update(framework_id, "twice", "TASK_RUNNING")
        await driver.status("twice", "TASK_RUNNING")
        old.answers = None
        await driver.status("twice", "TASK_UNREACHABLE")
        async with LinkAgent(master, "new", port=5052) as new:
            await driver.launch(command("twice", "true"), agent="new")
            await new.event("RUN_TASK")
            new.update(framework_id, "twice", "TASK_RUNNING")
            await driver.until(lambda: len([s for s in driver.statuses("twice") if s["state"] == "TASK_RUNNING"]) == 2)
            item: dict[str, Any] = {
                "framework_id": offer["framework_id"],
                "task_id": {"value": "twice"},
                "name": "twice",
                "state": "TASK_RUNNING",
                "resources": ordered["task"]["resources"],
            }
            back = LinkAgent(master, "old", agent_id=old.agent_id)
            await back.begin(item, frameworks=(ordered["framework_info"],))
            assert (await back.event("KILL_TASK"))["task_id"] == {"value": "twice"}
            back.update(framework_id, "twice", "TASK_KILLED")
            await driver.status("twice", "TASK_KILLED")
            await back.event("ACKNOWLEDGE")
            count = len(driver.events)
            await driver.client.reconcile()
            known = (await driver.event("UPDATE", after=count))["update"]["status"]
            assert (known["state"], known["agent_id"]) == ("TASK_RUNNING", {"value": new.agent_id})
            [framework] = (await cluster.state())["frameworks"]
            assert [(task["id"], task["slave_id"]) for task in framework["tasks"]] == [("twice", new.agent_id)]

            def offered() -> dict[str, float]:
                """All that is on offer of the old agent: what was held by the task may come apart from the rest."""
                parts: dict[str, float] = {}
                for one in driver.offers.values():
                    for part in one["resources"] if one["hostname"] == "old" else ():
                        parts[part["name"]] = parts.get(part["name"], 0) + part["scalar"]["value"]
                return parts

            await driver.until(lambda: offered() == {"cpus": 4, "mem": 1024}, what="all of the old agent is on offer")
            await back.__aexit__()


async def test_an_agent_that_returns_smaller_takes_back_what_it_offered(master: Cluster) -> None:
    async with Driver(master.master_flag) as driver, LinkAgent(master.masters[0], "large", cpus=8) as agent:
        large = await driver.offer()
        async with LinkAgent(master.masters[0], "large", agent_id=agent.agent_id, cpus=2):
            assert (await driver.event("RESCIND"))["rescind"]["offer_id"] == large["id"]
            small = await driver.offer()
            assert next(item["scalar"]["value"] for item in small["resources"] if item["name"] == "cpus") == 2


async def test_an_agent_that_registers_twice_at_one_address_is_one_agent(master: Cluster) -> None:
    links = [LinkAgent(master.masters[0], "eager") for _ in range(5)]
    try:
        await asyncio.gather(*(link.begin() for link in links))
        [slave] = (await get_json(f"{master.masters[0].url}/slaves"))["slaves"]
        assert slave["active"]
    finally:
        for link in links:
            await link.__aexit__()


async def test_agents_become_unreachable_at_the_rate_allowed_and_only_while_silent(cluster: Cluster) -> None:
    interval = 2.0
    master = cluster.master(
        "--agent_ping_timeout=300ms",
        "--max_agent_ping_timeouts=2",
        f"--agent_removal_rate_limit=2/{2 * interval:g}secs",
    )
    async with (
        LinkAgent(master, "first", port=1) as first,
        LinkAgent(master, "second", port=2) as second,
        LinkAgent(master, "late", port=3) as late,
        LinkAgent(master, "last", port=4) as last,
    ):
        removed: dict[str, float] = {}

        async def gone(name: str) -> bool:
            removed[name] = time.monotonic()
            return name not in await registered(cluster)

        for agent in (first, second, late, last):
            agent.answers = None
            await asyncio.sleep(0.1)
        await eventually(lambda: gone("first"), what="the first is unreachable")
        late.answers = 0.27
        await eventually(lambda: gone("second"), what="the second is unreachable")
        assert removed["second"] - removed["first"] > interval / 2
        await eventually(lambda: gone("last"), what="the last is unreachable")
        assert removed["last"] - removed["second"] > 1.5 * interval
        assert await registered(cluster) == {"late"}
