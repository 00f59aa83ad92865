"""Which tasks Mesos is asked about, and when."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from k8slab.k8sm.scheduler import reconciliation as module
from k8slab.k8sm.scheduler.reconciliation import Reconciler
from k8slab.k8sm.scheduler.tasks import LAUNCHING, Task, TaskRegistry
from k8slab.mesos.client import MesosError

COOLDOWN = 15.0


class Master:
    subscribed = True

    def __init__(self) -> None:
        self.deaf = False
        self.asked: list[list[str]] = []

    async def reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        if self.deaf:
            raise MesosError(0, "it hears nothing")
        self.asked.append([task for task, _ in tasks])


def a_task(number: int, state: str, changed: float) -> Task:
    return Task(f"T{number}", f"uid-{number}", f"default/p{number}", "S0", "minion-0", "E", state, changed)


def a_reconciler(master: Master, tasks: TaskRegistry, *, implicit_delay: float = 600.0) -> Reconciler:
    return Reconciler(
        master,  # type: ignore[arg-type]
        tasks,
        interval=300,
        implicit_delay=implicit_delay,
        cooldown=COOLDOWN,
        longest_delay=120,
    )


async def test_a_launch_on_its_way_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "_now", lambda: now)
    master, tasks = Master(), TaskRegistry()
    reconciler = a_reconciler(master, tasks)
    reconciler.subscribed()
    tasks.add(a_task(0, "TASK_RUNNING", now))
    tasks.add(a_task(1, LAUNCHING, now))
    await reconciler._due()
    assert master.asked == [["T0"]]
    now += COOLDOWN
    reconciler.all_now(explicit=True)
    await reconciler._due()
    assert master.asked[1:] == [["T0", "T1"]]


async def test_a_question_that_broke_off_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_now", lambda: 1000.0)
    master, tasks = Master(), TaskRegistry()
    tasks.add(a_task(0, "TASK_RUNNING", 0.0))
    reconciler = a_reconciler(master, tasks, implicit_delay=0.0)
    reconciler.subscribed()
    master.deaf = True
    with pytest.raises(MesosError):
        await reconciler._due()
    master.deaf = False
    await reconciler._due()
    assert master.asked == [[], ["T0"]]
    await reconciler._due()
    assert len(master.asked) == 2
