"""A custom executor for many tasks: each lives for as many seconds as its data says, "0" for ever.

Every launch leaves a line with the task's id in the file ``starts`` of the sandbox, so that one can count them.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

from k8slab.mesos.client.executor import ExecutorClient


async def live(client: ExecutorClient, task: dict[str, Any]) -> None:
    task_id = task["task_id"]["value"]
    with Path("starts").open("a") as starts:  # noqa: ASYNC230
        starts.write(f"{task_id}\n")
    await client.update(task_id, "TASK_RUNNING")
    seconds = float(base64.b64decode(task["data"]))
    if seconds:
        await asyncio.sleep(seconds)
        await client.update(task_id, "TASK_FINISHED")


async def run() -> int:
    client = ExecutorClient.from_environment(os.environ)
    lives: dict[str, asyncio.Task[None]] = {}
    async for event in client.events():
        match event["type"]:
            case "LAUNCH":
                task = event["launch"]["task"]
                lives[task["task_id"]["value"]] = asyncio.create_task(live(client, task))
            case "KILL":
                task_id = event["kill"]["task_id"]["value"]
                if task_id in lives:
                    lives.pop(task_id).cancel()
                    await client.update(task_id, "TASK_KILLED")
            case "SHUTDOWN":
                break
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
