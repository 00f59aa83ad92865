"""A custom executor, started by the agent: runs any number of tasks that end when told so by a message.

Messages: ``finish TASK``, ``fail``: exit with 1; anything else comes back reversed.
"""

from __future__ import annotations

import asyncio
import os
import sys

from k8slab.mesos.client.executor import ExecutorClient
from k8slab.mesos.client.stream import decode_bytes


async def run() -> int:
    client = ExecutorClient.from_environment(os.environ)
    async for event in client.events():
        print(event, flush=True)
        match event["type"]:
            case "LAUNCH":
                await client.update(event["launch"]["task"]["task_id"]["value"], "TASK_RUNNING", data=b"\x00\xffdata")
            case "KILL":
                await client.update(event["kill"]["task_id"]["value"], "TASK_KILLED", message="as asked")
            case "MESSAGE":
                data = decode_bytes(event["message"]["data"])
                if data.startswith(b"finish "):
                    await client.update(data[7:].decode(), "TASK_FINISHED")
                elif data == b"fail":
                    return 1
                else:
                    await client.message(data[::-1])
            case "SHUTDOWN":
                return 0
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))
