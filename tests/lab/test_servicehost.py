"""The framework's first pages, typed as they stand: one host, slaves beside it, curl."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import ROOT, Done, daemons_of, k8slab, nodes_of, until
from leftovers import ground

EXAMPLES = ROOT / "topologies" / "servicehost"
LAB = "firstpages"


def lab(verb: str, *words: str, check: bool = True) -> Done:
    return k8slab(verb, "--lab", LAB, *words, check=check)


def curl(*words: str) -> dict[str, Any]:
    ran = subprocess.run(["curl", "-sSL", *words], capture_output=True, text=True, timeout=30, check=True)
    return dict(json.loads(ran.stdout))


@pytest.fixture(scope="module")
def servicehost(hermetic: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The lab, up and whole; when the module's tests are done it goes, and leaves nothing."""
    home = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        before = ground(home)
        try:
            yield k8slab("run", "servicehost", "--lab", LAB, "-o", "json").json
        finally:
            lab("rm")
        until("nothing is left", lambda: not ground(home).beyond(before), within=5)


@pytest.fixture
def master(servicehost: dict[str, Any]) -> str:
    """KUBERNETES_MASTER, as `k8slab env` exports it."""
    found: dict[str, str] = lab("env", "-o", "json").json["environment"]
    return found["KUBERNETES_MASTER"]


def test_one_host_has_it_all(servicehost: dict[str, Any]) -> None:
    assert servicehost["ready"]
    truths = {target: one["truth"] for target, one in daemons_of(servicehost).items()}
    assert truths["servicehost/etcd"]["leader"]
    assert (truths["servicehost/mesos-master"]["leading"], truths["servicehost/mesos-master"]["agents"]) == (True, 2)
    assert truths["servicehost/apiserver"]["nodes_ready"] == 2
    assert truths["servicehost/scheduler"]["framework"] == "Kubernetes"
    assert all(truths[f"slave-{number}/mesos-slave"]["registered"] for number in range(2))


def test_the_manual_has_the_pages_flags(servicehost: dict[str, Any]) -> None:
    host = nodes_of(servicehost)["servicehost"]["address"]
    said = lab("manual", "api", "sd", "cm").out
    for flag in (
        f"-etcd_servers=http://{host}:4001",
        "-portal_net=10.10.10.0/24",
        "-port=8888",
        "-cloud_provider=mesos",
        "-health_check_minions=false",
        "-executor_path=/usr/local/bin/k8sm-executor",
        "-proxy_path=/usr/local/bin/kube-proxy",
        "-mesos_user=root",
        f"-api_servers={host}:8888",
        f"-mesos_master={host}:5050",
        "-v=2",
    ):
        assert flag in said, flag


def test_the_pages_pod_by_curl(servicehost: dict[str, Any], master: str) -> None:
    pods = f"{master}/api/v1beta1/pods"
    made = curl(pods, "-XPOST", "-d", f"@{EXAMPLES / 'pod-nginx.json'}")
    assert (made["kind"], made["id"], made["desiredState"]["status"]) == ("Pod", "nginx-id-01", "Running")

    def running() -> dict[str, Any] | None:
        (seen,) = [one for one in curl(pods)["items"] if one["id"] == "nginx-id-01"]
        return seen if seen["currentState"]["status"] == "Running" else None

    try:
        seen = until("the pod runs", running, within=30)
        host = seen["currentState"]["host"]
        assert seen["labels"] == {"name": "foo"}
        address = nodes_of(servicehost)[host]["address"]
        with urllib.request.urlopen(f"http://{address}:31000/", timeout=5) as page:
            assert "Welcome to nginx" in page.read().decode()
        listed = lab("exec", host, "--", "docker", "ps", "--format", "{{.Names}} {{.Ports}}").out.splitlines()
        (pause,) = [line for line in listed if line.startswith("k8s_POD_nginx-id-01_")]
        assert "0.0.0.0:31000->80/tcp" in pause
        assert any(line.startswith("k8s_nginx-01_nginx-id-01_") for line in listed)
        assert_is_a_task_of_the_framework(host)
    finally:
        curl(f"{pods}/nginx-id-01", "-XDELETE")


def assert_is_a_task_of_the_framework(host: str) -> None:
    """Bound by the scheduler, a task of Mesos, run by the executor that the slave started."""
    events = lab("kubectl", "get", "events", "-o", "json").json["items"]
    (scheduled,) = [one for one in events if one["reason"] == "Scheduled"]
    assert scheduled["source"]["component"] == "k8sm-scheduler"
    assert host in scheduled["message"]
    tasks = k8slab("mesos", "--lab", LAB, "tasks", "-o", "json").json["tasks"]
    (task,) = [one for one in tasks if one["name"] == "nginx-id-01.default.pod"]
    assert task["state"] == "TASK_RUNNING"
    processes = {}
    for line in lab("exec", host, "--", "ps", "-eo", "pid=,ppid=,args=").out.splitlines():
        pid, parent, command = line.split(None, 2)
        processes[pid] = (parent, command)
    (executor,) = [pid for pid, (_, command) in processes.items() if "bin/k8sm-executor --api-servers=" in command]
    above = []
    while executor in processes:
        executor, command = processes[executor]
        above.append(command)
    assert any("mesos-slave --master=" in command for command in above), above


def test_the_pages_controller_by_curl(master: str) -> None:
    controllers = f"{master}/api/v1beta1/replicationControllers"
    curl(controllers, "-XPOST", "-d", f"@{EXAMPLES / 'controller-nginx.json'}")

    def hosts() -> list[str] | None:
        pods = [one for one in curl(f"{master}/api/v1beta1/pods")["items"] if one["labels"] == {"name": "nginx"}]
        running = [one["currentState"]["host"] for one in pods if one["currentState"]["status"] == "Running"]
        return sorted(running) if len(pods) == len(running) == 2 else None

    try:
        # Both want port 31001 of a slave: there is one for each.
        assert until("both pods run", hosts, within=40) == ["slave-0", "slave-1"]
        listed = curl(controllers)
        assert listed["kind"] == "ReplicationControllerList"
        (shown,) = listed["items"]
        assert (shown["id"], shown["labels"]) == ("nginxController", {"name": "nginx"})
        wanted = shown["desiredState"]
        assert (wanted["replicas"], wanted["replicaSelector"]) == (2, {"name": "nginx"})
        assert shown["currentState"]["replicas"] == 2
        (container,) = wanted["podTemplate"]["desiredState"]["manifest"]["containers"]
        assert container["ports"] == [{"containerPort": 80, "hostPort": 31001, "protocol": "TCP"}]
        assert_more_than_there_are_ports_wait_and_say_why()
        scale(2)
        assert until("two are left, and run", hosts, within=60) == ["slave-0", "slave-1"]
        for slave in ("slave-0", "slave-1"):
            until(f"one pod's containers on {slave}", lambda: nginxes_on(slave) == 1, within=30)  # noqa: B023
    finally:
        curl(f"{controllers}/nginxController", "-XDELETE")
        for pod in curl(f"{master}/api/v1beta1/pods")["items"]:
            curl(f"{master}/api/v1beta1/pods/{pod['id']}", "-XDELETE")


def nginxes_on(slave: str) -> int:
    listed = lab("exec", slave, "--", "docker", "ps", "-a", "--format", "{{.Names}}").out.splitlines()
    return sum(line.startswith("k8s_nginx_") for line in listed)


def scale(replicas: int) -> None:
    """By the name that today's versions of the API have for it."""
    name = lab("kubectl", "get", "rc", "-l", "name=nginx", "-o", "name").out.strip()
    lab("kubectl", "scale", name, f"--replicas={replicas}")


def assert_more_than_there_are_ports_wait_and_say_why() -> None:
    """Of twenty pods that all want one port of their slave, as many run as there are slaves."""
    scale(20)

    def phases() -> list[tuple[str, str]] | None:
        found = []
        for pod in lab("kubectl", "get", "pods", "-l", "name=nginx", "-o", "json").json["items"]:
            conditions = {one["type"]: one for one in pod["status"].get("conditions") or ()}
            reason = conditions.get("PodScheduled", {}).get("message", "")
            if pod["status"]["phase"] == "Pending" and "port" not in reason:
                return None
            found.append((pod["status"]["phase"], reason))
        return found if len(found) == 20 else None

    counted = Counter(phase for phase, _ in until("twenty pods, each runs or says why not", phases, within=60))
    assert counted == {"Running": 2, "Pending": 18}


def test_daemons_die_and_return_by_name(master: str, tmp_path: Path) -> None:
    lab("kill", "etcd", "mm")
    down = lab("status", "-o", "json").json
    states = {target: one["state"] for target, one in daemons_of(down).items()}
    assert not down["ready"]
    assert [target for target, state in states.items() if state == "down"] == [
        "servicehost/etcd",
        "servicehost/mesos-master",
    ]
    lab("start", "etcd", "mm")
    again = k8slab("run", "servicehost", "--lab", LAB, "-o", "json").json
    assert again["ready"]
    members = lab("etcdctl", "member", "list").out
    assert ":4001" in members
    assert ":7001" in members
