"""What a command did, and what it would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from k8slab.snapshot import SCHEMA, Change, Timings, plain
from k8slab.view.look import LOUD, PLAIN, QUIET, Look
from k8slab.view.progress import StepLike
from k8slab.view.words import count, folded, seconds

# Changes to things that are not nodes begin with what they are.
KINDS = {"volume": "volume", "wire": "wire", "bridge": "bridge", "firewall rule": "firewall rule", "image": "image"}
NAMED_AT_MOST = 4
# More than this at once is a whole lab, whose parts the status names.
NAMED_CHANGES = 8


def changes(done: Sequence[Change], look: Look = PLAIN) -> RenderableType:
    """Each verb once for each reason, with all that it was done to; very many of a kind are only counted."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for change in done:
        kind = "daemon" if "/" in change.subject else "node"
        groups.setdefault((change.verb, change.reason, kind), []).append(change.subject)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=LOUD, no_wrap=True)
    grid.add_column()
    for (verb, reason, kind), subjects in groups.items():
        many = len(subjects) > NAMED_CHANGES
        because = (f"  ({reason})" if len(subjects) == 1 else f"  (each: {reason})", QUIET) if reason else ""
        names = count(len(subjects), kind) if many else folded(subjects, look.symbols)
        grid.add_row(Text(verb), Text.assemble(names, because))
    return grid


def removed(done: Sequence[Change], lab: str, look: Look = PLAIN) -> RenderableType:
    """What ``rm`` took away, by kind."""
    if not done:
        return Text(f"Nothing of lab {lab} was there to remove.")
    kinds: dict[str, list[str]] = {}
    for change in done:
        kind = next((kind for kind in KINDS if change.subject.startswith(f"{kind} ")), "")
        kinds.setdefault(kind, []).append(change.subject.removeprefix(f"{kind} "))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=LOUD, no_wrap=True)
    grid.add_column()
    for kind, names in kinds.items():
        grid.add_row(count(len(names), kind or "container"), _named(names, kind, look))
    return Group(Text.assemble("Removed lab ", (lab, LOUD), ":"), grid)


def _named(names: Sequence[str], kind: str, look: Look) -> Text:
    if not kind:
        return Text(folded(names, look.symbols))
    if len(names) <= NAMED_AT_MOST:
        return Text(", ".join(names), QUIET)
    return Text(f"{', '.join(names[:NAMED_AT_MOST])} {look.symbols.more}", QUIET)


def changes_json(lab: str, done: Sequence[Change]) -> dict[str, Any]:
    return {"schema": SCHEMA, "lab": lab, "changes": [plain(change) for change in done]}


def run_summary(lab: str, done: Sequence[Change], timings: Timings, look: Look = PLAIN) -> RenderableType:
    """What a run did and how long each phase took; one sentence when there was nothing to do."""
    took = look.symbols.between.join(f"{phase.name} {seconds(phase.seconds)}" for phase in timings.phases)
    if not done:
        return Text.assemble("Nothing to do: lab ", (lab, LOUD), " is up. ", (f"{seconds(timings.total)}", QUIET))
    total = Text.assemble((f"{seconds(timings.total)} in all", LOUD), (f"  ({took})", QUIET))
    return Group(changes(done, look), total)


def plan(steps: Sequence[StepLike], lab: str, look: Look = PLAIN) -> RenderableType:
    """The dry run: every step in order, with its reason."""
    if not steps:
        return Text.assemble("Nothing to do: lab ", (lab, LOUD), " is as it should be.")
    grid = Table.grid(padding=(0, 2, 0, 0))
    for style in (QUIET, LOUD, "", QUIET):
        grid.add_column(style=style, no_wrap=style != QUIET)
    for step in steps:
        grid.add_row(*(Text(words) for words in (step.phase, step.doing, step.subject, step.reason)))
    return Group(grid, Text(f"{count(len(steps), 'step')}; nothing was done.", QUIET))


def explanation(steps: Sequence[StepLike]) -> str:
    """The commands that a person would have typed, under what each is for: a shell script to read."""
    return "\n\n".join("\n".join([_heading(step), *step.explain()]) for step in steps)


def _heading(step: StepLike) -> str:
    return f"# {step.doing} {step.subject}" + (f": {step.reason}" if step.reason else "")


def plan_json(lab: str, steps: Sequence[StepLike], *, explain: bool) -> dict[str, Any]:
    return {"schema": SCHEMA, "lab": lab, "steps": [_step_json(step, explain) for step in steps]}


def _step_json(step: StepLike, explain: bool) -> Mapping[str, Any]:
    form = {
        "key": step.key,
        "phase": step.phase,
        "do": step.doing,
        "subject": step.subject,
        "reason": step.reason,
        "after": sorted(step.after),
    }
    return {**form, "commands": list(step.explain())} if explain else form


def removed_images(names: Sequence[str], look: Look = PLAIN) -> RenderableType:
    if not names:
        return Text("No images were there to remove.")
    return Text(f"Removed {count(len(names), 'image')}: {', '.join(names)}")
