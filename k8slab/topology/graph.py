"""The order of daemons: a graph on their names, walked forwards to start and backwards to kill."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

After = Mapping[str, Collection[str]]


def find_cycle(after: After) -> tuple[str, ...]:
    """The names of one cycle, first name again at its end; empty when there is none."""
    try:
        TopologicalSorter(after).prepare()
    except CycleError as error:
        return tuple(reversed(error.args[1]))
    return ()


def ranks(after: After) -> dict[str, int]:
    """Each name's distance from those that need nothing: 0 for these, else one more than its furthest need."""
    rank: dict[str, int] = {}
    for name in TopologicalSorter(after).static_order():
        rank[name] = 1 + max((rank[need] for need in after.get(name, ())), default=-1)
    return rank


def dependents(after: After) -> dict[str, set[str]]:
    """The same graph backwards: what needs each name."""
    backwards: dict[str, set[str]] = {name: set() for name in after}
    for name, needs in after.items():
        for need in needs:
            backwards.setdefault(need, set()).add(name)
    return backwards
