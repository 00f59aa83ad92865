"""From an ExecutorInfo to a running process, and every way in which that can be cut short."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.launches import Launches
from tests.unit.mesos.test_agent import agent

FRAMEWORK = {"id": {"value": "F"}, "name": "test", "user": "", "checkpoint": True}


def task(task_id: str, line: str, *uris: str) -> dict[str, Any]:
    command = {"value": line, "uris": [{"value": uri} for uri in uris]}
    executor = {"executor_id": {"value": "E"}, "command": command}
    return {"task_id": {"value": task_id}, "name": task_id, "agent_id": {"value": "S0"}, "executor": executor}


class Sent:
    """What the agent says to its master."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.all: list[dict[str, Any]] = []

    def append(self, call: dict[str, Any]) -> None:
        self.all.append(call)
        self.calls.put_nowait(call)

    async def next(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(20.0):
            while (call := await self.calls.get())["type"] != kind:
                pass
            return call


def working(tmp_path: Path) -> tuple[Agent, Sent]:
    sent = Sent()
    here = agent(tmp_path, sent)  # type: ignore[arg-type]
    here.updates.resume()
    return here, sent


async def stalling_server() -> tuple[asyncio.Server, asyncio.Event, str]:
    """Takes a request and never answers it."""
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, asked, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/never"


async def test_a_kill_ends_a_fetch_and_nothing_starts_after_it(tmp_path: Path) -> None:
    here, sent = working(tmp_path)
    server, asked, url = await stalling_server()
    async with server:
        Launches(here).run_task(FRAMEWORK, task("t", f"touch {tmp_path}/ran", url), "*")
        await asyncio.wait_for(asked.wait(), 20.0)
        here.kill_task("F", "t", None)
        update = await sent.next("UPDATE")
        assert update["status"]["state"] == "TASK_KILLED"
        assert (await sent.next("EXECUTOR_EXITED"))["status"] == -1
    assert here.frameworks["F"].executors["E"].process is None
    assert not (tmp_path / "ran").exists()


async def test_a_kill_before_the_launch_has_begun(tmp_path: Path) -> None:
    here, sent = working(tmp_path)
    Launches(here).run_task(FRAMEWORK, task("t", f"touch {tmp_path}/ran"), "*")
    here.kill_task("F", "t", None)
    await sent.next("EXECUTOR_EXITED")
    assert here.frameworks["F"].executors["E"].process is None


async def test_an_executor_that_cannot_join_its_groups_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, sent = working(tmp_path)
    monkeypatch.setattr(here.isolation, "admit", lambda executor: [Path("/dev/full")])
    Launches(here).run_task(FRAMEWORK, task("t", "sleep 1000"), "*")
    status = (await sent.next("UPDATE"))["status"]
    assert (status["state"], status["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert "/dev/full" in status["message"]


async def test_an_executor_that_cannot_be_written_down_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, sent = working(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(here.checkpoint, "write_pid", full)
    Launches(here).run_task(FRAMEWORK, task("t", "sleep 1000"), "*")
    status = (await sent.next("UPDATE"))["status"]
    assert (status["state"], status["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert "No space left on device" in status["message"]
    assert (await sent.next("EXECUTOR_EXITED"))["status"] == 9
