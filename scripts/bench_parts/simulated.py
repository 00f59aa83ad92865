"""A thousand agents in one process: the real link to the master, and no container behind it.

Usage: simulated.py MASTER COUNT. A line of JSON on stdout each time all of them are registered with one master:
``{"registered": COUNT, "seconds": …, "master": "host:port"}``, the seconds since the start, or since the first of them
lost the last master.
A task they are given runs at once and has finished as soon as that is acknowledged; one whose name begins with
``stay`` runs for ever.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import uvloop

from k8slab.mesos.client.detector import MasterDetector
from k8slab.mesos.client.stream import new_uuid
from k8slab.mesos.link import CONTENT_TYPE, PATH
from k8slab.mesos.recordio import Decoder, encode

BACKOFF_SECONDS = 1.0
RESOURCES = [
    {"name": "cpus", "type": "SCALAR", "scalar": {"value": 32.0}},
    {"name": "mem", "type": "SCALAR", "scalar": {"value": 65536.0}},
    {"name": "disk", "type": "SCALAR", "scalar": {"value": 100000.0}},
    {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 32000}]}},
]

Json = dict[str, Any]


class Dechunker:
    """HTTP/1.1's chunked body, cut anywhere, back into bytes. Heads and trailers of one answer only."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._left = 0
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        pending = self._pending
        pending += data
        body = bytearray()
        start = 0
        while not self.ended:
            if self._left:
                part = pending[start : start + self._left]
                # Two bytes end every chunk; they are counted with it.
                body += part[: max(0, self._left - 2)]
                self._left -= len(part)
                start += len(part)
                if self._left:
                    break
            end = pending.find(b"\r\n", start)
            if end < 0:
                break
            size = int(pending[start:end], 16)
            start = end + 2
            self.ended = size == 0
            self._left = size + 2
        del pending[:start]
        return bytes(body)


class Link(asyncio.Protocol):
    """One POST that stays open."""

    def __init__(self, first: Json, on_event: Callable[[Json], None], on_end: Callable[[str | None], None]) -> None:
        self._first, self._on_event, self._on_end = first, on_event, on_end
        self._head = b""
        self._headed = False
        self._chunks, self._records = Dechunker(), Decoder()
        self._location: str | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        head = f"POST {PATH} HTTP/1.1\r\nHost: master\r\nContent-Type: {CONTENT_TYPE}\r\n"
        transport.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        self.send(self._first)

    def send(self, call: Mapping[str, Any]) -> None:
        record = encode(orjson.dumps(call))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"%x\r\n%b\r\n" % (len(record), record))

    def data_received(self, data: bytes) -> None:
        if not self._headed:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            self._headed = True
            lines = head.decode().split("\r\n")
            if " 200 " not in lines[0]:
                found = [line.partition(": ")[2] for line in lines if line.lower().startswith("location:")]
                self._location = found[0] if found else None
                self.close()
                return
        for record in self._records.feed(self._chunks.feed(data)):
            self._on_event(orjson.loads(record))
        if self._chunks.ended:
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._on_end(self._location)


class Agent:
    """``on_change`` hears when it is registered (with whom) and when it is not any more."""

    def __init__(self, number: int, detector: MasterDetector, on_change: Callable[[bool], None]) -> None:
        self.number = number
        self._detector = detector
        self._on_change = on_change
        self._id: str | None = None
        self._link: Link | None = None
        self._registered = False
        self._tasks: dict[tuple[str, str], Json] = {}
        self._frameworks: dict[str, Json] = {}
        self._over = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            leader = await self._detector.leader()
            if self._id is not None:
                # As the real ones do: a master that just took over is not to be reached by everybody at once.
                await asyncio.sleep(random.uniform(0, BACKOFF_SECONDS))
                leader = await self._detector.leader()
            host, _, port = leader.rpartition(":")
            self._over.clear()
            link = Link(self._registration(), self._heard, self._ended)
            try:
                await loop.create_connection(lambda link=link: link, host, int(port))
            except OSError:
                await self._detector.moved_within(leader, 0.2)
                continue
            self._link = link
            moved = asyncio.create_task(self._detector.moved(leader))
            over = asyncio.create_task(self._over.wait())
            await asyncio.wait({moved, over}, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
            over.cancel()
            link.close()
            if not self._over.is_set():
                await self._over.wait()

    def _registration(self) -> Json:
        info: Json = {"hostname": f"simulated-{self.number}", "port": 5051, "resources": RESOURCES, "checkpoint": True}
        call: Json = {
            "type": "REGISTER",
            "agent_info": info,
            "pid": f"slave(1)@10.{self.number >> 16 & 255}.{self.number >> 8 & 255}.{self.number & 255}:5051",
            "version": "1.11.0",
        }
        if self._id is None:
            return call
        info["id"] = {"value": self._id}
        return {
            **call,
            "type": "REREGISTER",
            "frameworks": list(self._frameworks.values()),
            "executors": [],
            "tasks": [task["reported"] for task in self._tasks.values()],
        }

    def _heard(self, event: Json) -> None:
        match event["type"]:
            case "REGISTERED" | "REREGISTERED":
                self._id = event["agent_id"]["value"]
                self._registered = True
                self._on_change(True)
            case "PING":
                self._send({"type": "PONG"})
            case "RUN_TASK":
                self._run(event)
            case "ACKNOWLEDGE":
                self._acknowledged(event)
            case "KILL_TASK":
                key = (event["framework_id"]["value"], event["task_id"]["value"])
                if key in self._tasks:
                    self._update(key, "TASK_KILLED")
            case "SHUTDOWN_FRAMEWORK":
                self._frameworks.pop(event["framework_id"]["value"], None)
                gone = [key for key in self._tasks if key[0] == event["framework_id"]["value"]]
                for key in gone:
                    del self._tasks[key]

    def _run(self, event: Json) -> None:
        info, framework = event["task"], event["framework_info"]
        key = (framework["id"]["value"], info["task_id"]["value"])
        self._frameworks[key[0]] = framework
        reported = {
            "framework_id": framework["id"],
            "task_id": info["task_id"],
            "name": info["name"],
            "role": event.get("role", "*"),
            "state": "TASK_STAGING",
            "statuses": [],
            "resources": info["resources"],
        }
        self._tasks[key] = {"reported": reported, "uuid": "", "stays": info["name"].startswith("stay")}
        self._update(key, "TASK_RUNNING")

    def _update(self, key: tuple[str, str], state: str) -> None:
        task = self._tasks[key]
        task["uuid"] = new_uuid()
        status = {
            "task_id": {"value": key[1]},
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "agent_id": {"value": self._id},
            "timestamp": time.time(),
            "uuid": task["uuid"],
        }
        task["reported"] |= {"state": state, "statuses": [*task["reported"]["statuses"], status]}
        self._send({"type": "UPDATE", "framework_id": {"value": key[0]}, "status": status, "latest_state": state})

    def _acknowledged(self, event: Json) -> None:
        key = (event["framework_id"]["value"], event["task_id"]["value"])
        task = self._tasks.get(key)
        if task is None or task["uuid"] != event["uuid"]:
            return
        if task["reported"]["state"] != "TASK_RUNNING":
            del self._tasks[key]
        elif not task["stays"]:
            self._update(key, "TASK_FINISHED")

    def _send(self, call: Json) -> None:
        if self._link is not None and self._registered:
            self._link.send(call)

    def _ended(self, location: str | None) -> None:
        self._over.set()
        if location:
            self._detector.redirect(location)
        if self._registered:
            self._registered = False
            self._on_change(False)


class Crowd:
    """All of them, counted."""

    def __init__(self, master: str, count: int) -> None:
        self._detector = MasterDetector(master)
        self._count = count
        self._registered = 0
        self._since = time.monotonic()
        self._agents = [Agent(number, self._detector, self._changed) for number in range(count)]

    def _changed(self, registered: bool) -> None:
        if not registered and self._registered == self._count:
            self._since = time.monotonic()
        self._registered += 1 if registered else -1
        if self._registered == self._count:
            seconds = round(time.monotonic() - self._since, 3)
            line = {"registered": self._count, "seconds": seconds, "master": self._detector.current}
            print(json.dumps(line), flush=True)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for agent in self._agents:
                group.create_task(agent.run())


if __name__ == "__main__":
    # Real agents are on machines of their own: they take no processor time from the master.
    os.nice(10)
    uvloop.run(Crowd(sys.argv[1], int(sys.argv[2])).run())
