from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from k8slab.topology import store
from k8slab.topology.resolved import Topology
from k8slab.view.live import event_line, live, touched
from k8slab.view.look import ASCII, UNICODE, Look
from k8slab.view.progress import Progress, advanced, phases


@dataclass(frozen=True)
class FakeStep:
    phase: str
    doing: str
    did: str
    subject: str
    reason: str = ""
    after: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        return f"{self.doing}:{self.subject}"

    def explain(self) -> tuple[str, ...]:
        return (f"echo {self.subject}",)


@dataclass(frozen=True)
class FakeEvent:
    kind: str
    step: FakeStep | None = None
    text: str = ""
    seconds: float = 0.0
    steps: tuple[FakeStep, ...] = ()


CREATE = FakeStep("nodes", "create", "created", "etcd-0", "it is missing")
WIRE = FakeStep("wires", "wire", "wired", "etcd-0")
START = FakeStep("daemons", "start", "started", "etcd-0/etcd")
PLAN = FakeEvent("plan", steps=(CREATE, WIRE, START))
LOOK = Look(100, 30, UNICODE, live=True)


@pytest.fixture(scope="module")
def topology() -> Topology:
    return store.load()


def after(*events: tuple[float, FakeEvent]) -> Progress:
    progress = Progress(began=0.0)
    for at, event in events:
        progress = advanced(progress, event, at=at)
    return progress


def test_steps_wait_begin_and_end() -> None:
    progress = after((0.0, PLAN), (1.0, FakeEvent("begun", CREATE)))
    assert [one.state for one in progress.steps.values()] == ["running", "waiting", "waiting"]
    progress = advanced(progress, FakeEvent("done", CREATE, seconds=0.5), at=1.5)
    assert [one.state for one in progress.steps.values()] == ["done", "waiting", "waiting"]
    assert not progress.complete


def test_the_past_is_not_changed() -> None:
    before = after((0.0, PLAN))
    advanced(before, FakeEvent("begun", CREATE), at=1.0)
    assert before.steps[CREATE.key].state == "waiting"


def test_a_phase_lasts_from_its_first_beginning_to_its_last_end() -> None:
    progress = after(
        (0.0, PLAN),
        (1.0, FakeEvent("begun", CREATE)),
        (2.5, FakeEvent("done", CREATE, seconds=1.5)),
        (2.5, FakeEvent("begun", WIRE)),
    )
    nodes, wires, daemons = phases(progress, now=4.0)
    assert (nodes.name, nodes.done, nodes.total, nodes.seconds) == ("nodes", 1, 1, 1.5)
    assert (wires.done, wires.seconds) == (0, 1.5)
    assert daemons.seconds == 0.0


def test_a_failed_step_ends_its_phase_and_is_marked() -> None:
    progress = after((0.0, PLAN), (1.0, FakeEvent("failed", CREATE, text="no room", seconds=1.0)))
    assert phases(progress, now=9.0)[0].failed
    assert progress.failed[0].text == "no room"


def test_the_table_fills_up(topology: Topology, render: Any) -> None:
    progress = after((0.0, PLAN), (0.0, FakeEvent("begun", CREATE)))
    lines = render(live(progress, topology.nodes[:2], LOOK, title="Bringing up", now=0.4), 100)
    assert lines[0] == "Bringing up  0.4 s"
    (row,) = [line for line in lines if line.startswith("etcd-0")]
    assert "creating" in row
    assert "○ etcd" in row
    (other,) = [line for line in lines if line.startswith("etcd-1")]
    assert "running" in other
    assert "✓ etcd" in other
    assert lines[-2] == "◐ nodes 0/1 0.4 s   ○ wires 0/1   ○ daemons 0/1"
    assert lines[-1] == "▸ creating etcd-0 (0.4 s)"
    for step in (CREATE, WIRE, START):
        progress = advanced(progress, FakeEvent("done", step, seconds=0.1), at=1.0)
    lines = render(live(progress, topology.nodes[:2], LOOK, title="Bringing up", now=1.0), 100)
    (row,) = [line for line in lines if line.startswith("etcd-0")]
    assert "running" in row
    assert "✓ etcd" in row


def test_before_the_plan_there_is_only_a_word(topology: Topology, render: Any) -> None:
    lines = render(live(Progress(began=0.0), topology.nodes, LOOK, title="Bringing up", now=0.1), 100)
    assert lines == ["Bringing up  0.1 s", "▸ looking at what is there"]


def test_a_failure_is_marked_in_its_row_and_told_below(topology: Topology, render: Any) -> None:
    progress = after((0.0, PLAN), (1.0, FakeEvent("failed", START, text="it died", seconds=1.0)))
    lines = render(live(progress, topology.nodes[:1], LOOK, title="Up", now=1.0), 100)
    (row,) = [line for line in lines if line.startswith("etcd-0")]
    assert "✗ etcd failed" in row
    assert "✗ could not start etcd on etcd-0: it died" in lines


def test_a_killed_daemon_is_shown_down(topology: Topology, render: Any) -> None:
    kill = FakeStep("daemons", "kill", "killed", "etcd-0/etcd")
    progress = after((0.0, FakeEvent("plan", steps=(kill,))), (1.0, FakeEvent("done", kill, seconds=1.0)))
    assert [node.name for node in touched(progress, topology.nodes)] == ["etcd-0"]
    (row,) = [
        line
        for line in render(live(progress, topology.nodes[:1], LOOK, title="Killing", now=1.0), 100)
        if line.startswith("etcd-0")
    ]
    assert "○ etcd down" in row


def test_more_nodes_than_lines_show_those_at_work(topology: Topology, render: Any) -> None:
    last = FakeStep("daemons", "start", "started", "kubernetes-minion-3/docker")
    progress = after((0.0, FakeEvent("plan", steps=(last,))), (0.0, FakeEvent("begun", last)))
    look = Look(100, 12, UNICODE, live=True)
    lines = render(live(progress, topology.nodes, look, title="Up", now=1.0), 100)
    assert len(lines) <= 12
    assert any(line.startswith("kubernetes-minion-3") for line in lines)
    assert "… and 6 nodes more" in lines


def test_lines_for_a_pipe() -> None:
    assert event_line(PLAN, elapsed=0.1, symbols=UNICODE) == "   0.10 s  3 steps to do"
    assert event_line(FakeEvent("begun", CREATE), elapsed=0.1, symbols=UNICODE) == ""
    done = FakeEvent("done", CREATE, seconds=0.25)
    assert event_line(done, elapsed=1.0, symbols=UNICODE) == "   1.00 s  ✓ created etcd-0 (it is missing), 0.25 s"
    failed = FakeEvent("failed", START, text="It died.", seconds=2.0)
    assert event_line(failed, elapsed=3.0, symbols=ASCII) == "   3.00 s  x could not start etcd on etcd-0: It died."
    assert event_line(FakeEvent("note", text="waiting"), elapsed=3.0, symbols=ASCII) == "   3.00 s  waiting"
