"""Reservations: static ones, those that frameworks and operators make while agents run, and what survives whom."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from k8slab.mesos.client.scheduler import launch, reserve, unreserve
from tests.daemons.mesos.cluster import Cluster, Driver, Node, command, eventually, get_json, scalar
from tests.daemons.mesos.test_failover import leader_of, three_masters
from tests.daemons.processes import ZooKeeper

REFINED = [{"type": "RESERVATION_REFINEMENT"}, {"type": "MULTI_ROLE"}]


def dynamic(name: str, amount: float, role: str = "web", principal: str | None = None) -> dict[str, Any]:
    reservation = {"type": "DYNAMIC", "role": role} | ({"principal": principal} if principal else {})
    return {**scalar(name, amount), "reservations": [reservation]}


def multi_role(master: str, *roles: str, **info: Any) -> Driver:
    return Driver(master, roles=list(roles), capabilities=REFINED, **info)


def cpus(offer: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in resource.items() if key != "allocation_info"}
        for resource in offer["resources"]
        if resource["name"] == "cpus"
    ]


async def operate(driver: Driver, offer: dict[str, Any], *operations: dict[str, Any]) -> None:
    await driver.client.accept([offer["id"]["value"]], operations, refuse_seconds=0.0)


async def feedback(driver: Driver, operation_id: str) -> dict[str, Any]:
    def told() -> dict[str, Any] | None:
        for event in driver.events:
            if event["type"] == "UPDATE_OPERATION_STATUS":
                status: dict[str, Any] = event["update_operation_status"]["status"]
                if status["operation_id"]["value"] == operation_id:
                    return status
        return None

    return dict(await driver.until(told, what=f"feedback on {operation_id}"))


async def offer_for(driver: Driver, role: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        return next((offer for offer in driver.offers.values() if offer["allocation_info"]["role"] == role), None)

    offer: dict[str, Any] = await driver.until(found, what=f"an offer for {role}")
    return driver.offers.pop(offer["id"]["value"])


def with_id(operation: dict[str, Any], operation_id: str) -> dict[str, Any]:
    return {**operation, "id": {"value": operation_id}}


async def reserved(node: Node, role: str = "web") -> dict[str, Any] | None:
    """What the agent itself says is reserved."""
    return (await get_json(f"{node.url}/state"))["reserved_resources"].get(role)


async def until_reserved(node: Node, amount: float | None, role: str = "web") -> None:
    async def as_wanted() -> bool:
        shown = await reserved(node, role)
        return (shown and shown["cpus"]) == amount

    await eventually(as_wanted, what=f"{amount} cpus reserved for {role}")


async def agent_id(cluster: Cluster, master: Node | None = None) -> str:
    return str((await cluster.state(master))["slaves"][0]["id"])


async def post_form(cluster: Cluster, path: str, slave: str, resources: Sequence[dict[str, Any]]) -> tuple[int, str]:
    form = {"slaveId": slave, "resources": json.dumps(resources)}
    url = f"{cluster.masters[0].url}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, data=form) as response:
        return response.status, await response.text()


async def test_static_reservations_are_offered_to_their_role_alone(master: Cluster) -> None:
    master.agent(resources="cpus(web):2;cpus:1;mem:512;disk:0;ports:[]")
    async with Driver(master.master_flag, role="batch") as batch:
        assert cpus(await batch.offer()) == [{**scalar("cpus", 1.0), "role": "*"}]
    async with multi_role(master.master_flag, "web/shop") as below:
        static = {**scalar("cpus", 2.0), "reservations": [{"type": "STATIC", "role": "web"}]}
        assert sorted(cpus(await below.offer()), key=len) == [scalar("cpus", 1.0), static]


async def test_a_framework_reserves_launches_and_ends_the_reservation(small: Cluster) -> None:
    async with multi_role(small.master_flag, "web", principal="me") as driver:
        offer = await driver.offer()
        kept = dynamic("cpus", 1.5, principal="me")
        sleeper = command("sleeper", "sleep 1000") | {
            "agent_id": offer["agent_id"],
            "resources": [kept, scalar("mem", 64)],
        }
        await operate(driver, offer, with_id(reserve([kept]), "r"), launch([sleeper]))
        status = await feedback(driver, "r")
        assert status["state"] == "OPERATION_FINISHED"
        assert status["converted_resources"] == [kept]
        await driver.status("sleeper", "TASK_RUNNING")
        await until_reserved(small.agents[0], 1.5)
        offer = await driver.offer()
        assert cpus(offer) == [scalar("cpus", 2.5)]
        await driver.client.kill("sleeper")
        await driver.status("sleeper", "TASK_KILLED")
        await operate(driver, offer)

        def whole() -> dict[str, Any] | None:
            return next((offer for offer in driver.offers.values() if kept in cpus(offer)), None)

        offer = await driver.until(whole, what="the reservation on offer again")
        assert cpus(offer) == [scalar("cpus", 2.5), kept]
        slave = (await get_json(f"{small.masters[0].url}/slaves"))["slaves"][0]
        assert slave["reserved_resources"]["web"]["cpus"] == 1.5
        [shown] = slave["reserved_resources_full"]["web"]
        assert (shown["role"], shown["reservation"]) == ("web", {"principal": "me"})
        roles = {role["name"]: role for role in (await get_json(f"{small.masters[0].url}/roles"))["roles"]}
        assert roles["web"]["reserved"]["cpus"] == 1.5
        await operate(driver, offer, with_id(unreserve([kept]), "u"))
        assert (await feedback(driver, "u"))["state"] == "OPERATION_FINISHED"
        await until_reserved(small.agents[0], None)


async def test_others_are_not_offered_what_is_reserved(small: Cluster) -> None:
    async with Driver(small.master_flag, role="web") as web:
        offer = await web.offer()
        await operate(web, offer, reserve([dynamic("cpus", 3.0)]))
        old_form = {**scalar("cpus", 3.0), "role": "web", "reservation": {}}
        offer = await web.offer()
        assert cpus(offer) == [{**scalar("cpus", 1.0), "role": "*"}, old_form]
        await web.client.suppress()
        await operate(web, offer)
        async with Driver(small.master_flag, role="webshop") as other:
            assert cpus(await other.offer()) == [{**scalar("cpus", 1.0), "role": "*"}]


WRONG = {
    "not-dynamic": ([scalar("cpus", 1.0)], "not all dynamically reserved"),
    "for-everybody": ([dynamic("cpus", 1.0, role="*", principal="me")], "other than '*'"),
    "foreign-role": ([dynamic("cpus", 1.0, role="ops", principal="me")], "role 'ops'"),
    "foreign-principal": ([dynamic("cpus", 1.0, principal="you")], "principal 'you'"),
    "no-principal": ([dynamic("cpus", 1.0)], "no principal"),
    "too-much": ([dynamic("cpus", 100.0, principal="me")], "not all in the offered"),
    "volume": ([dynamic("disk", 10.0, principal="me") | {"disk": {"persistence": {"id": "v"}}}], "'disk'"),
    "nothing": ([], "No resources"),
}


async def test_wrong_reservations_change_nothing(small: Cluster) -> None:
    async with multi_role(small.master_flag, "web", principal="me") as driver:
        offer = await driver.offer()
        await operate(driver, offer, *(with_id(reserve(wrong), name) for name, (wrong, _) in WRONG.items()))
        for name, (_, words) in WRONG.items():
            status = await feedback(driver, name)
            assert (status["state"], words in status["message"]) == ("OPERATION_ERROR", True), status
        again = await driver.offer()
        assert again["resources"] == offer["resources"]
        await operate(driver, offer, with_id(reserve([dynamic("cpus", 1.0, principal="me")]), "late"))
        assert (await feedback(driver, "late"))["state"] == "OPERATION_DROPPED"
        await operate(driver, again, with_id(unreserve([dynamic("cpus", 1.0, principal="me")]), "unreserved"))
        assert (await feedback(driver, "unreserved"))["state"] == "OPERATION_ERROR"


async def test_reservations_are_refined_and_hidden_from_those_who_do_not_know(small: Cluster) -> None:
    async with multi_role(small.master_flag, "web", "web/shop") as driver:
        outer, inner = ({"type": "DYNAMIC", "role": role} for role in ("web", "web/shop"))
        stack = {**scalar("cpus", 2.0), "reservations": [outer, inner]}
        for role, resource in (("web", dynamic("cpus", 2.0)), ("web/shop", stack)):
            await driver.client.suppress([other for other in ("web", "web/shop") if other != role])
            for offer in list(driver.offers.values()):
                await driver.client.decline([offer["id"]["value"]], refuse_seconds=0)
            driver.offers.clear()
            await driver.client.revive([role])
            offer = await offer_for(driver, role)
            await operate(driver, offer, with_id(reserve([resource]), role))
            assert (await feedback(driver, role))["state"] == "OPERATION_FINISHED"
        await until_reserved(small.agents[0], 2.0, role="web/shop")
        await driver.client.suppress()
        for offer in list(driver.offers.values()):
            await driver.client.decline([offer["id"]["value"]], refuse_seconds=0)
        async with Driver(small.master_flag, role="web/shop") as plain:
            assert cpus(await plain.offer()) == [{**scalar("cpus", 2.0), "role": "*"}]


@pytest.mark.parametrize("old", [True, False], ids=["form", "v1"])
async def test_operators_reserve_and_unreserve(small: Cluster, old: bool) -> None:
    slave = await agent_id(small)

    async def ask(kind: str, resources: list[dict[str, Any]]) -> int:
        if old:
            return (await post_form(small, f"/{kind}", slave, resources))[0]
        body = {
            "type": f"{kind.upper()}_RESOURCES",
            f"{kind}_resources": {"agent_id": {"value": slave}, "resources": resources},
        }
        url = f"{small.masters[0].url}/api/v1"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            return response.status

    async with Driver(small.master_flag, role="web") as driver:
        offer = await driver.offer()
        assert await ask("reserve", [dynamic("cpus", 3.0, role="ops")]) == 202
        rescinded = await driver.event("RESCIND")
        assert rescinded["rescind"]["offer_id"] == offer["id"]
        await until_reserved(small.agents[0], 3.0, role="ops")
        await driver.launch(command("holder", "sleep 1000", cpus=0.5), refuse_seconds=0.0)
        await driver.status("holder", "TASK_RUNNING")
        assert await ask("reserve", [dynamic("cpus", 0.6, role="ops")]) == 409
        assert await ask("unreserve", [dynamic("cpus", 3.1, role="ops")]) == 409
        assert await ask("reserve", [scalar("cpus", 0.1)]) == 400
        assert await ask("unreserve", [dynamic("cpus", 1.0, role="ops")]) == 202
        await until_reserved(small.agents[0], 2.0, role="ops")


async def test_operators_are_told_what_is_missing(small: Cluster) -> None:
    status, text = await post_form(small, "/reserve", "nobody", [dynamic("cpus", 1.0)])
    assert (status, "No agent found" in text) == (400, True)
    incomplete = {"'slaveId'": {}, "'resources'": {"slaveId": "x"}, "parsing": {"slaveId": "x", "resources": "{"}}
    async with aiohttp.ClientSession() as session:
        for words, form in incomplete.items():
            async with session.post(f"{small.masters[0].url}/unreserve", data=form) as response:
                assert (response.status, words in await response.text()) == (400, True), form


async def test_a_reservation_outlives_agent_and_leader(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    leader = await three_masters(cluster)
    agent = cluster.agent("--recover=reconnect")
    kept = dynamic("cpus", 1.0, principal="me")
    async with multi_role(cluster.master_flag, "web", principal="me") as driver:
        await operate(driver, await driver.offer(), reserve([kept]))
        await until_reserved(agent, 1.0)
        agent.daemon.kill()
        await agent.daemon.start_async()
        assert (await reserved(agent) or {})["cpus"] == 1.0
        count = len(driver.events)
        leader.daemon.kill()
        await driver.event("SUBSCRIBED", after=count)
        offer = await driver.until(
            lambda: next((item for item in driver.offers.values() if kept in cpus(item)), None),
            what="the reservation offered by the next leader",
        )
        assert cpus(offer) == [scalar("cpus", 3.0), kept]
    following = await eventually(lambda: leader_of(cluster.masters), what="the next leader")
    assert following is not None
    shown = (await get_json(f"{following.url}/slaves"))["slaves"][0]["reserved_resources"]
    assert shown["web"]["cpus"] == 1.0
