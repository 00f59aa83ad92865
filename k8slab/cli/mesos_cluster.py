"""Asking the masters of a Mesos cluster, all at once, who leads and what there is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8slab.cli.session import Session
from k8slab.errors import NoLeadingMaster, UsageError
from k8slab.lab.parallel import in_parallel
from k8slab.lab.probes.http import NoAnswer, ask
from k8slab.view.mesos_cluster import Cluster, Master, read, read_master

PORT = 5050


@dataclass(frozen=True)
class Known:
    """A master: its node's name, and where it listens."""

    name: str
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def label(self) -> str:
        return self.address if self.name in (self.host, self.address) else f"{self.name} ({self.address})"


@dataclass(frozen=True)
class Answer:
    """``state`` is the leader's; ``said`` is what the others have to say."""

    state: Mapping[str, Any] | None
    said: str
    alive: bool


def known_masters(session: Session, lab_name: str, masters: str) -> list[Known]:
    """Those given as ``host:port,…``, else the lab's. Raises UsageError."""
    if masters:
        return [_parsed(text) for text in masters.split(",")]
    lab = session.lab(lab_name)
    found = [daemon for daemon in lab.topology.daemons if daemon.name == "mesos-master"]
    if not found:
        raise UsageError(
            f"Lab {lab.name} has no mesos-master.",
            why="No node of it runs one, so there is no Mesos cluster to look at.",
            remedy="`k8slab status` shows what it has; --lab NAME chooses another lab.",
        )
    return [Known(one.node, str(lab.topology.node(one.node).address), one.port) for one in found]


def addresses(masters: Sequence[Known]) -> str:
    """As Mesos' clients take them."""
    return ",".join(master.address for master in masters)


def cluster(masters: Sequence[Known], *, leader_needed: bool = True) -> Cluster:
    """What there is. Raises NoLeadingMaster unless only the masters themselves are of interest."""
    answers = list(in_parallel(_ask_state, masters))
    leader = next((pair for pair in zip(masters, answers, strict=True) if pair[1].state is not None), None)
    if leader is None and leader_needed:
        told = zip(masters, answers, strict=True)
        raise NoLeadingMaster([f"{master.label}: {answer.said}" for master, answer in told])
    shown = [_master(master, answer) for master, answer in zip(masters, answers, strict=True)]
    if leader is None:
        return read({}, shown)
    known, answer = leader
    return read(answer.state or {}, shown, _weights(known))


def _parsed(text: str) -> Known:
    host, colon, port = text.strip().removeprefix("http://").rstrip("/").partition(":")
    if not host or (colon and not port.isdecimal()):
        raise UsageError(f"{text!r} is no master's address.", remedy="For example: --masters 172.17.1.4:5050")
    return Known(text, host, int(port or PORT))


def _ask_state(master: Known) -> Answer:
    try:
        status, content = ask(master.host, master.port, "/state")
        if status == 200:
            return Answer(json.loads(content), "leads", alive=True)
    except (NoAnswer, ValueError) as error:
        return Answer(None, f"does not answer ({error})", alive=False)
    text = content.decode(errors="replace").strip()
    said = "follows another one" if status == 307 else f"answers {status} {text}".strip()
    return Answer(None, said, alive=True)


def _master(known: Known, answer: Answer) -> Master:
    return read_master(known.name, known.address, answer.state, standby=answer.alive)


def _weights(leader: Known) -> dict[str, float]:
    """Those that were set; a master that knows of none has none."""
    try:
        status, content = ask(leader.host, leader.port, "/weights")
        found = json.loads(content) if status == 200 else []
        return {one["role"]: float(one["weight"]) for one in found}
    except (NoAnswer, ValueError, KeyError, TypeError):
        return {}
