"""Words: durations, counts and lists of names, short enough for one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from k8slab.view.look import UNICODE, Symbols

AT_WORK = {
    "created": "creating",
    "wired": "wiring",
    "started": "starting",
    "removed": "removing",
    "killed": "killing",
    "stopped": "stopping",
    "paused": "pausing",
    "unpaused": "unpausing",
}


def at_work(did: str) -> str:
    """What one is doing who will have ``did``: "started" gives "starting"."""
    return AT_WORK.get(did, f"getting {did}")


def seconds(value: float) -> str:
    """A duration as people say it: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def age(value: float) -> str:
    """A duration in at most six characters: 45s, 12m, 3h20m, 5d4h."""
    whole = max(0, int(value))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def size(count_of_bytes: int) -> str:
    return f"{count_of_bytes / 1e9:.2f} GB" if count_of_bytes >= 1e9 else f"{count_of_bytes / 1e6:.0f} MB"


def folded(names: Sequence[str], symbols: Symbols = UNICODE) -> str:
    """Names in a row as ranges: etcd-0, etcd-1, etcd-2 become etcd-0…2; daemons are told by their nodes."""
    by_daemon: dict[str, list[str]] = {}
    for name in names:
        node, slash, daemon = name.partition("/")
        by_daemon.setdefault(daemon if slash else "", []).append(node)
    told = []
    for daemon, nodes in by_daemon.items():
        places = ", ".join(_ranges(nodes, symbols))
        told.append(f"{daemon} on {places}" if daemon else places)
    return "; ".join(told)


def _ranges(names: Iterable[str], symbols: Symbols) -> list[str]:
    """Numbered names by number, beside the first of their stem; other names where they stand."""
    stems: dict[str, list[int | None]] = {}
    for name in names:
        match = re.fullmatch(r"(.*-)(\d+)", name)
        stem, number = (match[1], int(match[2])) if match else (name, None)
        stems.setdefault(stem, []).append(number)
    told: list[str] = []
    for stem, numbers in stems.items():
        for first, last in _runs([number for number in numbers if number is not None]):
            told.append(f"{stem}{first}" if first == last else f"{stem}{first}{symbols.range}{last}")
        told += [stem] * numbers.count(None)
    return told


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
