"""docs/roadmap.md, typed as it stands: every command of every row and of every block, and what the page says of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import ROOT, k8slab, until

PAGE = (ROOT / "docs" / "roadmap.md").read_text()
TYPED: set[str] = set()
MINIONS = {f"kubernetes-minion-{number}" for number in range(4)}
RACKS = "k8s.mesosphere.io/attribute-rack"


def commands(title: str) -> list[str]:
    """Those of the row of that title, in the order of the page."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {title} |")]
    return [code for code in re.findall(r"`([^`]+)`", row.split("|")[4]) if code.startswith(("curl ", "k8slab "))]


def block(heading: str) -> list[str]:
    """The commands of the block below that heading, without the words on what one sees."""
    below = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [re.split(r"  +#", line.strip())[0] for line in below.splitlines() if line.startswith("    ")]


def all_commands() -> set[str]:
    titles = re.findall(r"^\| ([^|]+) \| [✓·] \|", PAGE, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    return {one for title in titles for one in commands(title)} | {one for title in headings for one in block(title)}


def said(command: str, *, fails: bool | None = False) -> str:
    """Typed into a shell as the page says to prepare it; with ``fails`` None it may do so or not."""
    TYPED.add(command)
    script = f'eval "$(k8slab env)"; URL=$KUBERNETES_MASTER/api/v1beta1\n{command}'
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, cwd=ROOT, env={**os.environ, "PATH": path}
    )
    assert fails in (None, ran.returncode != 0), (command, ran.returncode, ran.stdout, ran.stderr)
    return ran.stdout + ran.stderr if fails else ran.stdout


def shows(command: str, *words: str, within: float = 40) -> str:
    return until(
        f"{command}: {words}", lambda: (out := said(command)) and all(w in out for w in words) and out, within=within
    )


def of_nodes(wide: str) -> Counter[str]:
    """How many Running pods `get pods -o wide` shows on each node."""
    lines = [line.split() for line in wide.splitlines()]
    return Counter(word for line in lines if "Running" in line for word in line if re.fullmatch(r"\S+-\d+", word))


@pytest.fixture(scope="module", autouse=True)
def hermetic() -> None:
    os.environ.setdefault("K8SLAB_SET", "egress=false")


@pytest.fixture(scope="class")
def servicehost() -> Iterator[None]:
    k8slab("run", "servicehost")
    yield
    k8slab("rm", "--lab", "servicehost")


@pytest.fixture(scope="class")
def minions() -> Iterator[None]:
    k8slab("run")
    yield
    k8slab("rm", "--lab", "k8s-mesos")


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("servicehost")
class TestOneHost:
    def test_launching_pods(self) -> None:
        create, listing = commands("Launching pods (on local machine)")
        assert json.loads(said(create))["id"] == "nginx-id-01"
        until(
            "the pod runs",
            lambda: [one["currentState"]["status"] for one in json.loads(said(listing))["items"]] == ["Running"],
            within=40,
        )

    def test_the_scheduler_api(self) -> None:
        events, node = commands("– Implement Kube-scheduler API")
        (scheduled,) = [line for line in said(events).splitlines() if " Scheduled " in line]
        assert "k8sm-scheduler" in scheduled
        assert said(node) in ("slave-0", "slave-1")

    def test_a_pod_is_matched_to_an_offer(self) -> None:
        logs, agents = commands("– Pick a Pod (FCFS), match it to an offer")
        assert re.search(r"pod default/nginx-id-01 goes to slave-[01]", said(logs))
        shows(agents, "slave-0", "slave-1")

    def test_first_come_first_served(self) -> None:
        kill, one, two, three, start, logs, delete = block("First come, first served")
        for line in (kill, one, two, three, start):
            said(line)
        shows(logs, *(f"pod default/{name} goes to" for name in ("one", "two", "three")))
        order = re.findall(r"pod default/(one|two|three) goes to", said(logs))
        assert order == ["one", "two", "three"]
        said(delete)

    def test_it_is_launched_as_a_task(self) -> None:
        (tasks,) = commands("– Launch it!")
        (task,) = [one for one in json.loads(said(tasks))["tasks"] if one["name"] == "nginx-id-01.default.pod"]
        assert task["state"] == "TASK_RUNNING"

    def test_the_executor_is_a_kubelet(self) -> None:
        tree, containers = commands("– Kubelet as Executor+Containerizer")
        node = said(commands("– Implement Kube-scheduler API")[1])
        lines = said(tree.replace("slave-0", node)).splitlines()
        (agent,) = [number for number, line in enumerate(lines) if "mesos-slave --master=" in line]
        (executor,) = [n for n, line in enumerate(lines) if "bin/k8sm-executor --api-servers=" in line and n > agent]
        assert lines[executor].index("\\_") > 0
        assert "k8s_nginx-01_nginx-id-01_" in said(containers.replace("slave-0", node))
        TYPED.update((tree, containers))

    def test_replication_control(self) -> None:
        create, listing, delete = commands("Replication Control")
        said(create)

        def two() -> set[str] | None:
            lines = [line.split() for line in said(listing).splitlines() if line.startswith("pod/nginxcontroller-")]
            names = {line[0] for line in lines if "Running" in line}
            spread = {word for line in lines for word in line if word.startswith("slave-")}
            return names if len(lines) == len(names) == len(spread) == 2 else None

        first = until("two pods on two slaves", two, within=40)
        said(delete)
        until("two others", lambda: (now := two()) and not now & first, within=60)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("minions")
class TestManyMinions:
    def test_each_node_is_a_machine(self) -> None:
        status, nodes, _more = commands("Running multi-node on GCE")
        assert set(re.findall(r"kubernetes-minion-\d", said(status))) == MINIONS
        ready = [line.split() for line in said(nodes).splitlines() if " Ready " in line]
        assert {line[0] for line in ready} == MINIONS
        assert {line[5] for line in ready} == {f"172.17.1.{last}" for last in range(8, 12)}

    def test_labels(self) -> None:
        deploy, expose, pods, endpoints, curl, delete = block("Labels")
        said(deploy), said(expose)
        until("one runs on each minion", lambda: of_nodes(said(pods)) == dict.fromkeys(MINIONS, 1), within=40)
        until("three addresses and one more", lambda: "+ 1 more" in said(endpoints), within=20)
        until("the minion's rules lead there", lambda: said(curl, fails=None), within=20)
        answered: set[str] = set()
        until("two of them answer", lambda: answered.add(said(curl)) or len(answered) >= 2, within=40)
        said(delete)

    def test_resource_shapes(self) -> None:
        create, pods, describe, agents, delete = block("Resource shapes")
        said(create)
        until("two run", lambda: sum(of_nodes(said(pods)).values()) == 2, within=40)
        shows(describe, "FailedScheduling", "cpu")
        assert set(re.findall(r"kubernetes-minion-\d", said(agents))) >= MINIONS
        said(delete)

    def test_marathon_like_scheduling(self) -> None:
        create, pods, five, describe, four, broken, stuck, undo, healed, delete = block("Marathon-like scheduling")
        said(create)
        until("one on each minion", lambda: of_nodes(said(pods)) == dict.fromkeys(MINIONS, 1), within=60)
        racks = json.loads(k8slab("kubectl", "get", "nodes", "-o", "json").out)["items"]
        assert Counter(node["metadata"]["labels"][RACKS] for node in racks).most_common()[0][1] == 2
        said(five)
        shows(describe, "FailedScheduling")
        assert sum(of_nodes(said(pods)).values()) == 4
        said(four)
        said(broken)
        assert "timed out" in said(stuck, fails=True)
        until("three go on", lambda: sum(of_nodes(said(pods)).values()) == 3, within=20)
        said(undo)
        assert "successfully rolled out" in said(healed)
        said(delete)

    def test_more_minions(self) -> None:
        more = commands("Running multi-node on GCE")[2]
        before = os.environ["K8SLAB_SET"]
        said(more)
        assert before == os.environ["K8SLAB_SET"]
        nodes = commands("Running multi-node on GCE")[1]
        until("eight are Ready", lambda: said(nodes).count(" Ready ") == 8, within=60)


def test_nothing_of_the_page_was_left_out() -> None:
    assert all_commands() <= TYPED
