from __future__ import annotations

from typing import Any

import pytest

from k8slab.view import mesos
from k8slab.view.look import ENDLESS, PLAIN, UNICODE, Look
from k8slab.view.mesos_cluster import Cluster, Resources, Share, read, read_master

NOW = 10_000.0


def resources(cpus: float = 0.0, mem: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"cpus": cpus, "gpus": 0.0, "mem": mem, "disk": 0.0, **more}


def task(task_id: str, state: str, agent: int, when: float, cpus: float = 0.5) -> dict[str, Any]:
    return {
        "id": task_id,
        "name": task_id.partition(".")[0],
        "executor_id": "",
        "slave_id": f"S{agent}",
        "state": state,
        "resources": resources(cpus, 128),
        "statuses": [{"state": state, "timestamp": when}],
    }


def framework(number: int, name: str, *, cpus: float, mem: float, tasks: list[Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": f"m-000{number}",
        "name": name,
        "role": "*",
        "active": True,
        "connected": True,
        "used_resources": resources(cpus, mem),
        "offered_resources": resources(),
        "tasks": tasks,
        "completed_tasks": [],
        "unreachable_tasks": [],
        "offers": [],
        **fields,
    }


STATE = {
    "cluster": "k8s-mesos",
    "pid": "master@172.17.1.5:5050",
    "elected_time": NOW - 61,
    "version": "1.11.0",
    "slaves": [
        {
            "id": f"S{number}",
            "hostname": f"kubernetes-minion-{number}",
            "pid": f"slave(1)@172.17.1.{8 + number}:5051",
            "active": number != 1,
            "resources": resources(4, 4096, ports="[31000-32000]"),
            "used_resources": resources(1, 1024),
            "offered_resources": resources(),
            "attributes": {"rack": f"r{number}"},
        }
        for number in (1, 0)
    ],
    "frameworks": [
        framework(0, "Kubernetes", cpus=0.8, mem=1024, tasks=[task("pod.1", "TASK_RUNNING", 0, NOW - 30)]),
        framework(
            1,
            "batch",
            cpus=2,
            mem=256,
            role="batch",
            tasks=[task("job-7", "TASK_STAGING", 1, NOW - 5), task("job-8", "TASK_RUNNING", 0, NOW - 3)],
            completed_tasks=[task("job-1", "TASK_FINISHED", 0, NOW - 200), task("job-2", "TASK_FAILED", 0, NOW - 100)],
            offers=[{"id": "m-O5", "slave_id": "S0", "resources": resources(2, 512, ports="[31000-31009]")}],
            offered_resources=resources(2, 512),
        ),
    ],
}


@pytest.fixture
def cluster() -> Cluster:
    masters = [
        read_master("mesos-master-0", "172.17.1.4:5050", None, standby=True),
        read_master("mesos-master-1", "172.17.1.5:5050", STATE, standby=False),
        read_master("mesos-master-2", "172.17.1.6:5050", None, standby=False),
    ]
    return read(STATE, masters, {"batch": 2.0})


def test_the_share_is_that_of_the_resource_most_is_taken_of(cluster: Cluster) -> None:
    kubernetes, batch = cluster.frameworks
    assert (kubernetes.share, batch.share) == (Share(0.125, "mem"), Share(0.25, "cpus"))
    assert batch.allocated_share == Share(0.5, "cpus")
    assert Share.of(Resources(), Resources(cpus=1)) == Share(0.0, "")
    assert Share.of(Resources(cpus=1), Resources()) == Share(0.0, "")


def test_frameworks_with_their_shares(cluster: Cluster, render: Any) -> None:
    assert render(mesos.shown(cluster, "frameworks", now=NOW)) == [
        "FRAMEWORK   ROLE       STATE   CPUS   MEM  SHARE  OF    TASKS  OFFERS  ID",
        "Kubernetes  *          active   0.8  1.0G  12.5%  mem       1       0  m-0000",
        "batch       batch (2)  active     2  256M  25.0%  cpus      2       1  m-0001",
    ]


def test_agents_by_name(cluster: Cluster, render: Any) -> None:
    assert render(mesos.shown(cluster, "agents", now=NOW)) == [
        "AGENT                ADDRESS          STATE   CPUS        MEM  TASKS  ATTRIBUTES",
        "kubernetes-minion-0  172.17.1.8:5051  active   1/4  1.0G/4.0G      2  rack=r0",
        "kubernetes-minion-1  172.17.1.9:5051  away     1/4  1.0G/4.0G      1  rack=r1",
    ]


def test_tasks_that_live_come_first_and_newest_first(cluster: Cluster, render: Any) -> None:
    assert render(mesos.shown(cluster, "tasks", now=NOW)) == [
        "TASK   FRAMEWORK   STATE     AGENT                CPUS   MEM  AGE",
        "job-8  batch       running   kubernetes-minion-0   0.5  128M   3s",
        "job-7  batch       staging   kubernetes-minion-1   0.5  128M   5s",
        "pod.1  Kubernetes  running   kubernetes-minion-0   0.5  128M  30s",
        "job-2  batch       failed    kubernetes-minion-0   0.5  128M   1m",
        "job-1  batch       finished  kubernetes-minion-0   0.5  128M   3m",
    ]


def test_masters_and_offers(cluster: Cluster, render: Any) -> None:
    assert render(mesos.shown(cluster, "masters", now=NOW))[1:] == [
        "mesos-master-0  172.17.1.4:5050  standby  -        -",
        "mesos-master-1  172.17.1.5:5050  leading  1m ago   1.11.0",
        "mesos-master-2  172.17.1.6:5050  down     -        -",
    ]
    assert render(mesos.shown(cluster, "offers", now=NOW)) == [
        "OFFER  FRAMEWORK  AGENT                CPUS   MEM  PORTS",
        "m-O5   batch      kubernetes-minion-0     2  512M  [31000-31009]",
    ]


def test_the_overview_has_everything_but_single_tasks(cluster: Cluster, render: Any) -> None:
    lines = render(mesos.overview(cluster, now=NOW))
    assert lines[0] == "k8s-mesos  2 of 8 cpus · 2.0G of 8.0G · 2 agents · 1 offer"
    assert lines[-1] == "tasks: 2 running, 1 staging, 1 failed, 1 finished"
    assert not any("job-" in line for line in lines)


@pytest.mark.parametrize("kind", mesos.KINDS)
def test_an_empty_cluster_says_so(render: Any, kind: Any) -> None:
    assert render(mesos.shown(read({}), kind, now=NOW)) == [f"No {kind}."]


@pytest.mark.parametrize("width", [80, 120, ENDLESS])
def test_no_line_is_wider_than_the_paper(cluster: Cluster, render: Any, width: int) -> None:
    look = Look(width, 24, UNICODE, live=True)
    lines = render(mesos.overview(cluster, look, now=NOW), min(width, 400))
    assert all(len(line) <= width for line in lines)


def test_json_has_a_schema_and_the_kinds_asked_for(cluster: Cluster) -> None:
    form = mesos.as_json(cluster, ["frameworks"])
    assert (form["schema"], form["cluster"], sorted(form)) == (1, "k8s-mesos", ["cluster", "frameworks", "schema"])
    assert form["frameworks"][1] == {
        "id": "m-0001",
        "name": "batch",
        "roles": ["batch"],
        "weight": 2.0,
        "active": True,
        "connected": True,
        "used": {"cpus": 2.0, "mem": 256.0, "disk": 0.0, "gpus": 0.0},
        "offered": {"cpus": 2.0, "mem": 512.0, "disk": 0.0, "gpus": 0.0},
        "share": 0.25,
        "dominant": "cpus",
        "allocated_share": 0.5,
        "tasks": 2,
        "offers": 1,
    }
    whole = mesos.as_json(cluster, mesos.KINDS)
    assert [master["state"] for master in whole["masters"]] == ["standby", "leading", "down"]
    assert [one["id"] for one in whole["tasks"]] == ["job-8", "job-7", "pod.1", "job-2", "job-1"]


def test_what_becomes_of_a_task_is_said_in_a_line() -> None:
    def said(state: str, **fields: Any) -> str:
        return mesos.progress("hi.1", {"state": state, **fields}).plain

    assert said("TASK_RUNNING", message="up") == "hi.1 running"
    lost = said("TASK_LOST", reason="REASON_AGENT_REMOVED", message="Agent a unregistered")
    assert lost == "hi.1 lost (agent removed: Agent a unregistered)"
    assert mesos.ended("hi.1", {"state": "TASK_FINISHED"}, PLAIN).plain == "✓ hi.1: TASK_FINISHED"
    failed = {"state": "TASK_FAILED", "message": "Command exited with status 3"}
    assert mesos.ended("hi.1", failed).plain == "✗ hi.1: TASK_FAILED: Command exited with status 3"
    assert mesos.ended("hi.1", None).plain == "✗ hi.1 was not seen to its end"


ID = "2898dfc2-8cb4-48d3-b650-ae2e96e637d3"


def test_on_narrow_paper_long_names_go_on_in_the_next_line_and_nothing_is_lost(render: Any) -> None:
    amounts = {"cpus": 1.0, "mem": 2000, "ports": "[31000-31005, 31007-31100, 31200-32000]"}
    host, rack = "kubernetes-minion-0", "a-very-long-name-of-a-rack-that-goes-on"
    slave = {"id": f"{ID}-S0", "hostname": host, "pid": "slave(1)@172.17.1.8:5051", "resources": amounts}
    offer = {"id": f"{ID}-O12", "slave_id": f"{ID}-S0", "resources": amounts}
    task = {"id": f"kubernetes.pod-with-a-name.{ID}", "name": "pod", "slave_id": f"{ID}-S0", "state": "TASK_RUNNING"}
    framework = {"id": f"{ID}-0000", "name": "Kubernetes", "offers": [offer], "tasks": [task], "role": "*"}
    cluster = read({"slaves": [{**slave, "attributes": {"rack": rack}}], "frameworks": [framework]})
    for kind, whole in {
        "agents": ["AGENT", "172.17.1.8:5051", "CPUS", "0/1", "TASKS", "away"],
        "frameworks": ["FRAMEWORK", "Kubernetes", "STATE", "SHARE", "OFFERS"],
        "tasks": ["TASK", "STATE", "running", "AGE"],
        "offers": ["OFFER", "CPUS", "2.0G"],
    }.items():
        lines = render(mesos.shown(cluster, kind, now=NOW), 80)
        assert all(len(line) <= 80 for line in lines)
        for word in whole:
            assert word in "\n".join(lines), (kind, lines)
        assert not any("…" in line for line in lines), (kind, lines)
