"""Health checks and checks, kill policies and time limits of command tasks."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from tests.daemons.mesos.cluster import Cluster, Driver, command
from tests.daemons.processes import eventually, free_port

FAST = {"delay_seconds": 0.0, "interval_seconds": 0.1, "timeout_seconds": 5.0, "grace_period_seconds": 0.0}
HEALTH = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"
CHECK = "REASON_TASK_CHECK_STATUS_UPDATED"


def probe(kind: str, port: int) -> dict[str, Any]:
    """Healthy while there is a file ``ok`` in the sandbox and the server of ``serving`` runs."""
    return {
        "COMMAND": {"type": "COMMAND", "command": {"value": "test -e ok"}},
        "HTTP": {"type": "HTTP", "http": {"port": port, "path": "/ok"}},
        "TCP": {"type": "TCP", "tcp": {"port": port}},
    }[kind]


def serving(port: int) -> str:
    return f"touch ok; exec {sys.executable} -m http.server --bind 127.0.0.1 {port} > /dev/null 2>&1"


@pytest.mark.parametrize("kind", ["COMMAND", "HTTP", "TCP"])
async def test_a_task_becomes_healthy(small: Cluster, kind: str) -> None:
    port = free_port()
    async with Driver(small.master_flag) as driver:
        health = {**FAST, "grace_period_seconds": 20.0, **probe(kind, port)}
        await driver.launch(command("served", serving(port), health_check=health))
        await driver.until(lambda: [s for s in driver.statuses("served") if s.get("healthy")], what="healthy")
        updates = driver.statuses("served")
        assert [status["state"] for status in updates] == ["TASK_STARTING", "TASK_RUNNING", "TASK_RUNNING"]
        assert "healthy" not in updates[1]
        assert (updates[2]["healthy"], updates[2]["reason"]) == (True, HEALTH)
        await driver.client.kill("served")
        assert (await driver.status("served", "TASK_KILLED"))["healthy"] is True


@pytest.mark.parametrize("kind", ["COMMAND", "HTTP", "TCP"])
async def test_a_task_that_stays_unhealthy_is_killed(small: Cluster, kind: str) -> None:
    async with Driver(small.master_flag) as driver:
        health = {**FAST, "consecutive_failures": 2, **probe(kind, free_port())}
        await driver.launch(command("ill", "sleep 1000", health_check=health))
        killed = await driver.status("ill", "TASK_KILLED")
        assert killed["healthy"] is False
        told = [status for status in driver.statuses("ill") if status.get("reason") == HEALTH]
        assert [status["healthy"] for status in told] == [False, False]


async def test_failures_within_the_grace_period_do_not_count(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        health = {**FAST, "grace_period_seconds": 1000.0, "consecutive_failures": 1, **probe("COMMAND", 0)}
        wait = "until test -e {0}; do sleep 0.05; done; "
        line = f"{wait.format('tried')} touch ok; {wait.format('seen')} rm ok; sleep 1000"
        health["command"] = {"value": "touch tried; test -e ok && touch seen"}
        await driver.launch(command("late", line, health_check=health))
        await driver.status("late", "TASK_KILLED")
        told = [status["healthy"] for status in driver.statuses("late") if status.get("reason") == HEALTH]
        assert told == [True, False], "the grace ends with the first success"


async def test_a_health_check_that_hangs_has_failed_and_is_ended(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        health = {**FAST, "timeout_seconds": 0.2, "consecutive_failures": 1, "type": "COMMAND"}
        health["command"] = {"value": "echo $$ >> probes; sleep 1000"}
        await driver.launch(command("hung", "sleep 1000", health_check=health))
        assert (await driver.status("hung", "TASK_KILLED"))["healthy"] is False


@pytest.mark.parametrize(
    ("kind", "first", "then"),
    [
        ("COMMAND", {"command": {"exit_code": 1}}, {"command": {"exit_code": 0}}),
        ("HTTP", {"http": {"status_code": 404}}, {"http": {"status_code": 200}}),
        ("TCP", {"tcp": {"succeeded": False}}, {"tcp": {"succeeded": True}}),
    ],
)
async def test_a_check_only_tells_what_it_sees(
    small: Cluster, kind: str, first: dict[str, Any], then: dict[str, Any]
) -> None:
    port = free_port()
    server = f"{sys.executable} -m http.server --bind 127.0.0.1 {port} > /dev/null 2>&1"
    # The server of the TCP check starts late, that of the HTTP check at once, with the file missing.
    line = f"exec {server}" if kind == "HTTP" else f"until test -e go; do sleep 0.05; done; touch ok; exec {server}"
    check = {key: FAST[key] for key in ("delay_seconds", "interval_seconds", "timeout_seconds")}
    check |= probe(kind, port)
    if kind == "COMMAND":
        check["command"] = {"command": {"value": "test -e ok"}}
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("seen", line, check=check))

        def told() -> list[dict[str, Any]]:
            return [s["check_status"] for s in driver.statuses("seen") if s.get("reason") == CHECK]

        await driver.until(lambda: {"type": kind, **first} in told(), what=f"{first}")
        nothing = {"type": kind, kind.lower(): {}}
        assert [status["check_status"] for status in driver.statuses("seen")[:2]] == [nothing, nothing]
        [sandbox] = small.agents[0].work_dir.glob("slaves/latest/frameworks/*/executors/seen/runs/latest")
        (sandbox / ("ok" if kind == "HTTP" else "go")).touch()
        await driver.until(lambda: {"type": kind, **then} in told(), what=f"{then}")
        assert all("healthy" not in status for status in driver.statuses("seen"))
        assert driver.statuses("seen")[-1]["state"] == "TASK_RUNNING"


STUBBORN = "trap '' TERM; touch ready; while :; do sleep 0.1; done"


async def test_row_17_kill_policy_of_the_task(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        policy = {"grace_period": {"nanoseconds": 2_000_000_000}}
        await driver.launch(command("stubborn", STUBBORN, kill_policy=policy))
        await driver.status("stubborn", "TASK_RUNNING")
        await _trapping(small, driver)
        asked = time.monotonic()
        await driver.client.kill("stubborn")
        status = await driver.status("stubborn", "TASK_KILLED")
        assert 1.9 < time.monotonic() - asked < 4.0
        assert status["message"] == "Command terminated with signal Killed"


async def test_a_second_kill_can_only_shorten_the_grace(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("stubborn", STUBBORN))
        await driver.status("stubborn", "TASK_RUNNING")
        await _trapping(small, driver)
        asked = time.monotonic()
        await driver.client.kill("stubborn", grace_seconds=60)
        await driver.client.kill("stubborn", grace_seconds=1000)
        await driver.client.kill("stubborn", grace_seconds=1)
        await driver.status("stubborn", "TASK_KILLED")
        assert 0.9 < time.monotonic() - asked < 4.0


async def test_a_killed_task_is_killed_whatever_it_ends_with(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("polite", "trap 'exit 0' TERM; touch ready; while :; do sleep 0.1; done"))
        await driver.status("polite", "TASK_RUNNING")
        await _trapping(small, driver, "polite")
        await driver.client.kill("polite")
        assert (await driver.status("polite", "TASK_KILLED"))["message"] == "Command exited with status 0"


async def test_a_task_that_takes_longer_than_it_may(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(command("slow", "sleep 1000", max_completion_time={"nanoseconds": 500_000_000}))
        status = await driver.status("slow", "TASK_FAILED")
        assert status["reason"] == "REASON_MAX_COMPLETION_TIME_REACHED"


async def _trapping(cluster: Cluster, driver: Driver, task_id: str = "stubborn") -> None:
    async def ready() -> bool:
        return bool(
            list(cluster.agents[0].work_dir.glob(f"slaves/latest/frameworks/*/executors/{task_id}/runs/latest/ready"))
        )

    await eventually(ready, what="the trap is set")
