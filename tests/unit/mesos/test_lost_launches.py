"""Frameworks whose launch is lost with the master that heard it, against a master that loses it, over real sockets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from k8slab.mesos import recordio
from k8slab.mesos.client.command import Command, CommandRun

BATCH = Path(__file__).parents[3] / "examples" / "batch" / "batch.py"
ADDRESS = {"ip": "127.0.0.1", "port": 1}


class Forgetful:
    """Ends the first stream with the first ACCEPT unheard, answers the second RECONCILE only; then all goes well."""

    def __init__(self, verdict: str) -> None:
        self.verdict = verdict
        self.accepted = self.reconciled = self.offered = 0
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        call = orjson.loads(await request.read())
        match call["type"]:
            case "SUBSCRIBE":
                return await self.stream(request)
            case "ACCEPT":
                self.accepted += 1
                if self.accepted == 1:
                    self.events.put_nowait(None)
                    return web.Response(status=503, text="not leading any more")
                self.update(call["accept"]["operations"][0]["launch"]["task_infos"][0]["task_id"], "TASK_FINISHED")
            case "RECONCILE":
                self.reconciled += 1
                if self.reconciled == 2:
                    self.update(call["reconcile"]["tasks"][0]["task_id"], self.verdict)
            case "REVIVE":
                self.offer()
        return web.Response(status=202)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Mesos-Stream-Id": "s"})
        await response.prepare(request)
        subscribed = {"type": "SUBSCRIBED", "subscribed": {"framework_id": {"value": "f"}}}
        await response.write(recordio.encode(orjson.dumps(subscribed)))
        if not self.offered:
            self.offer()
        while (event := await self.events.get()) is not None:
            await response.write(recordio.encode(orjson.dumps(event)))
        return response

    def offer(self) -> None:
        self.offered += 1
        amounts = {"cpus": 1.0, "mem": 64.0}
        resources = [{"name": name, "type": "SCALAR", "scalar": {"value": value}} for name, value in amounts.items()]
        offer = {"id": {"value": f"o{self.offered}"}, "agent_id": {"value": "a"}, "resources": resources}
        self.events.put_nowait({"type": "OFFERS", "offers": {"offers": [{**offer, "url": {"address": ADDRESS}}]}})

    def update(self, task_id: dict[str, str], state: str) -> None:
        status = {"task_id": task_id, "agent_id": {"value": "a"}, "state": state, "source": "SOURCE_MASTER"}
        self.events.put_nowait({"type": "UPDATE", "update": {"status": status}})


@asynccontextmanager
async def serving(master: Forgetful) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("POST", "/api/v1/scheduler", master.handle)
    async with TestServer(app) as server:
        yield f"{server.host}:{server.port}"


@pytest.mark.parametrize("verdict", ["TASK_GONE", "TASK_UNKNOWN"])
async def test_a_command_whose_launch_got_lost_ends(verdict: str) -> None:
    master = Forgetful(verdict)
    async with serving(master) as address:
        run = CommandRun(
            address,
            Command("t", "true", "t"),
            on_status=lambda _status: None,
            on_output=lambda _name, _written: None,
            on_waiting=lambda: None,
            on_trouble=lambda _text: None,
            reconcile_seconds=0.05,
        )
        final = await asyncio.wait_for(run.run(asyncio.Event()), 10)
    assert final is not None
    assert final["state"] == verdict
    assert master.reconciled == 2


async def test_a_batch_whose_launch_got_lost_runs_its_job_again() -> None:
    master = Forgetful("TASK_LOST")
    # As if the first round of questions had been made already: only the one after the new SUBSCRIBED is answered.
    master.reconciled = 1
    async with serving(master) as address:
        words = (sys.executable, str(BATCH), "--master", address, "--jobs", "1", "true")
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, said) == (0, b"job 0: TASK_FINISHED  (0 running, 0 to do)\n")


async def test_a_batch_that_is_told_nonsense_says_so() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(BATCH), "--master", "a:b"), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"expected zk://" in said
    assert b"Traceback" not in said
