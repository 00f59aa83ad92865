from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from k8slab.mesos.agent.updates import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, StatusUpdates


def status(task: str, uuid: str, state: str = "TASK_RUNNING") -> dict[str, Any]:
    return {"task_id": {"value": task}, "uuid": uuid, "state": state}


class Recorder:
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.updates = StatusUpdates(lambda framework, update: self.sent.append(update["uuid"]))


async def test_one_at_a_time_and_in_order() -> None:
    recorder = Recorder()
    recorder.updates.resume()
    for uuid in "abc":
        assert recorder.updates.add("f", status("t", uuid), journal=None)
    assert recorder.sent == ["a"]
    assert recorder.updates.acknowledge("f", "t", "b") is None
    assert recorder.updates.acknowledge("f", "t", "a") == status("t", "a")
    assert recorder.updates.acknowledge("f", "t", "a") is None
    assert recorder.sent == ["a", "b"]
    recorder.updates.add("f", status("other", "x"), journal=None)
    assert recorder.sent == ["a", "b", "x"]


async def test_the_same_update_twice_counts_once() -> None:
    recorder = Recorder()
    recorder.updates.resume()
    assert recorder.updates.add("f", status("t", "a"), journal=None)
    assert not recorder.updates.add("f", status("t", "a"), journal=None)
    recorder.updates.acknowledge("f", "t", "a")
    assert not recorder.updates.add("f", status("t", "a"), journal=None)
    assert recorder.sent == ["a"]


async def test_nothing_goes_out_while_paused() -> None:
    recorder = Recorder()
    recorder.updates.add("f", status("t", "a"), journal=None)
    assert recorder.sent == []
    recorder.updates.resume()
    recorder.updates.pause()
    recorder.updates.resume()
    assert recorder.sent == ["a", "a"]


async def test_retries_double(monkeypatch: Any) -> None:
    delays: list[float] = []
    loop = asyncio.get_running_loop()
    recorder = Recorder()
    monkeypatch.setattr(loop, "call_later", lambda delay, callback, *args: Timer(delays, delay, callback, args))
    recorder.updates.resume()
    recorder.updates.add("f", status("t", "a"), journal=None)
    for _ in range(8):
        Timer.last.fire()
    assert delays == [min(FIRST_RETRY_SECONDS * 2**n, LONGEST_RETRY_SECONDS) for n in range(9)]
    assert recorder.sent == ["a"] * 9


class Timer:
    last: Timer

    def __init__(self, delays: list[float], delay: float, callback: Any, args: Any) -> None:
        delays.append(delay)
        self.fire = lambda: callback(*args)
        Timer.last = self

    def cancel(self) -> None:
        pass


async def test_a_journal_brings_back_what_was_not_acknowledged(tmp_path: Path) -> None:
    journal = tmp_path / "task.updates"
    first = Recorder()
    first.updates.resume()
    for uuid in "abc":
        first.updates.add("f", status("t", uuid), journal=journal)
    first.updates.acknowledge("f", "t", "a")
    whole = journal.read_bytes()
    journal.write_bytes(whole + b"40\n{cut by a cra")
    again = Recorder()
    assert [update["uuid"] for update in again.updates.restore("f", "t", journal)] == ["a", "b", "c"]
    assert journal.read_bytes() == whole
    again.updates.resume()
    assert again.sent == ["b"]
    assert not again.updates.add("f", status("t", "a"), journal=journal)
    again.updates.acknowledge("f", "t", "b")
    assert again.sent == ["b", "c"]


@pytest.mark.parametrize("damage", [b"\0" * 40, b'7\n{"type"9\n', b"not a length at all"])
async def test_a_damaged_journal_is_good_up_to_the_damage(tmp_path: Path, damage: bytes) -> None:
    journal = tmp_path / "task.updates"
    first = Recorder()
    first.updates.add("f", status("t", "a"), journal=journal)
    whole = journal.read_bytes()
    journal.write_bytes(whole + damage)
    assert [update["uuid"] for update in Recorder().updates.restore("f", "t", journal)] == ["a"]
    assert journal.read_bytes() == whole
