#!/usr/bin/env python3
"""A second framework beside Kubernetes: a batch of short shell commands, as many at a time as Mesos offers room for.

    eval "$(k8slab env)"; python examples/batch/batch.py --jobs 100 -- 'echo job $JOB; sleep 5'

It knows three things: what is still to do, what runs, what is done. An offer turns the first into the second, a
terminal update the second into the third, or back into the first if the job was lost with its machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from typing import Any

from k8slab.mesos.client import MesosError
from k8slab.mesos.client.offers import left, take
from k8slab.mesos.client.scheduler import SchedulerClient, launch

ENDED = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST")


class Batch:
    def __init__(self, client: SchedulerClient, wanted: argparse.Namespace) -> None:
        self.client, self.wanted = client, wanted
        self.needs = {"cpus": wanted.cpus, "mem": wanted.mem}
        self.todo = deque(range(wanted.jobs))
        self.running: dict[str, int] = {}
        self.done: dict[int, str] = {}
        self.attempts = 0

    async def run(self) -> None:
        # A launch may be lost with the master that heard it: ask until somebody knows what became of it.
        asking = asyncio.create_task(self.client.keep_reconciled(self.unended))
        async with contextlib.aclosing(self.client.events()) as events:
            async for event in events:
                # A call that finds no master is no harm: the next SUBSCRIBED comes with offers anew.
                with contextlib.suppress(MesosError):
                    await self.handle(event)
                    if len(self.done) == self.wanted.jobs:
                        await self.client.teardown()
                        break
        asking.cancel()

    async def handle(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "SUBSCRIBED" if self.running:
                # A new master, or we were away: what became of them meanwhile?
                await self.client.reconcile(self.unended())
            case "OFFERS":
                for offer in event["offers"]["offers"]:
                    await self.use(offer)
            case "UPDATE":
                await self.note(event["update"]["status"])
            case "ERROR":
                sys.exit(event["error"]["message"])

    def unended(self) -> list[tuple[str, str | None]]:
        return [(task, None) for task in self.running]

    async def use(self, offer: dict[str, Any]) -> None:
        """As many jobs as fit; what is left goes back at once, for whoever DRF says is next."""
        rest, tasks = offer["resources"], []
        while self.todo and (taken := take(rest, self.needs)):
            tasks.append(self.task(self.todo.popleft(), offer["agent_id"], taken))
            rest = left(rest, taken)
        if tasks:
            await self.client.accept([offer["id"]["value"]], [launch(tasks)], refuse_seconds=1)
        else:
            await self.client.decline([offer["id"]["value"]], refuse_seconds=5)
        if not self.todo:
            await self.client.suppress()

    def task(self, job: int, agent_id: dict[str, Any], resources: list[dict[str, Any]]) -> dict[str, Any]:
        # Lost jobs are tried again: a task id is used once.
        self.attempts += 1
        task_id = f"job-{job}.{self.attempts}"
        self.running[task_id] = job
        return {
            "name": f"job-{job}",
            "task_id": {"value": task_id},
            "agent_id": agent_id,
            "resources": resources,
            "command": {
                "value": self.wanted.command,
                "environment": {"variables": [{"name": "JOB", "value": str(job)}]},
            },
        }

    async def note(self, status: dict[str, Any]) -> None:
        """The client acknowledges the update once this returns."""
        task_id, state = status["task_id"]["value"], status["state"]
        if task_id in self.running and state in ENDED:
            job = self.running.pop(task_id)
            if state == "TASK_LOST":
                self.todo.append(job)
                await self.client.revive()
            else:
                self.done[job] = state
                print(f"job {job}: {state}  ({len(self.running)} running, {len(self.todo)} to do)", flush=True)


async def main(wanted: argparse.Namespace) -> int:
    framework = {"user": "root", "name": "batch", "role": wanted.role, "checkpoint": True, "failover_timeout": 60.0}
    client = SchedulerClient(wanted.master, framework)
    batch = Batch(client, wanted)
    working, interrupted = asyncio.create_task(batch.run()), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    stopping = asyncio.create_task(interrupted.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if interrupted.is_set():
        with contextlib.suppress(MesosError):
            await client.teardown()
    await client.close()
    if interrupted.is_set():
        return 130
    try:
        await working
    except MesosError as error:
        sys.exit(f"the master refuses the framework: {error.text}")
    return int(any(state != "TASK_FINISHED" for state in batch.done.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A batch of short tasks on Mesos, beside Kubernetes.")
    parser.add_argument("--master", default=os.environ.get("MESOS_MASTER", ""), help="zk://… or host:port,…")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--cpus", type=float, default=0.5)
    parser.add_argument("--mem", type=float, default=64, help="megabytes")
    parser.add_argument("--role", default="batch")
    parser.add_argument("command", nargs="?", default="echo job $JOB; sleep 5")
    given = parser.parse_args()
    if not given.master:
        parser.error('no --master, and no MESOS_MASTER: eval "$(k8slab env)" sets it')
    try:
        sys.exit(asyncio.run(main(given)))
    except ValueError as error:
        parser.error(str(error))
