"""pymesos, a client of the original's HTTP API written by others, as it comes from its package index."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.mesos.cluster import Cluster, Node, eventually, get_json
from tests.daemons.mesos.test_failover import leader_of, three_masters
from tests.daemons.processes import ZooKeeper

PROGRAM = Path(__file__).with_name("pymesos_programs.py")
LIBRARY = Path(__file__).parents[3] / ".cache" / "pymesos"
BINARY = bytes(range(256))
SECONDS = 60.0

pytestmark = pytest.mark.timeout(240)


@dataclass
class Framework:
    """The scheduler's process; ``events`` is all it has told."""

    process: asyncio.subprocess.Process
    events: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.events.append(json.loads(line))
            self.news.set()

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")

    async def until(self, found: Callable[[], Any], what: str) -> Any:
        try:
            async with asyncio.timeout(SECONDS):
                while not (answer := found()):
                    self.news.clear()
                    await self.news.wait()
                return answer
        except TimeoutError:
            raise AssertionError(f"not within {SECONDS:g} s: {what}; told: {self.events[-40:]}") from None

    def told(self, event: str, *, after: int = 0) -> list[dict[str, Any]]:
        return [told for told in self.events[after:] if told["event"] == event]

    def in_state(self, state: str) -> set[str]:
        return {status["task"] for status in self.told("status") if status["state"] == state}

    async def all_in_state(self, tasks: set[str], state: str) -> None:
        await self.until(lambda: tasks <= self.in_state(state), f"{len(tasks)} tasks {state}")

    async def echoed(self, data: bytes, agents: int) -> None:
        """``data`` comes back from the executor of every agent."""
        count = len(self.events)
        self.tell("send", data.hex())
        wanted = data[::-1].hex()
        await self.until(
            lambda: (
                len({said["agent"] for said in self.told("message", after=count) if said["data"] == wanted}) == agents
            ),
            f"an echo from {agents} executors",
        )


@asynccontextmanager
async def framework(master: str, directory: Path, *identity: str) -> AsyncIterator[Framework]:
    assert (LIBRARY / "pymesos").is_dir(), "pymesos is not there: `scripts/test daemons` installs it"
    path = {"name": "PYTHONPATH", "value": str(LIBRARY)}
    command = {"value": f"exec {sys.executable} {PROGRAM} executor", "environment": {"variables": [path]}}
    with (directory / "pymesos.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), "scheduler", master, json.dumps(command), *identity),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={"PYTHONPATH": str(LIBRARY), "PATH": "/usr/bin:/bin"},
            cwd=directory,
        )
    driven = Framework(process)
    listening = asyncio.create_task(driven.listen())
    try:
        yield driven
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.gather(listening, return_exceptions=True)


def names(batch: str, count: int) -> set[str]:
    return {f"{batch}-{number}" for number in range(count)}


async def test_row_31_pymesos_through_two_leaders_and_an_agents_restart(
    zookeeper: ZooKeeper, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    leader = await three_masters(cluster)
    for _ in range(2):
        # An executor of pymesos' looks for its agent every two seconds or so.
        cluster.agent("--zk_session_timeout=1secs", "--executor_reregistration_timeout=15secs")
    await eventually(lambda: registered(leader, 2), what="both agents")
    async with framework(cluster.zk, tmp_path) as driven:
        await driven.until(lambda: driven.told("registered"), "registration")
        driven.tell("launch", "first", 40)
        await driven.all_in_state(names("first", 40), "TASK_RUNNING")
        assert {status["data"] for status in driven.told("status")} == {BINARY[::-1].hex()}
        await driven.echoed(BINARY, 2)
        driven.tell("finish", *names("first", 20))
        await driven.all_in_state(names("first", 20), "TASK_FINISHED")

        for batch in ("second", "third"):
            leader = await another_leader(cluster, leader, driven)
            driven.tell("launch", batch, 20)
            await driven.all_in_state(names(batch, 20), "TASK_RUNNING")
            await driven.echoed(batch.encode() + BINARY, 2)

        agent = cluster.agents[0]
        agent_id = (await get_json(f"{agent.url}/state"))["id"]
        agent.daemon.kill()
        await agent.daemon.start_async()
        await eventually(lambda: executors_back(agent), timeout=SECONDS, what="its executor subscribes again")
        assert (await get_json(f"{agent.url}/state"))["id"] == agent_id
        await driven.echoed(b"after the restart" + BINARY, 2)

        driven.tell("launch", "fourth", 20)
        await driven.all_in_state(names("fourth", 20), "TASK_RUNNING")
        everything = names("first", 40) | names("second", 20) | names("third", 20) | names("fourth", 20)
        driven.tell("kill", "fourth-0")
        await driven.all_in_state({"fourth-0"}, "TASK_KILLED")
        driven.tell("finish", *everything - {"fourth-0"})
        await driven.all_in_state(everything - {"fourth-0"}, "TASK_FINISHED")

        assert len(everything) == 100
        assert books_agree(driven, everything)
        assert not driven.told("error") + driven.told("agent lost") + driven.told("executor lost")
        await eventually(lambda: nothing_runs(leader), what="the master has every acknowledgement")
        driven.tell("stop")
        await driven.until(lambda: driven.told("stopped"), "the driver's end")
        assert (await get_json(f"{leader.url}/frameworks"))["frameworks"] == []


async def another_leader(cluster: Cluster, leader: Node, driven: Framework) -> Node:
    """Kill the leader hard; the one that leads next, with the framework and both agents, the killed one back too."""
    count = len(driven.events)
    leader.daemon.kill()
    await driven.until(lambda: driven.told("reregistered", after=count), "registration with another leader")
    found = await eventually(lambda: leader_of(cluster.masters), what="another leader")
    assert found is not leader
    assert driven.told("reregistered", after=count)[-1]["master"] == found.address
    await eventually(lambda: registered(found, 2), what="both agents with the new leader")
    await leader.daemon.start_async()
    return found


async def registered(leader: Node, agents: int) -> bool:
    return bool((await get_json(f"{leader.url}/metrics/snapshot"))["master/slaves_active"] == agents)


async def executors_back(agent: Node) -> bool:
    metrics = await get_json(f"{agent.url}/metrics/snapshot")
    return bool(metrics["slave/registered"] and metrics["slave/executors_running"] == 1)


async def nothing_runs(leader: Node) -> bool:
    [known] = (await get_json(f"{leader.url}/frameworks"))["frameworks"]
    return not known["tasks"]


def books_agree(driven: Framework, everything: set[str]) -> bool:
    """Each task ran once and ended once: what was delivered again carried the uuid it had before."""
    ended: dict[str, set[Any]] = {}
    ran: dict[str, set[Any]] = {}
    for status in driven.told("status"):
        assert status["state"] in ("TASK_RUNNING", "TASK_FINISHED", "TASK_KILLED"), status
        book = ran if status["state"] == "TASK_RUNNING" else ended
        book.setdefault(status["task"], set()).add(status["uuid"])
    assert set(ended) == set(ran) == everything
    return all(len(uuids) == 1 for book in (ran, ended) for uuids in book.values())


async def test_pymesos_says_who_it_is(cluster: Cluster, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("pymesos secret\n")
    cluster.master(
        "--allocation_interval=200ms",
        f"--credentials={credentials}",
        "--authenticate_http_frameworks=true",
        "--http_framework_authenticators=basic",
    )
    cluster.agent()
    async with framework(cluster.master_flag, tmp_path, "pymesos", "secret") as driven:
        await driven.until(lambda: driven.told("registered"), "registration")
        driven.tell("launch", "only", 1)
        await driven.all_in_state(names("only", 1), "TASK_RUNNING")
        known = (await cluster.state())["frameworks"]
        assert [shown["principal"] for shown in known] == ["pymesos"]
