"""Carries out a plan: every step as soon as those before it are done, many at a time, with an event for each."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from k8slab.errors import LabError
from k8slab.lab.steps import Step
from k8slab.snapshot import Change, Phase

WORKERS = 16


@dataclass(frozen=True)
class Event:
    """Something worth telling while a plan is carried out. ``seconds`` counts from the step's own beginning.

    ``plan`` comes first and has all the steps; ``note`` has only words.
    """

    kind: Literal["plan", "begun", "done", "failed", "note"]
    step: Step | None = None
    text: str = ""
    seconds: float = 0.0
    steps: tuple[Step, ...] = ()


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener for those who do not listen."""


@dataclass(frozen=True)
class Outcome:
    """What was done, the span of each phase, and the seconds from the first step's beginning to the last one's end."""

    changes: tuple[Change, ...]
    phases: tuple[Phase, ...]
    elapsed: float


@dataclass
class _Clock:
    """First and last moment of each phase."""

    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    def cover(self, phase: str, begin: float, end: float) -> None:
        first, last = self.spans.get(phase, (begin, end))
        self.spans[phase] = (min(first, begin), max(last, end))


def carry_out(steps: Sequence[Step], perform: Callable[[Step], None], listener: Listener = ignore) -> Outcome:
    """Perform every step of ``steps``. The first failure stops what has not begun, lets what has end, and is raised.

    Workers are daemon threads: an interrupted command leaves at once and does not wait for them.
    """
    listener(Event("plan", steps=tuple(steps)))
    work: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[Step, float, float, BaseException | None]] = queue.SimpleQueue()
    workers = min(WORKERS, len(steps))
    for number in range(workers):
        threading.Thread(
            target=_work, args=(work, results, perform, listener), name=f"step-{number}", daemon=True
        ).start()
    try:
        return _dispatch(steps, work, results, listener)
    finally:
        for _ in range(workers):
            work.put(None)


def _dispatch(
    steps: Sequence[Step],
    work: queue.SimpleQueue[Step | None],
    results: queue.SimpleQueue[tuple[Step, float, float, BaseException | None]],
    listener: Listener,
) -> Outcome:
    keys = {step.key for step in steps}
    waiting = {step.key: step for step in steps}
    done: set[str] = set()
    running: set[str] = set()
    changes: list[Change] = []
    clock = _Clock()
    failure: BaseException | None = None
    while waiting or running:
        if failure is None:
            for step in [step for step in waiting.values() if (step.after & keys) <= done]:
                del waiting[step.key]
                running.add(step.key)
                work.put(step)
        if not running:
            break
        step, begin, end, error = results.get()
        running.discard(step.key)
        clock.cover(step.phase, begin, end)
        if error is None:
            done.add(step.key)
            changes.append(Change(step.did, step.subject, step.reason, round(end - begin, 3)))
            listener(Event("done", step, seconds=end - begin))
        else:
            failure = failure or error
            text = error.what if isinstance(error, LabError) else str(error)
            listener(Event("failed", step, text, seconds=end - begin))
    if failure is not None:
        raise failure
    assert not waiting, f"steps wait for each other: {sorted(waiting)}"
    phases = tuple(Phase(name, round(last - first, 3)) for name, (first, last) in clock.spans.items())
    moments = [moment for span in clock.spans.values() for moment in span]
    return Outcome(tuple(changes), phases, max(moments) - min(moments) if moments else 0.0)


def _work(
    work: queue.SimpleQueue[Step | None],
    results: queue.SimpleQueue[tuple[Step, float, float, BaseException | None]],
    perform: Callable[[Step], None],
    listener: Listener,
) -> None:
    while (step := work.get()) is not None:
        begin = time.monotonic()
        listener(Event("begun", step))
        error: BaseException | None = None
        try:
            perform(step)
        except BaseException as raised:
            error = raised
        results.put((step, begin, time.monotonic(), error))
