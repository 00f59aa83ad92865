"""Kubernetes as a package of a Mesos cluster: installed, watched, redeployed over what it left, and taken out."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from driving import NGINX, Done, docker, k8slab, nodes_of, until
from leftovers import ground

LAB = "packages"
AGENTS = ("agent-0", "agent-1")


def lab(*words: str, check: bool = True) -> Done:
    """``lab("package", "list")``: the verb, or both of them, before the lab's name."""
    verbs = 2 if words[0] in ("package", "mesos") else 1
    return k8slab(*words[:verbs], "--lab", LAB, *words[verbs:], check=check)


def run() -> Any:
    return k8slab("run", "dcos", "--lab", LAB, "-o", "json").json


def containers() -> list[str]:
    """Every container of pods there is, running or not, by its id."""
    return [
        one for agent in AGENTS for one in lab("exec", agent, "--", "docker", "ps", "-aq", "--no-trunc").out.split()
    ]


def executors() -> list[str]:
    said = [lab("exec", agent, "--", "pgrep", "-f", "km executor", check=False).out for agent in AGENTS]
    return " ".join(said).split()


def frameworks() -> list[dict[str, Any]]:
    return list(lab("mesos", "frameworks", "-o", "json").json["frameworks"])


def pod_is_running() -> bool:
    shown = lab("kubectl", "get", "pod", "nginx", "-o", "jsonpath={.status.phase}", check=False)
    return shown.out == "Running"


def in_pod(*words: str) -> str:
    return lab("kubectl", "exec", "nginx", "--", *words, check=False).out


def names_are_served() -> None:
    """As a pod sees it: by the C library, from its own resolv.conf to the package's machine and back."""
    lab("kubectl", "expose", "pod", "nginx", "--name=frontend", "--port=80")
    address = lab("kubectl", "get", "service", "frontend", "-o", "jsonpath={.spec.clusterIP}").out
    servers, searches, options = in_pod("cat", "/etc/resolv.conf").splitlines()
    assert servers == "nameserver 10.10.10.10"
    assert searches.startswith("search default.svc.kubernetes.local svc.kubernetes.local kubernetes.local")
    assert options == "options ndots:5"
    for name in (
        "frontend",
        "frontend.default",
        "frontend.default.svc",
        "frontend.default.svc.kubernetes.local",
        "frontend.default.kubernetes.local",
    ):
        until(
            f"{name} leads to the pod",
            lambda name=name: "nginx" in in_pod("wget", "-qO-", f"http://{name}/"),
            within=15,
        )
    assert address in in_pod("nslookup", "frontend.default.kubernetes.local")
    assert "NXDOMAIN" in in_pod("nslookup", "nobody.default.svc.kubernetes.local")
    assert "10.10.10.1\n" in f"{in_pod('nslookup', 'kubernetes.default.svc.kubernetes.local')}\n"


@pytest.fixture(scope="module")
def dcos(hermetic: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The lab without any package; when the module's tests are done it goes, and leaves nothing."""
    home = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        before = ground(home)
        try:
            yield run()
        finally:
            lab("rm")
        until("nothing is left", lambda: not ground(home).beyond(before), within=5)


class Listener:
    """Who wants to be told, at the host's own address in the lab."""

    def __init__(self, host: str) -> None:
        calls: queue.Queue[dict[str, str]] = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                calls.put({"path": self.path, "type": self.headers["Content-Type"], **dict(parse_qsl(body))})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """What came is asserted on."""

        self.server = HTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self.server.server_address[1]}/k8s"
        self.calls = calls

    def heard(self, event: str) -> dict[str, str]:
        call = self.calls.get(timeout=20)
        assert call["event"] == event, call
        return call


@pytest.fixture
def listener(dcos: dict[str, Any]) -> Iterator[Listener]:
    found = Listener("10.143.0.1")
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def install(tmp_path: Path, options: dict[str, Any]) -> dict[str, Any]:
    file = tmp_path / "options.json"
    file.write_text(json.dumps({"kubernetes": options}))
    return dict(lab("package", "install", "kubernetes", "--options", str(file), "-o", "json").json)


def redeploy() -> None:
    """The package's machine is gone with all that was in it, and comes anew."""
    docker("rm", "-f", f"{LAB}-kubernetes")
    assert run()["ready"]


def test_with_an_etcd_of_its_own(dcos: dict[str, Any], listener: Listener, tmp_path: Path) -> None:
    assert dcos["ready"]
    machines = {node: docker("inspect", "-f", "{{.Id}}", f"{LAB}-{node}") for node in nodes_of(dcos)}
    options = {
        "enable-dns": "1",
        "apiserver-port": 25999,
        "webhook-url": listener.url,
        "webhook-content-type": "text/x",
    }
    installed = install(tmp_path, options)
    assert installed["ready"]
    assert {node: docker("inspect", "-f", "{{.Id}}", f"{LAB}-{node}") for node in machines} == machines
    start = listener.heard("start")
    assert (start["path"], start["type"], start["package"]) == ("/k8s", "text/x", "kubernetes")
    assert listener.heard("ready")["master"] == "http://10.143.0.31:25999"
    assert lab("env", "-o", "json").json["environment"]["KUBERNETES_MASTER"] == "http://10.143.0.31:25999"
    (listed,) = lab("package", "list", "-o", "json").json["packages"]
    assert (listed["state"], listed["options"]["enable-dns"]) == ("ready", True)

    lab("exec", "kubernetes", "--", "sh", "-c", "kill -9 $(s6-svstat -o pid /etc/service/scheduler)")
    failure = listener.heard("failure")
    assert (failure["daemon"], failure["signal"]) == ("scheduler", "9")
    listener.heard("ready")
    lab("kill", "cm")
    lab("start", "cm")
    assert listener.calls.empty(), "what was killed on purpose has not failed"

    lab("kubectl", "create", "-f", str(NGINX))
    until("the pod runs", pod_is_running, within=30)
    names_are_served()
    (former,) = frameworks()
    assert len(containers()) == 2
    redeploy()
    # Another etcd, so another framework; what the former one left was ended before anything began.
    (framework,) = frameworks()
    assert framework["id"] != former["id"]
    assert containers() == []
    assert executors() == []
    lab("kubectl", "create", "-f", str(NGINX))
    until("a pod runs again", pod_is_running, within=30)

    lab("package", "uninstall", "kubernetes")
    assert frameworks() == []
    assert containers() == []
    assert executors() == []
    after = lab("status", "-o", "json").json
    assert after["ready"]
    assert "kubernetes" not in nodes_of(after)
    assert {node: docker("inspect", "-f", "{{.Id}}", f"{LAB}-{node}") for node in machines} == machines


def test_with_an_etcd_elsewhere(dcos: dict[str, Any], tmp_path: Path) -> None:
    installed = install(tmp_path, {"etcd-servers": "http://etcd:2379"})
    assert "etcd-server" not in [one["name"] for one in nodes_of(installed)["kubernetes"]["daemons"]]
    lab("kubectl", "create", "-f", str(NGINX))
    until("the pod runs", pod_is_running, within=30)
    (former,), pod = frameworks(), containers()
    redeploy()
    (framework,) = frameworks()
    assert framework["id"] == former["id"]
    until("the pod is known", pod_is_running, within=20)
    assert containers() == pod, "the pod was not touched"
    said = lab("package", "uninstall", "kubernetes")
    assert "still at http://etcd:2379" in said.err
    assert containers() == []
