from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from k8slab.errors import DaemonFailed
from k8slab.snapshot import Change, Phase, Timings
from k8slab.topology import store
from k8slab.view import changes, env, graph, manual, topologies, words
from k8slab.view.build import Builds, advanced, bars, built, news
from k8slab.view.doctor import checks, checks_json
from k8slab.view.errors import error
from k8slab.view.look import ASCII, UNICODE, Look
from k8slab.view.next import next_steps


@pytest.mark.parametrize(
    ("value", "said"), [(0.04, "0.0 s"), (9.9, "9.9 s"), (9.96, "10 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_seconds(value: float, said: str) -> None:
    assert words.seconds(value) == said


@pytest.mark.parametrize(("value", "said"), [(-1, "0s"), (59, "59s"), (61, "1m"), (12_000, "3h20m"), (446_400, "5d4h")])
def test_age(value: float, said: str) -> None:
    assert words.age(value) == said


def test_names_in_a_row_are_folded() -> None:
    assert (
        words.folded(["etcd-0", "etcd-1", "etcd-2", "kubernetes-mesos", "web-3"]) == "etcd-0…2, kubernetes-mesos, web-3"
    )
    assert words.folded(["etcd-0", "etcd-2"], ASCII) == "etcd-0, etcd-2"
    assert words.folded(["etcd-2", "switch", "etcd-0", "etcd-1"]) == "etcd-0…2, switch"
    assert words.folded(["a-0/zk", "a-1/zk", "a-0/mm"]) == "zk on a-0…1; mm on a-0"


def test_a_repair_names_what_it_repaired(render: Any) -> None:
    done = [
        Change("created", "etcd-1", "it is missing"),
        Change("wired", "etcd-1"),
        Change("started", "etcd-1/etcd"),
        Change("started", "mesos-master-0/zookeeper", "it is down"),
        Change("started", "mesos-master-1/zookeeper", "it is down"),
    ]
    assert render(changes.changes(done)) == [
        "created  etcd-1  (it is missing)",
        "wired    etcd-1",
        "started  etcd on etcd-1",
        "started  zookeeper on mesos-master-0…1  (each: it is down)",
    ]


def test_a_run_tells_its_phases_or_that_there_was_nothing(render: Any) -> None:
    timings = Timings((Phase("nodes", 1.2), Phase("wires", 1.9)), 7.1)
    text = "\n".join(render(changes.run_summary("k8s-mesos", [Change("wired", "etcd-1")], timings)))
    assert "7.1 s in all  (nodes 1.2 s · wires 1.9 s)" in text
    assert "Nothing to do: lab k8s-mesos is up." in render(changes.run_summary("k8s-mesos", [], timings))[0]


def test_what_was_removed_is_told_by_kind(render: Any) -> None:
    done = [Change("removed", name) for name in ("etcd-0", "etcd-1", "switch", "bridge k8slab0", "wire k0", "wire k1")]
    done += [Change("removed", f"volume v{number}") for number in range(6)]
    assert render(changes.removed(done, "k8s-mesos")) == [
        "Removed lab k8s-mesos:",
        "3 containers  etcd-0…1, switch",
        "1 bridge      k8slab0",
        "2 wires       k0, k1",
        "6 volumes     v0, v1, v2, v3 …",
    ]
    assert render(changes.removed([], "k8s-mesos")) == ["Nothing of lab k8s-mesos was there to remove."]


def test_an_error_says_what_why_and_what_to_do(render: Any) -> None:
    failure = DaemonFailed("etcd-0", "etcd", "It died.", "line 1\nline 2\n")
    lines = render(error(failure), 100)
    assert lines[0] == "✗ etcd on etcd-0 did not come up."
    assert lines[1] == "  It died."
    assert lines[2].startswith("  `k8slab logs etcd-0/etcd` has its whole log")
    assert lines[-2:] == ["line 1", "line 2"]


@dataclass(frozen=True)
class FakeCheck:
    name: str
    level: str
    text: str
    remedy: str = ""


def test_checks_have_a_sign_and_a_remedy(render: Any) -> None:
    found = [FakeCheck("engine", "ok", "Docker 24"), FakeCheck("images", "fail", "Not built.", "Run `k8slab build`.")]
    assert render(checks(found)) == [
        "✓  engine  Docker 24",
        "✗  images  Not built.",
        "           Run `k8slab build`.",
        "1 check failed: a lab cannot run here yet.",
    ]
    assert checks_json(found)["ok"] is False


@dataclass(frozen=True)
class FakeBuild:
    image: str
    step: int
    steps: int
    text: str
    fraction: float | None = None
    seconds: float = 0.0
    state: str = "building"


def test_a_build_has_a_bar_for_each_image_and_news_for_a_pipe(render: Any) -> None:
    builds = Builds()
    first = FakeBuild("k8slab/etcd", 1, 2, "installing etcd", 0.5, 3.0)
    assert news(builds, first, UNICODE) == "k8slab/etcd: 1/2 installing etcd"
    builds = advanced(builds, first, at=10.0)
    assert news(builds, FakeBuild("k8slab/etcd", 1, 2, "installing etcd", 0.6), UNICODE) == ""
    assert builds.images["k8slab/etcd"].share == 0.25
    lines = render(bars(builds, Look(100, 24, UNICODE, live=True), now=12.0), 100)
    assert "k8slab/etcd" in lines[1]
    assert lines[1].endswith("5.0 s")
    done = FakeBuild("k8slab/etcd", 2, 2, "built", 1.0, 6.0, "built")
    assert news(builds, done, UNICODE) == "k8slab/etcd: ✓ built, 6.0 s"


@dataclass(frozen=True)
class FakeBuilt:
    image: str
    size: int
    seconds: float
    state: str
    origin: str = ""


def test_images_that_are_there_are_listed_with_their_size(render: Any) -> None:
    lines = render(
        built([FakeBuilt("k8slab/etcd", 280_000_000, 6.0, "built"), FakeBuilt("k8slab/pause:1", 7, 0, "current")])
    )
    assert lines[1].split() == ["k8slab/etcd", "✓", "built", "280", "MB", "6.0", "s"]
    assert lines[2].split() == ["k8slab/pause:1", "✓", "current", "0", "MB", "-"]


def test_variables_are_quoted_for_the_shell_that_reads_them() -> None:
    variables = {"A": "plain", "B": "it's $HOME"}
    assert env.exports(variables, "zsh") == "export A=plain\nexport B='it'\"'\"'s $HOME'"
    assert env.exports(variables, "fish") == "set -gx A 'plain';\nset -gx B 'it\\'s $HOME';"


def test_the_graph_draws_every_need(render: Any) -> None:
    topology = store.load()
    assert "  zookeeper --> mesos_master" in graph.mermaid(topology).splitlines()
    assert '  "etcd" -> "apiserver";' in graph.dot(topology).splitlines()
    lines = render(graph.tree(topology))
    assert "├── stage 1" in lines
    assert any("apiserver on kubernetes-mesos  after etcd" in line for line in lines)


def test_manual_lines_are_left_as_they_are() -> None:
    topology = store.load()
    daemon = next(topology.daemons)
    long = "etcd " + "x" * 300
    heading = "# etcd on etcd-0, in `k8slab shell etcd-0`:"
    assert manual.manual([(daemon, long)] * 2, topology) == f"{heading}\n{long}\n\n{heading}\n{long}"


def test_a_topology_is_shown_with_its_addresses(render: Any) -> None:
    lines = render(topologies.shown(store.load()))
    assert any(line.split()[:3] == ["etcd-0", "etcd", "172.17.1.1"] for line in lines)
    assert render(topologies.valid(store.load())) == ["✓ k8s-mesos is valid: 11 nodes, 20 daemons."]


def test_very_many_changes_are_counted(render: Any) -> None:
    done = [Change("created", f"etcd-{number}", "it is missing") for number in range(11)]
    done += [Change("started", f"etcd-{number}/etcd") for number in range(20)]
    assert render(changes.changes(done)) == ["created  11 nodes  (each: it is missing)", "started  20 daemons"]


def test_what_to_do_next_names_another_lab_and_fits(render: Any) -> None:
    demo, manifest = store.load(lab="demo"), "topologies/k8s-mesos/nginx.yaml"
    lines = render(next_steps(demo, Look(90), manifest=manifest), 90)
    assert lines[1] == "  k8slab kubectl --lab demo create -f topologies/k8s-mesos/nginx.yaml  # a first pod"
    assert lines[2].split() == ["k8slab", "kill", "--lab", "demo", "etcd", "#", "who", "minds?"]
    assert render(next_steps(demo, Look(80), manifest=manifest), 80)[2] == "  k8slab kill --lab demo etcd"


def test_a_first_pod_in_the_words_of_the_first_version_is_created_by_curl(render: Any) -> None:
    lines = render(next_steps(store.load("servicehost"), manifest="pod-nginx.json"))
    assert lines[1].split("  #")[0].strip() == (
        "curl -L http://10.132.189.241:8888/api/v1beta1/pods -XPOST -d @pod-nginx.json"
    )


def test_an_error_is_no_markup(render: Any) -> None:
    failure = DaemonFailed("etcd-0", "etcd", "it said [/b and [a-z]", "[/b]\n[a-z]")
    lines = render(error(failure))
    assert lines[1].strip() == "it said [/b and [a-z]"
    assert lines[-2:] == ["[/b]", "[a-z]"]
