"""How a master bears many agents: real masters on a real ZooKeeper, simulated agents that speak the real link.

Usage: mesos.py [--agents 100,250,…] [--tasks N] [--cycles N] [--no-failover]. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from k8slab.mesos.client.offers import left, take  # noqa: E402
from k8slab.mesos.client.scheduler import SchedulerClient, launch  # noqa: E402
from tests.daemons.processes import Daemon, Supervisor, ZooKeeper, free_port, start_zookeeper  # noqa: E402

SIZES = (100, 250, 500, 1000, 2000, 4000)
SIZE = 1000
FRAMEWORKS = 20
SESSION_SECONDS = 10.0
AMOUNTS = {"cpus": 0.1, "mem": 32.0}


@dataclass
class Figures:
    """Seconds, milliseconds, megabytes."""

    agents: int
    registered_s: float = 0.0
    tasks_per_s: float = 0.0
    cycle_p50_ms: float = 0.0
    cycle_p99_ms: float = 0.0
    master_rss_mb: float = 0.0


@dataclass
class Masters:
    """Masters on a path of their own; ``ports`` in their order."""

    zk: str
    daemons: list[Daemon] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def start(self, supervisor: Supervisor, *flags: str) -> None:
        port = free_port()
        argv = ["--ip=127.0.0.1", f"--port={port}", f"--zk={self.zk}", "--quorum=1", *flags]
        argv.append(f"--work_dir={supervisor.directory}/master-{port}")
        self.daemons.append(supervisor.module(f"master-{port}", "k8slab.mesos.master.main", *argv).start())
        self.ports.append(port)

    def by_address(self, address: str) -> Daemon:
        return self.daemons[self.ports.index(int(address.rpartition(":")[2]))]

    def peak_megabytes(self) -> float:
        """The largest any of them ever was."""
        peaks = []
        for daemon in self.daemons:
            if daemon.returncode is None:
                status = Path(f"/proc/{daemon.pid}/status").read_text()
                peaks.append(next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line))
        return max(peaks)

    def stop(self) -> None:
        for daemon in self.daemons:
            daemon.stop()


class Crowd:
    """The process of simulated agents."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def registered(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 300)
        return dict(json.loads(line))


@asynccontextmanager
async def crowd(master: str, count: int) -> AsyncIterator[Crowd]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("simulated.py")), master, str(count)),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    try:
        yield Crowd(process)
    finally:
        process.kill()
        await process.wait()


def framework(master: str, name: str) -> SchedulerClient:
    return SchedulerClient(master, {"user": "root", "name": name, "failover_timeout": 60.0, "checkpoint": True})


async def run_tasks(master: str, count: int, *, name: str = "task") -> float:
    """Seconds from the first ACCEPT until the last of ``count`` one-shot tasks is finished and acknowledged."""
    client = framework(master, "one-shot tasks")
    launched, finished, began = 0, 0, 0.0
    per_offer = 20
    async for event in client.events():
        match event["type"]:
            case "OFFERS":
                began = began or time.perf_counter()
                unused = []
                for offer in event["offers"]["offers"]:
                    rest, tasks = offer["resources"], []
                    while len(tasks) < per_offer and launched < count and (taken := take(rest, AMOUNTS)):
                        task_id = f"{name}-{launched}"
                        tasks.append(
                            {
                                "name": task_id,
                                "task_id": {"value": task_id},
                                "agent_id": offer["agent_id"],
                                "command": {"value": "true"},
                                "resources": taken,
                            }
                        )
                        launched += 1
                        rest = left(rest, taken)
                    if tasks:
                        await client.accept([offer["id"]["value"]], [launch(tasks)], refuse_seconds=0)
                    else:
                        unused.append(offer["id"]["value"])
                if unused:
                    await client.decline(unused, refuse_seconds=0 if launched < count else 600)
            case "UPDATE":
                state = event["update"]["status"]["state"]
                finished += state == "TASK_FINISHED"
                if finished == count:
                    await client.acknowledge(event["update"]["status"])
                    seconds = time.perf_counter() - began
                    await client.teardown()
                    break
                if state not in ("TASK_RUNNING", "TASK_FINISHED"):
                    raise SystemExit(f"a task is {state}: {event}")
    await client.close()
    return seconds


async def be_picky(master: str) -> None:
    """Twenty frameworks that decline everything."""
    await asyncio.gather(*(decline_for_ever(master, number) for number in range(FRAMEWORKS)))


async def decline_for_ever(master: str, number: int) -> None:
    client = framework(master, f"picky {number}")
    try:
        async for event in client.events():
            if event["type"] == "OFFERS":
                offers = [offer["id"]["value"] for offer in event["offers"]["offers"]]
                await client.decline(offers, refuse_seconds=0)
    finally:
        await client.close()


async def allocation_cycles(address: str, master: str, count: int) -> list[float]:
    """Milliseconds of ``count`` cycles as the master itself measures them, with everything on offer in each."""
    frameworks = await asyncio.create_subprocess_exec(sys.executable, __file__, "--picky", master)
    cycles: dict[int, float] = {}
    async with aiohttp.ClientSession() as session:
        while len(cycles) < count:
            async with session.get(f"http://{address}/metrics/snapshot") as response:
                shown = await response.json()
            if shown["master/frameworks_active"] == FRAMEWORKS and shown["master/outstanding_offers"]:
                cycles[int(shown["allocator/mesos/allocation_runs"])] = shown["allocator/mesos/allocation_run_ms"]
            await asyncio.sleep(0.02)
    frameworks.kill()
    await frameworks.wait()
    return list(cycles.values())


async def measure(supervisor: Supervisor, zookeeper: ZooKeeper, agents: int, tasks: int, cycles: int) -> Figures:
    figures = Figures(agents)
    masters = Masters(zookeeper.url(f"/bench-{agents}"))
    masters.start(supervisor, "--allocation_interval=200ms")
    address = f"127.0.0.1:{masters.ports[0]}"
    try:
        async with crowd(masters.zk, agents) as simulated:
            figures.registered_s = (await simulated.registered())["seconds"]
            figures.tasks_per_s = round(tasks / await run_tasks(address, tasks), 0)
            found = sorted(await allocation_cycles(address, address, cycles))
            figures.cycle_p50_ms = round(statistics.median(found), 1)
            figures.cycle_p99_ms = round(found[min(len(found) - 1, int(len(found) * 0.99))], 1)
            figures.master_rss_mb = round(masters.peak_megabytes(), 0)
    finally:
        masters.stop()
    print(f"  {asdict(figures)}", file=sys.stderr, flush=True)
    return figures


async def failover(supervisor: Supervisor, zookeeper: ZooKeeper, agents: int) -> dict[str, float]:
    """Seconds after the leader was killed hard: until every agent is back, and until offers flow again."""
    masters = Masters(zookeeper.url("/bench-failover"))
    for _ in range(3):
        masters.start(supervisor, f"--zk_session_timeout={SESSION_SECONDS:g}secs")
    try:
        async with crowd(masters.zk, agents) as simulated:
            leader = (await simulated.registered())["master"]
            client = framework(masters.zk, "offered again")
            offers: asyncio.Queue[float] = asyncio.Queue()

            async def listen() -> None:
                offered: set[str] = set()
                async for event in client.events():
                    if event["type"] in ("SUBSCRIBED", "DISCONNECTED"):
                        offered.clear()
                    elif event["type"] == "OFFERS":
                        offered |= {offer["agent_id"]["value"] for offer in event["offers"]["offers"]}
                        if len(offered) == agents:
                            offers.put_nowait(time.monotonic())

            listening = asyncio.create_task(listen())
            await offers.get()
            killed = time.monotonic()
            masters.by_address(leader).kill()
            offered = asyncio.create_task(offers.get())
            back = await simulated.registered()
            registered = time.monotonic() - killed
            everything = await offered - killed
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await client.close()
            assert back["master"] != leader
            return {
                "agents": agents,
                "session_s": SESSION_SECONDS,
                "all_back_s": round(registered, 1),
                "all_offered_s": round(everything, 1),
                "master_rss_mb": round(masters.peak_megabytes(), 0),
            }
    finally:
        masters.stop()


async def bench(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slab-bench-") as folder:
        supervisor = Supervisor(Path(folder))
        try:
            zookeeper = start_zookeeper(supervisor)
            sizes = [int(size) for size in given.agents.split(",")]
            rows = [await measure(supervisor, zookeeper, size, given.tasks, given.cycles) for size in sizes]
            lost = None if given.no_failover else await failover(supervisor, zookeeper, SIZE)
        finally:
            supervisor.close()
    print("agents  registered s  tasks/s  cycle p50 ms  cycle p99 ms  master MB")
    for row in rows:
        print(
            f"{row.agents:6}  {row.registered_s:12.1f}  {row.tasks_per_s:7.0f}  {row.cycle_p50_ms:12.1f}  "
            f"{row.cycle_p99_ms:12.1f}  {row.master_rss_mb:9.0f}"
        )
    if lost is not None:
        print(
            f"leader killed with {lost['agents']:.0f} agents (session {lost['session_s']:g} s): "
            f"all back after {lost['all_back_s']} s, all offered after {lost['all_offered_s']} s"
        )
    print(json.dumps({"sizes": [asdict(row) for row in rows], "failover": lost}))


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench mesos", description=__doc__)
    parser.add_argument("--agents", default=",".join(map(str, SIZES)), help="how many, comma-separated")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--cycles", type=int, default=150)
    parser.add_argument("--no-failover", action="store_true")
    parser.add_argument("--picky", metavar="MASTER", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.picky:
        # On machines of their own, clients would not take processor time from the master they load.
        os.nice(10)
        uvloop.run(be_picky(given.picky))
    else:
        uvloop.run(bench(given))


if __name__ == "__main__":
    main(sys.argv[1:])
