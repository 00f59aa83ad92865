"""What a launch of many kinds becomes: groups, tasks that cannot be, operations that are not served."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.mesos.client.scheduler import launch, launch_group
from tests.daemons.mesos.cluster import Cluster, Driver, command, scalar, task


def group_executor(executor_id: str = "group", **fields: Any) -> dict[str, Any]:
    resources = [scalar("cpus", 0.1), scalar("mem", 32), scalar("disk", 10)]
    return {"type": "DEFAULT", "executor_id": {"value": executor_id}, "resources": resources, **fields}


async def run_group(driver: Driver, executor: dict[str, Any], *tasks: dict[str, Any]) -> dict[str, Any]:
    offer = await driver.offer()
    infos = [{"agent_id": offer["agent_id"], **info} for info in tasks]
    await driver.client.accept([offer["id"]["value"]], [launch_group(executor, infos)], refuse_seconds=0)
    return offer


async def test_a_group_starts_together_and_ends_together(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await run_group(
            driver,
            group_executor(),
            command("bad", "until test -e ../../go; do sleep 0.05; done; exit 7", cpus=0.5),
            command("sibling", "sleep 1000", cpus=0.5),
        )
        for task_id in ("bad", "sibling"):
            status = await driver.status(task_id, "TASK_RUNNING")
            assert status["executor_id"] == {"value": "group"}
        state = await small.state()
        assert state["slaves"][0]["used_resources"]["cpus"] == 1.1
        assert {shown["executor_id"] for shown in state["frameworks"][0]["tasks"]} == {"group"}
        again = await driver.offer()
        assert again["executor_ids"] == [{"value": "group"}]
        await driver.client.decline([again["id"]["value"]], refuse_seconds=0)
        await run_group(driver, group_executor(), command("late", "sleep 1000", cpus=0.5))
        await driver.status("late", "TASK_RUNNING")
        assert (await small.state())["slaves"][0]["used_resources"]["cpus"] == 1.6
        work_dir = small.agents[0].work_dir
        [sandbox] = work_dir.glob("slaves/latest/frameworks/*/executors/group/runs/latest")
        (sandbox / "go").touch()
        assert (await driver.status("bad", "TASK_FAILED"))["message"] == "Command exited with status 7"
        await driver.status("sibling", "TASK_KILLED")
        assert driver.statuses("late")[-1]["state"] == "TASK_RUNNING"
        await driver.client.kill("late")
        await driver.status("late", "TASK_KILLED")
        assert (await driver.event("FAILURE"))["failure"]["executor_id"] == {"value": "group"}

        def all_back() -> bool:
            held = [resource for offer in driver.offers.values() for resource in offer["resources"]]
            return any(resource["name"] == "cpus" and resource["scalar"]["value"] == 4.0 for resource in held)

        for offer_id in list(driver.offers):
            del driver.offers[offer_id]
            await driver.client.decline([offer_id], refuse_seconds=0)
        await driver.until(all_back, what="the whole agent is offered again")


@pytest.mark.parametrize(
    ("executor", "tasks", "words"),
    [
        (group_executor(), [task("a", cpus=100, command={"value": "true"})], "more than available"),
        (group_executor(), [command("a", "true"), command("a", "true")], "duplicate"),
        (group_executor(), [command("a", "true") | {"resources": []}], "no resources"),
        (group_executor(), [command("a", "true") | {"agent_id": {"value": "elsewhere"}}], "invalid agent"),
        (group_executor(command={"value": "true"}), [command("a", "true")], "must not be set for 'DEFAULT'"),
        (group_executor() | {"resources": [scalar("cpus", 0.1)]}, [command("a", "true")], "less memory"),
        (
            group_executor() | {"resources": [scalar("cpus", 0.1), scalar("mem", 32)]},
            [command("a", "true")],
            "uses no disk",
        ),
        ({"executor_id": {"value": "e"}, "command": {"value": "true"}}, [command("a", "true")], "must be set"),
        (group_executor(), [command("a", "true", executor=group_executor("other"))], "is different from executor"),
        (group_executor(), [command("a", "true", container={"type": "DOCKER"})], "Docker"),
        (
            group_executor(),
            [command("a", "true", health_check={"type": "HTTP", "http": {"port": 0}})],
            "invalid health check",
        ),
    ],
)
async def test_one_wrong_task_refuses_its_whole_group(
    small: Cluster, executor: dict[str, Any], tasks: list[dict[str, Any]], words: str
) -> None:
    async with Driver(small.master_flag) as driver:
        await run_group(driver, executor, command("innocent", "true"), *tasks)
        for task_id in ("innocent", "a"):
            error = await driver.status(task_id, "TASK_ERROR")
            assert (error["reason"], error["source"]) == ("REASON_TASK_GROUP_INVALID", "SOURCE_MASTER")
            assert words in error["message"]
        offer = await driver.offer()
        assert next(r for r in offer["resources"] if r["name"] == "cpus")["scalar"]["value"] == 4.0
        assert (await small.state())["frameworks"][0]["tasks"] == []


async def test_row_14_more_wrong_tasks(small: Cluster) -> None:
    custom = {"executor_id": {"value": "e"}, "command": {"value": "true"}}
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        ".": (command(".", "true"), "invalid"),
        "x" * 256: (command("x" * 256, "true"), "255"),
        "tab\t": (command("tab\t", "true"), "invalid characters"),
        "default": (task("default", executor=group_executor()), "must be 'CUSTOM'"),
        "commandless": (task("commandless", executor={"executor_id": {"value": "e"}}), "'ExecutorInfo.command'"),
        "slashed": (task("slashed", executor={**custom, "executor_id": {"value": "a/b"}}), "Executor ID"),
        "foreign": (task("foreign", executor={**custom, "framework_id": {"value": "other"}}), "FrameworkID"),
        "hasty": (command("hasty", "true", max_completion_time={"nanoseconds": -1}), "max_completion_time"),
        "typeless": (command("typeless", "true", health_check={"command": {"value": "true"}}), "'type'"),
        "portless": (command("portless", "true", health_check={"type": "TCP"}), "health check"),
        "hurried": (
            command(
                "hurried",
                "true",
                health_check={"type": "COMMAND", "command": {"value": "true"}, "interval_seconds": -1},
            ),
            "interval_seconds",
        ),
        "unchecked": (command("unchecked", "true", check={"type": "COMMAND"}), "invalid check"),
        "crowded": (
            task("crowded", cpus=3.9, executor={**custom, "resources": [scalar("cpus", 0.2)]}),
            "more resources",
        ),
    }
    async with Driver(small.master_flag) as driver:
        await driver.launch(*(info for info, _ in wrong.values()), refuse_seconds=0.0)
        for task_id, (_, words) in wrong.items():
            error = await driver.status(task_id, "TASK_ERROR")
            assert (error["reason"], error["source"]) == ("REASON_TASK_INVALID", "SOURCE_MASTER"), task_id
            assert words in error["message"], error["message"]
            assert "uuid" not in error


@pytest.mark.parametrize("aware", [False, True])
async def test_row_13_offers_that_are_not_valid_together(master: Cluster, aware: bool) -> None:
    master.agent()
    master.agent()
    capabilities = [{"type": "PARTITION_AWARE"}] if aware else []
    async with Driver(master.master_flag, capabilities=capabilities) as driver:
        one, two = await driver.offer(agent="agent-0"), await driver.offer(agent="agent-1")
        ids = [one["id"]["value"], two["id"]["value"]]
        for number, offer_ids in enumerate(([ids[0], ids[1]], ["nonsense"], [])):
            info = {"agent_id": one["agent_id"], **command(f"t{number}", "true")}
            await driver.client.accept(offer_ids, [launch([info])])
            lost = await driver.status(f"t{number}", "TASK_LOST", "TASK_DROPPED")
            assert lost["state"] == ("TASK_DROPPED" if aware else "TASK_LOST")
            assert (lost["reason"], lost["source"]) == ("REASON_INVALID_OFFERS", "SOURCE_MASTER")
            assert "uuid" not in lost
        again = await driver.offer(agent="agent-0")
        assert again["id"]["value"] not in ids, "valid offers of such a call are given back"
        info = {"agent_id": one["agent_id"], **command("twice", "true")}
        await driver.client.accept([again["id"]["value"]] * 2, [launch([info])])
        assert (await driver.status("twice", "TASK_LOST", "TASK_DROPPED"))["reason"] == "REASON_INVALID_OFFERS"


@pytest.mark.parametrize("kind", ["CREATE", "DESTROY", "GROW_VOLUME", "SHRINK_VOLUME", "CREATE_DISK", "DESTROY_DISK"])
async def test_operations_that_are_not_served_say_so(small: Cluster, kind: str) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.offer()
        operation = {"type": kind, kind.lower(): {}}
        with_id = {**operation, "id": {"value": "mine"}}
        rest = launch([{"agent_id": offer["agent_id"], **command("beside", "sleep 1000")}])
        await driver.client.accept([offer["id"]["value"]], [operation, with_id, rest])
        status = (await driver.event("UPDATE_OPERATION_STATUS"))["update_operation_status"]["status"]
        assert (status["operation_id"], status["state"]) == ({"value": "mine"}, "OPERATION_ERROR")
        assert kind in status["message"]
        assert "uuid" not in status
        await driver.status("beside", "TASK_RUNNING")
        told = [event for event in driver.events if event["type"] == "UPDATE_OPERATION_STATUS"]
        assert len(told) == 1, "without an id there is nobody to tell"
        await driver.client.accept([offer["id"]["value"]], [with_id])
        await driver.until(
            lambda: any(
                event["type"] == "UPDATE_OPERATION_STATUS"
                and event["update_operation_status"]["status"]["state"] == "OPERATION_DROPPED"
                for event in driver.events
            ),
            what="dropped with the offer it was for",
        )


async def test_operations_are_reconciled(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.offer()
        await driver.client.reconcile_operations(
            [{"operation_id": {"value": "o"}, "agent_id": offer["agent_id"]}, {"operation_id": {"value": "p"}}]
        )
        answers = await driver.until(
            lambda: [e for e in driver.events if e["type"] == "UPDATE_OPERATION_STATUS"][1:2], what="both answers"
        )
        assert answers[0]["update_operation_status"]["status"]["state"] == "OPERATION_UNKNOWN"
        assert answers[0]["update_operation_status"]["status"]["operation_id"] == {"value": "p"}


async def test_launches_take_no_operation_id(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        offer = await driver.offer()
        infos = [{"agent_id": offer["agent_id"], **command(name, "true")} for name in ("alone", "grouped")]
        operations = [launch(infos[:1]), launch_group(group_executor(), infos[1:])]
        await driver.client.accept(
            [offer["id"]["value"]], [{**operation, "id": {"value": "no"}} for operation in operations]
        )
        for task_id in ("alone", "grouped"):
            assert "'id'" in (await driver.status(task_id, "TASK_ERROR"))["message"]


async def test_a_role_given_up_takes_its_offers_along(small: Cluster) -> None:
    roles: dict[str, Any] = {"roles": ["a"], "capabilities": [{"type": "MULTI_ROLE"}]}
    async with Driver(small.master_flag, **roles) as driver:
        offer = await driver.launch(command("kept", "sleep 1000"), refuse_seconds=0)
        assert offer["allocation_info"] == {"role": "a"}
        await driver.status("kept", "TASK_RUNNING")
        rest = await driver.offer()
        await driver.client.update_framework({**driver.client.framework_info, "roles": ["b"]})
        assert (await driver.event("RESCIND"))["rescind"]["offer_id"] == rest["id"]
        assert (await driver.offer())["allocation_info"] == {"role": "b"}
        assert driver.statuses("kept")[-1]["state"] == "TASK_RUNNING"
