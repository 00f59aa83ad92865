"""Services in the default lab: reached from pods, from minions and by node ports; and the guestbook upon them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from declared import MINIONS, names_on
from driving import ROOT, k8slab, nodes_of, until

GUESTBOOK = ROOT / "examples" / "guestbook"
OBJECTS = (
    "redis-master",
    "redis-master-service",
    "redis-slave-controller",
    "redis-slave-service",
    "frontend-controller",
    "frontend-service",
)
NODE_PORT = 30080


def kubectl(*words: str, check: bool = True) -> str:
    return k8slab("kubectl", *words, check=check).out


def objects(what: str, *words: str) -> list[dict[str, Any]]:
    return list(json.loads(kubectl("get", what, "-o", "json", *words))["items"])


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def in_pod(pod: str, *command: str, check: bool = True) -> str:
    return kubectl("exec", pod, "--", *command, check=check)


def on_node(node: str, *command: str, check: bool = True) -> str:
    return k8slab("exec", node, "--", *command, check=check).out


def fetched(url: str) -> str:
    """What this machine, which is none of the lab's, gets from there; empty when it gets nothing."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@dataclass(frozen=True)
class Guestbook:
    pods: list[dict[str, Any]]
    addresses: dict[str, str]
    nodes: dict[str, dict[str, Any]]

    def named(self, label: str) -> list[dict[str, Any]]:
        return [pod for pod in self.pods if pod["metadata"]["labels"]["name"] == label]

    @property
    def frontend(self) -> str:
        return str(self.named("frontend")[0]["metadata"]["name"])

    @property
    def minions(self) -> list[str]:
        """Those that run a pod: there the framework has started a proxy."""
        return sorted({pod["spec"]["nodeName"] for pod in self.pods})

    def by_node_port(self, minion: str, query: str = "") -> str:
        return fetched(f"http://{self.nodes[minion]['address']}:{NODE_PORT}/{query}")


def query(**words: str) -> str:
    return f"guestbook.php?{urllib.parse.urlencode({'key': 'messages', **words})}"


@pytest.fixture(scope="module")
def guestbook(lab: dict[str, Any]) -> Iterator[Guestbook]:
    """Created as its page says, one after another; every pod is ready."""
    try:
        for name in OBJECTS:
            kubectl("create", "-f", str(GUESTBOOK / f"{name}.json"))

        def ready() -> list[dict[str, Any]]:
            pods = objects("pods")
            return pods if len(pods) == 6 and all(map(is_ready, pods)) else []

        pods = until("the guestbook's six pods are ready", ready, within=60)
        addresses = {one["metadata"]["name"]: one["spec"]["clusterIP"] for one in objects("services")}
        made = Guestbook(pods, addresses, nodes_of(lab))
        # Each minion's proxy looks for itself.
        for minion in made.minions:
            until(f"{minion} serves the page", lambda: "Guestbook" in made.by_node_port(minion), within=20)  # noqa: B023
        yield made
    finally:
        for name in OBJECTS:
            k8slab("kubectl", "delete", "-f", str(GUESTBOOK / f"{name}.json"), "--ignore-not-found", "--wait=false")


def test_entries_are_written_and_read_by_any_way(guestbook: Guestbook) -> None:
    page = "http://localhost/"
    assert json.loads(in_pod(guestbook.frontend, "curl", "-s", page + query(cmd="set", value="one"))) == {
        "message": "Updated"
    }

    def read(where: str) -> str:
        return str(json.loads(guestbook.by_node_port(where, query(cmd="get")) or "{}").get("data"))

    first, last = guestbook.minions[0], guestbook.minions[-1]
    until("a slave has what the master was given", lambda: read(last) == "one", within=10)
    # As the page appends: it reads all entries, adds its own and writes all. Quotes and letters of any kind survive.
    entry = 'a "second", ünd mehr & 100 %'
    written = guestbook.by_node_port(first, query(cmd="set", value=f"{read(first)},{entry}"))
    assert json.loads(written) == {"message": "Updated"}
    until("it is read everywhere", lambda: all(read(one) == f"one,{entry}" for one in guestbook.minions), within=10)
    for pod in guestbook.named("frontend"):
        answer = in_pod(pod["metadata"]["name"], "curl", "-s", page + query(cmd="get"))
        assert json.loads(answer) == {"data": f"one,{entry}"}


@pytest.mark.parametrize("version", ["newest", "1.20"])
def test_the_first_pages_command_in_a_frontend(guestbook: Guestbook, version: str) -> None:
    program = shutil.which("kubectl") if version == "newest" else os.environ.get("KUBECTL_1_20")
    if not program:
        pytest.skip(f"this machine has no kubectl {version}")
    command = [program, "exec", guestbook.frontend, "-c", "php-redis", "--"]
    ran = subprocess.run(
        [*command, "curl", "-s", f"http://{guestbook.addresses['frontend']}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **k8slab("env", "-o", "json").json["environment"]},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith('<html ng-app="redis">')
    assert "<title>Guestbook</title>" in ran.stdout


def test_minions_reach_services_and_node_ports(guestbook: Guestbook) -> None:
    for minion in guestbook.minions:
        urls = [f"http://{guestbook.addresses['frontend']}/", f"http://localhost:{NODE_PORT}/"]
        said = on_node(minion, "curl", "-sS", "--max-time", "5", *urls)
        assert said.count("<title>Guestbook</title>") == len(urls)


def test_every_frontend_has_its_share(guestbook: Guestbook) -> None:
    script = f"for i in $(seq 40); do curl -s -o /dev/null http://{guestbook.addresses['frontend']}/; done"
    in_pod(guestbook.frontend, "sh", "-c", script)
    for pod in guestbook.named("frontend"):
        name = pod["metadata"]["name"]
        assert "url:/" in kubectl("logs", name), f"{name} was never asked"


def test_a_pod_reaches_itself_by_its_service(guestbook: Guestbook) -> None:
    """The only endpoint of redismaster is the pod that asks: its packets leave it and come back."""
    until(
        "the master hears itself",
        lambda: "PONG" in in_pod("redis-master-2", "redis-cli", "-h", guestbook.addresses["redismaster"], "ping"),
        within=20,
    )


def test_the_api_is_a_service_of_pods(guestbook: Guestbook) -> None:
    script = 'curl -sk "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version"'
    assert "gitVersion" in in_pod(guestbook.frontend, "sh", "-c", script)


def test_a_service_that_leads_nowhere_refuses_at_once(guestbook: Guestbook) -> None:
    kubectl("create", "service", "clusterip", "nowhere", "--tcp=80:80")
    try:
        (address,) = [one["spec"]["clusterIP"] for one in objects("services") if one["metadata"]["name"] == "nowhere"]
        script = f"curl -s --max-time 3 http://{address}/; echo $?"
        until("a pod is refused", lambda: in_pod(guestbook.frontend, "sh", "-c", script).split() == ["7"], within=15)
        minion = guestbook.minions[0]
        until("a minion is refused", lambda: on_node(minion, "sh", "-c", script).split() == ["7"], within=15)
    finally:
        kubectl("delete", "service", "nowhere")


def test_a_proxy_that_is_killed_comes_back_and_nothing_stops_meanwhile(guestbook: Guestbook) -> None:
    minion = guestbook.minions[0]

    def proxies() -> list[str]:
        return on_node(minion, "pgrep", "-f", "/km proxy", check=False).split()

    (before,) = proxies()
    on_node(minion, "kill", "-KILL", before)
    assert "Guestbook" in guestbook.by_node_port(minion)
    (after,) = until("another one runs", lambda: [one for one in proxies() if one != before], within=20)
    assert after != before
    healthz = ("curl", "-s", f"http://{guestbook.nodes[minion]['address']}:10256/healthz")
    until("it is healthy", lambda: "lastUpdated" in on_node(minion, *healthz, check=False), within=20)


def test_its_log_and_the_executors_are_read_by_name(guestbook: Guestbook) -> None:
    minion = guestbook.minions[0]
    assert "service ports" in k8slab("logs", f"{minion}/proxy").out
    assert f"the kubelet of {minion} serves" in k8slab("logs", f"{minion}/executor").out
    refused = k8slab("logs", "proxy", check=False)
    assert (refused.code, "k8slab logs kubernetes-minion-0/proxy" in refused.err) == (2, True)


def test_a_controller_is_scaled_up_and_back(guestbook: Guestbook) -> None:
    before = {pod["metadata"]["uid"] for pod in guestbook.named("redisslave")}

    def slaves(count: int) -> set[str]:
        """Their uids, once so many are ready and the minions' engines have the containers of these alone."""
        pods = objects("pods", "-l", "name=redisslave")
        uids = {pod["metadata"]["uid"] for pod in pods}
        if len(pods) != count or not all(map(is_ready, pods)):
            return set()
        names = [name for minion in MINIONS for name in names_on(minion, "-a") if name[1] == "slave"]
        return uids if sorted(name[4] for name in names) == sorted(uids) else set()

    kubectl("scale", "rc", "redis-slave-controller", "--replicas=20")
    assert before < until("twenty slaves", lambda: slaves(20), within=60)
    kubectl("scale", "rc", "redis-slave-controller", "--replicas=2")
    until("two slaves", lambda: slaves(2), within=60)
