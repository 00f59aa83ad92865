"""The state of a plan being carried out, folded from its events. Pure: the clock is an argument.

The lab is not imported here; what it hands over is described by its shape alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Protocol

StepState = Literal["waiting", "running", "done", "failed"]


class StepLike(Protocol):
    @property
    def phase(self) -> str: ...
    @property
    def did(self) -> str: ...
    @property
    def doing(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def after(self) -> frozenset[str]: ...
    def explain(self) -> tuple[str, ...]: ...


class EventLike(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def step(self) -> StepLike | None: ...
    @property
    def text(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def steps(self) -> Sequence[StepLike]: ...


@dataclass(frozen=True)
class StepProgress:
    """One step. ``began`` and ``ended`` are moments of the clock that ``advanced`` is given."""

    step: StepLike
    state: StepState = "waiting"
    began: float = 0.0
    ended: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class PhaseProgress:
    """``seconds`` runs from the phase's first beginning to its last end, or to now while it is not over."""

    name: str
    done: int
    total: int
    seconds: float
    failed: bool = False


@dataclass(frozen=True)
class Progress:
    """``planned`` is false until the plan is known; ``notes`` are the words said so far."""

    began: float
    planned: bool = False
    steps: Mapping[str, StepProgress] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()

    @property
    def running(self) -> tuple[StepProgress, ...]:
        """The steps at work, the longest first."""
        at_work = [one for one in self.steps.values() if one.state == "running"]
        return tuple(sorted(at_work, key=lambda one: one.began))

    @property
    def failed(self) -> tuple[StepProgress, ...]:
        return tuple(one for one in self.steps.values() if one.state == "failed")

    @property
    def complete(self) -> bool:
        return self.planned and all(one.state == "done" for one in self.steps.values())


def advanced(progress: Progress, event: EventLike, *, at: float) -> Progress:
    """The progress after ``event``, which happened at the moment ``at``."""
    if event.kind == "note":
        return replace(progress, notes=(*progress.notes, event.text))
    if event.kind == "plan":
        steps = {step.key: StepProgress(step) for step in event.steps}
        return replace(progress, planned=True, steps=MappingProxyType(steps))
    if event.step is None:
        return progress
    before = progress.steps.get(event.step.key) or StepProgress(event.step)
    match event.kind:
        case "begun":
            now = replace(before, state="running", began=at)
        case "done":
            now = replace(before, state="done", began=at - event.seconds, ended=at)
        case "failed":
            now = replace(before, state="failed", began=at - event.seconds, ended=at, text=event.text)
        case _:
            return progress
    return replace(progress, steps=MappingProxyType({**progress.steps, event.step.key: now}))


def phases(progress: Progress, *, now: float) -> tuple[PhaseProgress, ...]:
    """Every phase that has steps, in the plan's order."""
    by_name: dict[str, list[StepProgress]] = {}
    for one in progress.steps.values():
        by_name.setdefault(one.step.phase, []).append(one)
    return tuple(_phase(name, steps, now) for name, steps in by_name.items())


def _phase(name: str, steps: Sequence[StepProgress], now: float) -> PhaseProgress:
    over = [one for one in steps if one.state in ("done", "failed")]
    begun = [one.began for one in steps if one.state != "waiting"]
    end = max(one.ended for one in over) if len(over) == len(steps) else now
    failed = any(one.state == "failed" for one in steps)
    return PhaseProgress(name, len(over), len(steps), end - min(begun) if begun else 0.0, failed)
