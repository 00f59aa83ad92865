from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from k8slab.errors import EngineUnreachable
from k8slab.snapshot import DaemonStatus, NodeStatus, Requirement, Snapshot
from k8slab.view import status
from k8slab.view.look import ASCII, ENDLESS, PLAIN, UNICODE, Look, symbols_for
from k8slab.view.watch import frame
from k8slab.view.wide import wide


def live(width: int, height: int = 24) -> Look:
    return Look(width, height, UNICODE, live=True)


def changed(snapshot: Snapshot, name: str, **fields: Any) -> Snapshot:
    nodes = tuple(replace(node, **fields) if node.name == name else node for node in snapshot.nodes)
    return replace(snapshot, ready=False, nodes=nodes)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, ENDLESS])
def test_no_line_is_wider_than_the_paper_and_nothing_is_cut(healthy: Snapshot, render: Any, width: int) -> None:
    lines = render(status.status(healthy, live(width)), min(width, 400))
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines)
    for node in healthy.nodes:
        assert any(line.startswith(node.name) for line in lines)


def test_the_default_lab_fits_a_small_terminal(healthy: Snapshot, render: Any) -> None:
    lines = render(status.status(healthy, live(80)), 80)
    assert len(lines) <= 23
    assert lines[0] == "k8s-mesos  ✓ ready  11 nodes · 20 daemons"
    assert lines[1] == "NODE                 ADDRESS      STATE    DAEMONS"
    assert lines[3] == "etcd-1               172.17.1.2   running  ✓ etcd leader, term 4"
    assert "mesos-master-0       172.17.1.4   running  ✓ zk follower  ✓ mm standby" in lines
    assert "kubernetes-minion-2  172.17.1.10  running  ✓ docker  ✓ ms registered, 1 pod" in lines
    assert lines[-3] == "✓ 3 etcd members, one leader       ✓ 4 Kubernetes nodes Ready"


def test_wider_paper_has_a_column_for_each_thing(healthy: Snapshot, render: Any) -> None:
    lines = render(status.status(healthy, live(160)), 160)
    headings = "NODE                 ROLE              ADDRESS      STATE    WIRE   DAEMONS          TRUTH"
    assert lines[1] == headings
    row = "mesos-master-2       mesos-master      172.17.1.6   running  wired  ✓ zk ✓ mm        "
    assert row + "zk leader · mm leading, 4 agents, Kubernetes" in lines


def test_a_pipe_gets_one_requirement_a_line(healthy: Snapshot, render: Any) -> None:
    lines = render(status.status(healthy, PLAIN))
    assert lines[-6:] == [f"✓ {one.name}" for one in healthy.requirements]


def test_what_is_wrong_is_said_in_words_too(healthy: Snapshot, render: Any) -> None:
    down = DaemonStatus("etcd", "etcd", "down")
    failed = DaemonStatus("etcd", "etcd", "failed", restarts=3)
    slow = DaemonStatus("etcd", "etcd", "up", pid=7)
    snapshot = changed(healthy, "etcd-0", daemons=(down,))
    snapshot = changed(snapshot, "etcd-1", daemons=(failed,))
    snapshot = changed(snapshot, "etcd-2", daemons=(slow,))
    text = "\n".join(render(status.status(snapshot, live(160)), 160))
    assert "✗ not ready  11 nodes · 17 of 20 daemons ready" in text
    assert "○ etcd down" in text
    assert "✗ etcd failed ↻3" in text
    assert "◐ etcd up" in text


def test_a_machine_that_is_off_tells_no_truths(healthy: Snapshot, render: Any) -> None:
    lines = render(status.status(changed(healthy, "etcd-1", state="stopped", wired=False), live(160)), 160)
    (row,) = [line for line in lines if line.startswith("etcd-1")]
    assert "stopped" in row
    assert "leader" not in row
    assert "unwired" not in row
    assert "10 of 11 nodes running" in lines[0]


def test_an_unwired_node_says_why_even_on_narrow_paper(healthy: Snapshot, render: Any) -> None:
    snapshot = changed(healthy, "etcd-1", wired=False, problem="its address answers elsewhere")
    (row,) = [line for line in render(status.status(snapshot, live(80)), 80) if line.startswith("etcd-1")]
    assert row == "etcd-1               172.17.1.2   unwired  its address answers elsewhere"


def test_a_problem_of_all_nodes_is_said_once(healthy: Snapshot, render: Any) -> None:
    nodes = tuple(replace(node, wired=False, problem="the lab's switch is not running") for node in healthy.nodes)
    lines = render(status.status(replace(healthy, ready=False, nodes=nodes), live(100)), 100)
    assert [line for line in lines if "switch" in line] == ["✗ the lab's switch is not running"]
    assert "0 of 11 nodes wired" in lines[0]


def test_an_unmet_requirement_says_what_is_seen(healthy: Snapshot, render: Any) -> None:
    unmet = (Requirement("3 etcd members, one leader", False, "2 of 3 members, one leader"), *healthy.requirements[1:])
    lines = render(status.status(replace(healthy, ready=False, requirements=unmet), live(80)), 80)
    assert "✗ 3 etcd members, one leader: 2 of 3 members, one leader" in lines


def test_wide_has_a_line_for_each_daemon(healthy: Snapshot, render: Any) -> None:
    lines = render(wide(healthy, PLAIN, now=1_065.0))
    assert lines[1].split() == [
        "NODE",
        "ROLE",
        "ADDRESS",
        "MAC",
        "STATE",
        "WIRE",
        "DAEMON",
        "PID",
        "RESTARTS",
        "SINCE",
        "TRUTH",
    ]
    assert lines[2].split() == [
        *("etcd-0", "etcd", "172.17.1.1", "02:0c:ac:11:01:01", "running", "wired"),
        *("✓", "etcd", "42", "0", "1m", "follower,", "term", "4"),
    ]
    assert len([line for line in lines if " 42 " in line]) == 20


@pytest.mark.parametrize(("width", "gone"), [(200, ""), (150, "ROLE"), (130, "MAC"), (120, "PID")])
def test_wide_does_without_some_columns_on_a_terminal_that_is_not(
    healthy: Snapshot, render: Any, width: int, gone: str
) -> None:
    lines = render(wide(healthy, live(width), now=1_065.0), width)
    assert not gone or gone not in lines[1].split()
    assert {"NODE", "ADDRESS", "STATE", "DAEMON", "RESTARTS", "SINCE", "TRUTH"} <= set(lines[1].split())
    assert "…" not in "".join(lines)


def test_another_topology_name_stands_beside_the_lab(healthy: Snapshot, render: Any) -> None:
    assert render(status.status(replace(healthy, lab="demo")))[0].startswith("demo (k8s-mesos)  ✓ ready")


def test_without_unicode_the_signs_are_ascii(healthy: Snapshot, render: Any) -> None:
    assert symbols_for("ascii") is ASCII
    assert symbols_for("utf-8") is UNICODE
    lines = render(status.status(healthy, Look(80, 24, ASCII, live=True)), 80)
    "\n".join(lines).encode("ascii")


def test_a_frame_shows_the_last_picture_and_the_trouble(healthy: Snapshot, render: Any) -> None:
    trouble = EngineUnreachable("Its socket is there, but nothing listens: the engine has stopped.")
    lines = render(frame(healthy, trouble, live(100), now=20.0, since=15.0), 100)
    assert lines[0].startswith("k8s-mesos  ✓ ready")
    assert lines[-1].startswith("✗ The Docker Engine does not answer.")
    assert len(lines[-1]) <= 100


def test_a_frame_of_a_large_lab_fits_the_terminal_and_keeps_what_is_broken(healthy: Snapshot, render: Any) -> None:
    one = healthy.nodes[0]
    many: list[NodeStatus] = [replace(one, name=f"etcd-{index}") for index in range(100)]
    many[77] = replace(many[77], state="stopped", wired=False)
    lines = render(frame(replace(healthy, nodes=tuple(many)), None, live(100, 24), now=0.0, since=0.0), 100)
    assert len(lines) <= 23
    assert any(line.startswith("etcd-77") for line in lines)
    assert any(line.startswith("… and ") for line in lines)


def test_each_unwired_node_says_why_while_others_are_wired(healthy: Snapshot, render: Any) -> None:
    snapshot = healthy
    for name in ("etcd-0", "etcd-1"):
        snapshot = changed(snapshot, name, wired=False, problem="its wire is gone")
    for lines in (render(status.status(snapshot, PLAIN)), render(wide(snapshot, PLAIN, now=1_065.0))):
        assert [line.split()[0] for line in lines if "its wire is gone" in line] == ["etcd-0", "etcd-1"]
        assert any("its wire is gone · leader" in line or "its wire is gone · follower" in line for line in lines)
