"""The default lab as a class uses it: what the front page promises, line by line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from driving import (
    K8SLAB,
    containers_of_pod,
    daemons_of,
    docker,
    is_running,
    k8slab,
    nodes_of,
    pod,
    status,
    until,
)

MINIONS = [f"kubernetes-minion-{i}" for i in range(4)]


def leading_master() -> str:
    found = [
        name.partition("/")[0] for name, one in daemons_of(status()).items() if one["truth"].get("leading") is True
    ]
    return found[0] if len(found) == 1 else ""


def etcd_leader() -> str:
    found = [name.partition("/")[0] for name, one in daemons_of(status()).items() if one["truth"].get("leader") is True]
    return found[0] if len(found) == 1 else ""


def test_run_ends_with_a_whole_lab_and_its_timings(lab: dict[str, Any]) -> None:
    assert lab["schema"] == 1
    assert lab["ready"] is True
    assert len(lab["nodes"]) == 11
    assert all(one["state"] == "ready" for one in daemons_of(lab).values())
    assert {phase["name"] for phase in lab["timings"]["phases"]} == {"checks", "nodes", "wires", "daemons"}
    assert lab["timings"]["total"] > 0
    assert all(requirement["holds"] for requirement in lab["requirements"])


def test_running_it_again_changes_nothing_and_says_so(whole: dict[str, Any]) -> None:
    before = {name: one["pid"] for name, one in daemons_of(status()).items()}
    again = k8slab("run", "-o", "json").json
    assert again["changes"] == []
    assert {name: one["pid"] for name, one in daemons_of(again).items()} == before
    said = k8slab("run")
    assert "nothing" in (said.out + said.err).lower()


def test_no_node_is_privileged_or_on_a_network_of_the_engine(lab: dict[str, Any]) -> None:
    names = [node["name"] for node in lab["nodes"]]
    for shown in json.loads(docker("inspect", *names)):
        assert shown["HostConfig"]["Privileged"] is False
        assert shown["HostConfig"]["NetworkMode"] == "none"


def test_every_node_knows_all_names_and_a_hermetic_lab_no_others(lab: dict[str, Any]) -> None:
    known = [[node["address"], node["name"]] for node in lab["nodes"]]
    ask = "for name; do getent hosts $name; done"
    for name in ("etcd-2", "kubernetes-minion-3"):
        found = k8slab("exec", name, "--", "sh", "-c", ask, "sh", *(node for _, node in known)).out.splitlines()
        assert [line.split() for line in found] == known
        outside = k8slab("exec", name, "--", "timeout", "2", "getent", "hosts", "elsewhere.example", check=False)
        assert (outside.code, outside.out) == (2, "")


def test_the_services_that_kubectl_shows(whole: dict[str, Any]) -> None:
    names = k8slab("kubectl", "get", "services", "-o", "name").out.split()
    assert {"service/kubernetes", "service/k8sm-scheduler"} <= set(names)
    inside = k8slab("exec", "kubernetes-mesos", "--", "kubectl", "get", "services").out
    assert "k8sm-scheduler" in inside
    assert "10251/TCP" in inside


def test_a_pod_runs_on_one_minion_and_serves_its_page_to_another_node(nginx: dict[str, Any]) -> None:
    minion, address = nginx["spec"]["nodeName"], nginx["status"]["podIP"]
    assert minion in MINIONS
    wide = k8slab("kubectl", "get", "pods", "-o", "wide").out
    assert re.search(rf"nginx\s+1/1\s+Running\s+0\s+\S+\s+{re.escape(address)}\s+{minion}", wide)
    page = k8slab("exec", "etcd-0", "--", "curl", "-fsS", "--max-time", "5", f"http://{address}/").out
    assert "nginx" in page.lower()
    for name in MINIONS:
        found = containers_of_pod(name)
        assert len(found) == (2 if name == minion else 0), (name, found)
    assert any("POD" in one for one in containers_of_pod(minion))


def test_a_described_pod_tells_its_story(nginx: dict[str, Any]) -> None:
    told = k8slab("kubectl", "describe", "pod", "nginx").out
    assert "Started" in told
    assert nginx["spec"]["nodeName"] in told


def test_a_deleted_pod_is_gone_with_its_containers(nginx: dict[str, Any]) -> None:
    k8slab("kubectl", "delete", "pod", "nginx")
    assert pod() == {}
    minion = nginx["spec"]["nodeName"]
    until("its containers are gone", lambda: not containers_of_pod(minion), within=10)


def test_etcd_loses_one_member_and_then_its_quorum(nginx: dict[str, Any]) -> None:
    etcdctl = ("etcdctl", "--dial-timeout=2s", "--command-timeout=5s")
    k8slab(*etcdctl, "put", "/kept", "one")
    leader = etcd_leader()
    k8slab("kill", leader)
    until("two of three members and a new leader", lambda: etcd_leader() not in ("", leader), within=30)
    seen = next(one for one in status()["requirements"] if "etcd" in one["name"])
    assert not seen["holds"]
    assert seen["seen"].startswith("2 of 3")
    k8slab(*etcdctl, "put", "/kept", "two")
    assert k8slab("kubectl", "get", "pods").out
    k8slab("kubectl", "create", "-f", "-", check=False)
    second = etcd_leader()
    k8slab("kill", second, "--signal", "KILL")
    refused = k8slab("kubectl", "annotate", "--overwrite", "pod", "nginx", "lost=yes", check=False, timeout=60)
    assert refused.code != 0
    assert (
        "etcd" in refused.err
        or "timeout" in refused.err.lower()
        or "timed out" in refused.err.lower()
        or "deadline exceeded" in refused.err
    )
    k8slab("start", "etcd")
    until("three members, one leader", lambda: daemons_whole("etcd"), within=20)
    assert "two" in k8slab(*etcdctl, "get", "/kept").out
    until(
        "kubectl writes again",
        lambda: k8slab("kubectl", "label", "--overwrite", "pod", "nginx", "a=b", check=False).code == 0,
        within=20,
    )
    assert is_running()


def daemons_whole(what: str) -> bool:
    return all(one["holds"] for one in status()["requirements"] if what in one["name"])


def test_the_leading_master_dies_and_nothing_running_notices(nginx: dict[str, Any]) -> None:
    minion = nginx["spec"]["nodeName"]
    before = docker_ids(minion)
    leader = leading_master()
    k8slab("kill", f"{leader}/mm", "--signal", "KILL")
    until("another master leads", lambda: leading_master() not in ("", leader), within=25)

    def everybody_is_back() -> bool:
        seen = daemons_of(status())
        agents = [one["truth"].get("registered") for name, one in seen.items() if name.endswith("/mesos-slave")]
        return all(agents) and bool(seen["kubernetes-mesos/scheduler"]["truth"].get("registered"))

    until("agents and framework are back", everybody_is_back, within=40)
    assert docker_ids(minion) == before
    assert is_running()["status"]["containerStatuses"][0]["restartCount"] == 0  # type: ignore[index]


def docker_ids(minion: str) -> set[str]:
    return set(k8slab("exec", minion, "--", "docker", "ps", "-q").out.split())


def test_addresses_and_wires_come_back_without_any_command_of_ours(nginx: dict[str, Any]) -> None:
    before = {name: (node["address"], node["mac"]) for name, node in nodes_of(status()).items()}
    docker("restart", "-t", "3", "etcd-1")
    docker("kill", "kubernetes-minion-3")
    docker("start", "kubernetes-minion-3")

    def wired() -> bool:
        return all(node["wired"] and node["state"] == "running" for node in status()["nodes"])

    until("every node is wired again", wired, within=15)
    assert {name: (node["address"], node["mac"]) for name, node in nodes_of(status()).items()} == before
    shown = k8slab("exec", "etcd-1", "--", "ip", "-o", "link", "show", "eth0").out
    assert before["etcd-1"][1] in shown
    k8slab("exec", "etcd-1", "--", "ping", "-c", "1", "-W", "2", "kubernetes-minion-3")
    until("etcd came back by itself", lambda: daemons_whole("etcd"), within=20)
    k8slab("run")
    assert status()["ready"]


def test_a_paused_minion_freezes_its_pods(nginx: dict[str, Any]) -> None:
    minion = nginx["spec"]["nodeName"]
    address = nginx["status"]["podIP"]
    fetch = ("exec", "etcd-0", "--", "curl", "-fsS", "--max-time", "2", "-o", "/dev/null", f"http://{address}/")
    pids = docker("top", minion, "-eo", "pid,comm")
    workers = [line.split()[0] for line in pids.splitlines() if "nginx" in line]
    assert workers
    k8slab("node", "pause", minion)
    try:
        assert nodes_of(status())[minion]["state"] == "paused"
        assert k8slab(*fetch, check=False).code != 0
        ticks = [cpu_ticks(pid) for pid in workers]
        threading.Event().wait(0.5)
        assert [cpu_ticks(pid) for pid in workers] == ticks
    finally:
        k8slab("node", "unpause", minion)
    until("nginx answers again", lambda: k8slab(*fetch, check=False).code == 0, within=10)
    assert is_running()


def cpu_ticks(pid: str) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]


def test_half_broken_labs_are_repaired_and_each_repair_is_named(whole: dict[str, Any]) -> None:
    docker("rm", "-f", "etcd-2")
    docker("kill", "mesos-master-1")
    docker("exec", "kubernetes-mesos", "ip", "link", "show", "eth0")
    host_end = wire_of("kubernetes-minion-2")
    subprocess.run(["ip", "link", "del", host_end], check=True)
    k8slab("kill", "kubernetes-mesos/cm")
    until("the cut wire shows", lambda: not nodes_of(status())["kubernetes-minion-2"]["wired"], within=5)
    planned = k8slab("run", "--dry-run").out
    assert "etcd-2" in planned
    assert "etcd-0" not in planned
    repaired = k8slab("run", "-o", "json").json
    assert repaired["ready"]
    did = {(change["verb"], change["subject"]) for change in repaired["changes"]}
    assert {
        ("created", "etcd-2"),
        ("started", "mesos-master-1"),
        ("wired", "kubernetes-minion-2"),
        ("started", "kubernetes-mesos/controller-manager"),
    } <= did
    assert not any(subject.startswith(("etcd-0", "etcd-1", "mesos-master-0")) for _, subject in did)


def wire_of(node: str) -> str:
    inside = docker("exec", node, "cat", "/sys/class/net/eth0/iflink")
    links = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True, text=True).stdout)
    return str(next(link["ifname"] for link in links if str(link["ifindex"]) == inside))


def test_the_manual_really_starts_a_daemon(whole: dict[str, Any]) -> None:
    k8slab("kill", "etcd-0")
    lines = k8slab("manual", "etcd-0").out
    pasted = "\n".join(line for line in lines.splitlines() if not line.startswith("#")).strip()
    assert pasted.startswith("etcd ")
    shell = subprocess.Popen(
        [str(K8SLAB), "shell", "etcd-0"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert shell.stdin
        shell.stdin.write(pasted.encode() + b"\n")
        shell.stdin.flush()
        health = ("exec", "etcd-1", "--", "curl", "-fsS", "--max-time", "2", "http://172.17.1.1:2379/health")
        until("the member started by hand is healthy", lambda: "true" in k8slab(*health, check=False).out, within=20)
    finally:
        k8slab("exec", "etcd-0", "--", "pkill", "-x", "etcd", check=False)
        shell.kill()
        shell.wait()
    k8slab("start", "etcd-0")


def test_a_daemon_that_dies_by_itself_is_restarted_and_counted(whole: dict[str, Any]) -> None:
    before = daemons_of(status())["etcd-2/etcd"]["restarts"]
    k8slab("exec", "etcd-2", "--", "pkill", "-KILL", "-x", "etcd")
    until("it is back", lambda: daemons_of(status())["etcd-2/etcd"]["state"] == "ready", within=20)
    assert daemons_of(status())["etcd-2/etcd"]["restarts"] == before + 1


def test_what_was_killed_stays_down_over_a_restart_of_its_node(whole: dict[str, Any]) -> None:
    k8slab("kill", "mesos-master-2/zk")
    k8slab("node", "restart", "mesos-master-2")
    until(
        "the master is back", lambda: daemons_of(status())["mesos-master-2/mesos-master"]["state"] != "down", within=20
    )
    assert daemons_of(status())["mesos-master-2/zookeeper"]["state"] == "down"
    k8slab("start", "mesos-master-2/zk")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("kill", "etdc"), 2, "etcd"),
        (("status", "--lab", "nope"), 2, "k8s-mesos"),
        (("run", "k8s-meso"), 2, "k8s-mesos"),
        (("run", "--lab", "Bad_Name"), 2, "Bad_Name"),
        (("node", "stop", "etcd-9"), 2, "etcd"),
        (("exec", "nowhere", "--", "true"), 2, "nowhere"),
        (("exec", "etcd-0", "--", "sh", "-c", "exit 7"), 7, ""),
        (("run", "--set", "nodes.etcd.count=0"), 2, "count"),
        (("run", "--set", "nodes.etcd.count=300"), 2, "count"),
        (("run", "--set", "nodes.etcd.role=nonsense"), 2, "nonsense"),
    ],
)
def test_mistakes_are_answered_with_a_sentence_and_the_designed_code(
    lab: dict[str, Any], words: tuple[str, ...], code: int, said: str
) -> None:
    done = k8slab(*words, check=False)
    assert done.code == code, done
    assert said in done.err
    assert "Traceback" not in done.err


def test_export_has_every_log_and_state(whole: dict[str, Any], tmp_path: Any) -> None:
    k8slab("export", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "status.json").read_text())["ready"]
    assert (tmp_path / "out" / "logs" / "etcd-0" / "etcd" / "current").is_file()
    assert "wired" in (tmp_path / "out" / "logs" / "etcd-0" / "boot.log").read_text()
    assert json.loads((tmp_path / "out" / "versions.json").read_text())["images"]["k8slab/etcd"].startswith("sha256:")


def test_real_clients_find_the_lab_through_its_environment(lab: dict[str, Any]) -> None:
    lines = k8slab("env").out
    script = f'{lines}\ntest -f "$KUBECONFIG" && echo "$ETCDCTL_ENDPOINTS"'
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert shown.stdout.strip() == "http://172.17.1.1:2379,http://172.17.1.2:2379,http://172.17.1.3:2379"


def test_the_secure_port_knows_whom_it_lets_in(whole: dict[str, Any], tmp_path: Path) -> None:
    address = nodes_of(whole)["kubernetes-mesos"]["address"]
    authority = tmp_path / "ca.crt"
    authority.write_text(k8slab("exec", "kubernetes-mesos", "--", "cat", "/var/run/kubernetes/ca.crt").out)

    def curl(path: str, *words: str) -> dict[str, Any]:
        url = f"https://{address}:6443{path}"
        ran = subprocess.run(["curl", "-sS", "--cacert", str(authority), *words, url], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return dict(json.loads(ran.stdout))

    assert curl("/version")["major"] == "1"
    assert curl("/api/v1/nodes")["reason"] == "Forbidden"
    k8slab("kubectl", "create", "serviceaccount", "visitor")
    k8slab(
        "kubectl", "create", "clusterrolebinding", "visitor", "--clusterrole=view", "--serviceaccount=default:visitor"
    )
    token = k8slab("kubectl", "create", "token", "visitor").out.strip()
    try:
        known = ("-H", f"Authorization: Bearer {token}")
        until("the role takes effect", lambda: "items" in curl("/api/v1/pods", *known), within=5)
        assert curl("/api/v1/secrets", *known)["reason"] == "Forbidden"
    finally:
        k8slab("kubectl", "delete", "clusterrolebinding/visitor", "serviceaccount/visitor")


def test_a_pod_is_given_what_the_secure_port_asks_for(nginx: dict[str, Any], tmp_path: Path) -> None:
    address = nodes_of(json.loads(k8slab("status", "-o", "json").out))["kubernetes-mesos"]["address"]
    minion, uid = nginx["spec"]["nodeName"], nginx["metadata"]["uid"]
    volume = f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~projected/kube-api-access-*"
    given = {
        name: k8slab("exec", minion, "--", "sh", "-c", f"cat {volume}/{name}").out
        for name in ("ca.crt", "namespace", "token")
    }
    assert given["namespace"] == "default"
    authority = tmp_path / "ca.crt"
    authority.write_text(given["ca.crt"])
    url = f"https://{address}:6443/api/v1/namespaces/default/secrets"
    header = f"Authorization: Bearer {given['token']}"
    ran = subprocess.run(
        ["curl", "-sS", "--cacert", str(authority), "-H", header, url], capture_output=True, text=True, check=True
    )
    assert 'User "system:serviceaccount:default:default" cannot list' in json.loads(ran.stdout)["message"]


def test_logs_are_read_by_short_name(lab: dict[str, Any]) -> None:
    # From its beginning: how much a daemon has written by now is not this test's to say.
    shown = k8slab("logs", "kubernetes-mesos/api", "-n", "1000000").out
    assert "serving on 0.0.0.0:8080" in shown
    assert len(k8slab("logs", "kubernetes-mesos/api", "-n", "1").out.splitlines()) == 1
