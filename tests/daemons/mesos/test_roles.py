"""Roles and weights: who ends up with what, and in which words frameworks are told."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp

from k8slab.mesos.client.scheduler import launch
from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json

MULTI_ROLE = [{"type": "MULTI_ROLE"}]


async def weigh(cluster: Cluster, **weights: float) -> None:
    infos = [{"role": role.replace("__", "/"), "weight": weight} for role, weight in weights.items()]
    url = f"{cluster.masters[0].url}/weights"
    async with aiohttp.ClientSession() as session, session.put(url, json=infos) as response:
        assert response.status == 200, await response.text()


async def take_one_task_per_offer(driver: Driver, name: str) -> None:
    """Each offer: one task of a CPU if it fits, the rest back at once."""
    number = 0
    while True:
        offer = await driver.offer(timeout=3600)
        operations = []
        if any(item["name"] == "cpus" and item["scalar"]["value"] >= 1 for item in offer["resources"]):
            sleeper = command(f"{name}-{number}", "sleep 1000", cpus=1, mem=32) | {"agent_id": offer["agent_id"]}
            operations.append(launch([sleeper]))
            number += 1
        await driver.client.accept([offer["id"]["value"]], operations, refuse_seconds=0)


async def cpus_by_role(cluster: Cluster) -> Counter[str]:
    roles = (await get_json(f"{cluster.masters[0].url}/roles"))["roles"]
    return Counter({role["name"]: role["allocated"]["cpus"] for role in roles if role["allocated"]["cpus"]})


async def test_shares_end_up_as_weights_say(cluster: Cluster) -> None:
    cluster.master("--allocation_interval=100ms")
    await weigh(cluster, heavy=3.0)
    async with Driver(cluster.master_flag, role="heavy") as heavy, Driver(cluster.master_flag, role="light") as light:
        cluster.agent(resources="cpus:12;mem:4096;disk:0;ports:[]")
        takers = [
            asyncio.create_task(take_one_task_per_offer(heavy, "heavy")),
            asyncio.create_task(take_one_task_per_offer(light, "light")),
        ]

        async def everything_used() -> Counter[str] | None:
            used = await cpus_by_role(cluster)
            return used if used.total() == 12 else None

        used = await eventually(everything_used, what="12 CPUs in use")
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)
    assert used == {"heavy": 9, "light": 3}


async def test_changed_weights_rescind_what_is_on_offer(small: Cluster) -> None:
    async with Driver(small.master_flag, role="a") as driver:
        offer = await driver.offer()
        await weigh(small, elsewhere=2.0)
        [shown] = (await small.state())["frameworks"][0]["offers"]
        assert shown["id"] == offer["id"]["value"]
        await weigh(small, a=2.0)
        rescinded = await driver.event("RESCIND")
        assert rescinded["rescind"]["offer_id"] == offer["id"]
        await driver.offer()


async def test_a_framework_in_two_roles_is_told_for_which_it_is_offered(small: Cluster) -> None:
    async with Driver(small.master_flag, roles=["a", "a/b"], capabilities=MULTI_ROLE) as driver:
        seen = set()
        for unwanted in ("a", "a/b"):
            await driver.client.revive()
            await driver.client.suppress([unwanted])
            for offer in list(driver.offers.values()):
                await driver.client.decline([offer["id"]["value"]], refuse_seconds=0)
            driver.offers.clear()
            wanted = ({"a", "a/b"} - {unwanted}).pop()
            offer = await driver.until(lambda wanted=wanted: _offer_for(driver, wanted), what=f"an offer for {wanted}")
            assert all(resource["allocation_info"] == {"role": wanted} for resource in offer["resources"])
            seen.add(wanted)
        assert seen == {"a", "a/b"}


def _offer_for(driver: Driver, role: str) -> dict[str, Any] | None:
    return next((offer for offer in driver.offers.values() if offer["allocation_info"] == {"role": role}), None)


async def test_without_multi_role_nothing_tells_of_the_allocation(small: Cluster) -> None:
    async with Driver(small.master_flag, role="a") as driver:
        offer = await driver.offer()
        assert "allocation_info" not in offer
        assert not any("allocation_info" in resource for resource in offer["resources"])
        assert {resource["role"] for resource in offer["resources"]} == {"*"}


async def test_little_is_not_offered_when_told_so(cluster: Cluster) -> None:
    cluster.master("--allocation_interval=100ms", "--min_allocatable_resources=cpus:2;mem:64|disk:500")
    cluster.agent(resources="cpus:1.9;mem:4096;disk:499;ports:[]")
    cluster.agent(resources="cpus:0.1;mem:1;disk:500;ports:[]")
    cluster.agent(resources="cpus:2;mem:64;disk:0;ports:[]")
    async with Driver(cluster.master_flag) as driver:
        await driver.until(lambda: len(driver.offers) == 2, what="two offers")
        assert {offer["hostname"] for offer in driver.offers.values()} == {"agent-1", "agent-2"}
