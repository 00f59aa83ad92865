"""`kubecfg`, with the examples of the first pages and their tables, against the real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api

EXAMPLES = Path(__file__).parents[3] / "topologies" / "servicehost"

Kubecfg = Callable[..., str]


@pytest.fixture
def kubecfg(api: Api, namespace: str) -> Kubecfg:
    """``kubecfg(*words, code=0)``: what it prints, on standard output or of an error."""

    def run(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "k8slab.kube.kubecfg", "-ns", namespace, *words]
        environment = {**os.environ, "KUBERNETES_MASTER": api.url}
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_the_pages_pod(kubecfg: Kubecfg, client: KubeClient, namespace: str) -> None:
    kubecfg("-c", str(EXAMPLES / "pod-nginx.json"), "create", "pods")
    await client.patch(
        "pods",
        "nginx-id-01",
        {"status": {"phase": "Running", "hostIP": "10.132.189.242", "podIP": "10.2.0.2"}, "spec": {}},
        namespace,
        subresource="status",
    )
    head, rule, pod = kubecfg("list", "pods").splitlines()
    assert head == "ID                  Image(s)            Host                Labels              Status"
    assert rule == "----------          ----------          ----------          ----------          ----------"
    assert pod.startswith("nginx-id-01         k8slab/nginx:1.22   /10.132.189.242     name=foo")
    assert rows(kubecfg("get", "pods/nginx-id-01")) == rows(kubecfg("list", "pods"))
    assert len(rows(kubecfg("-l", "name=bar", "list", "pods"))) == 2
    assert json.loads(kubecfg("-json", "list", "pods"))["items"][0]["labels"] == {"name": "foo"}
    assert "already exists" in kubecfg("-c", str(EXAMPLES / "pod-nginx.json"), "create", "pods", code=1)
    assert rows(kubecfg("delete", "pods/nginx-id-01"))[-1] == ["Success"]


async def test_the_pages_controller(kubecfg: Kubecfg, client: KubeClient, namespace: str, tmp_path: Path) -> None:
    file = EXAMPLES / "controller-nginx.json"
    kubecfg("-c", str(file), "create", "replicationControllers")
    assert rows(kubecfg("list", "replicationControllers")) == [
        ["ID", "Image(s)", "Selector", "Replicas"],
        ["----------"] * 4,
        ["nginxController", "k8slab/nginx:1.22", "name=nginx", "2"],
    ]
    assert rows(kubecfg("resize", "nginxController", "4"))[-1][-1] == "4"
    changed = json.loads(file.read_text())
    changed["desiredState"]["replicas"] = 3
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    kubecfg("-c", str(tmp_path / "changed.json"), "update", "replicationControllers")
    assert rows(kubecfg("get", "replicationControllers/nginxController"))[-1][-1] == "3"
    assert rows(kubecfg("stop", "nginxController"))[-1][-1] == "0"
    assert rows(kubecfg("rm", "nginxController"))[-1] == ["Success"]
    # It waits for the garbage collector, which lets its pods go on alone.
    [left] = (await client.list("replicationcontrollers", namespace)).items
    assert left["metadata"]["deletionTimestamp"]
    assert "not found" in kubecfg("get", "replicationControllers/other", code=1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["frob", "pods"], 2, "there is no 'frob' here"),
        (["list"], 2, "list takes 1 argument"),
        (["create", "pods"], 2, "-c names the file with the object"),
        (["-c", "/nowhere", "create", "pods"], 2, "-c /nowhere: "),
        (["resize", "web", "many"], 2, "'many' is no number of replicas"),
        (["-h", "127.0.0.1:1", "list", "pods"], 1, "Connection refused"),
        (["list", "nonsense"], 1, "404"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(kubecfg: Kubecfg, words: list[str], code: int, said: str) -> None:
    (line,) = kubecfg(*words, code=code).splitlines()
    assert line.startswith("kubecfg: ")
    assert said in line
