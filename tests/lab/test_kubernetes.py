"""The Kubernetes API in a lab, with the lab's kubectl and with the host's own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from driving import K8SLAB, k8slab, nodes_of, until

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: nginx, image: "k8slab/nginx:1.22"}]}
"""
# As the first pages of the framework have it, with an image that is at hand and a probe of the port that it serves.
POD_NGINX = {
    "id": "nginx-id-01",
    "kind": "Pod",
    "apiVersion": "v1beta1",
    "desiredState": {
        "manifest": {
            "version": "v1beta1",
            "id": "nginx-id-01",
            "containers": [
                {
                    "name": "nginx-01",
                    "image": "k8slab/nginx:1.22",
                    "ports": [{"containerPort": 80, "hostPort": 31000}],
                    "livenessProbe": {
                        "type": "http",
                        "httpGet": {"path": "/index.html", "port": "80"},
                        "initialDelaySeconds": 1,
                    },
                }
            ],
        }
    },
    "labels": {"name": "foo"},
}


def kubectl(*words: str) -> str:
    return k8slab("kubectl", *words).out


@pytest.fixture
def deployment(whole: dict[str, Any], tmp_path: Path) -> Iterator[Path]:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(DEPLOYMENT)
    yield manifest
    k8slab("kubectl", "delete", "deployment", "web", "--ignore-not-found")


def test_get_all_explain_and_describe(nginx: dict[str, Any], deployment: Path) -> None:
    kubectl("create", "-f", str(deployment))
    everything = kubectl("get", "all", "-A")
    for name in ("pod/nginx", "service/kubernetes", "deployment.apps/web"):
        assert name in everything
    healthy = [line.split()[:2] for line in kubectl("get", "componentstatuses", "--no-headers").splitlines()]
    assert healthy == [[name, "Healthy"] for name in ("controller-manager", "etcd-0", "etcd-1", "etcd-2", "scheduler")]
    explained = kubectl("explain", "deployment.spec.strategy")
    assert "RollingUpdate" in explained
    assert "rollingUpdate" in explained
    assert "Pending:" in kubectl("describe", "nodes") or "Ready" in kubectl("describe", "nodes")
    described = kubectl("describe", "deployment", "web")
    assert "StrategyType:           RollingUpdate" in described


def test_apply_on_the_server(deployment: Path) -> None:
    assert kubectl("apply", "--server-side", "-f", str(deployment)) == "deployment.apps/web serverside-applied\n"
    again = kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", str(deployment))
    assert "serverside-applied" in again
    owners = kubectl(
        "get", "deployment", "web", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"
    )
    assert {"kubectl", "other"} <= set(owners.split())


def test_the_hosts_own_kubectl(whole: dict[str, Any]) -> None:
    exported = k8slab("env").out
    ran = subprocess.run(
        ["bash", "-c", f"{exported}\nkubectl get nodes -o name"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ran.returncode == 127:
        pytest.skip("this machine has no kubectl")
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.split()) == 4


def test_the_first_pages_pod_by_curl(whole: dict[str, Any], tmp_path: Path) -> None:
    manifest = tmp_path / "pod-nginx.json"
    manifest.write_text(json.dumps(POD_NGINX))
    url = f"http://{nodes_of(whole)['kubernetes-mesos']['address']}:8080/api/v1beta1/pods"

    def curl(*words: str) -> dict[str, Any]:
        ran = subprocess.run(["curl", "-sSL", *words], capture_output=True, text=True, timeout=30, check=True)
        return dict(json.loads(ran.stdout))

    try:
        made = curl(url, "-XPOST", "-d", f"@{manifest}")
        assert (made["kind"], made["id"], made["desiredState"]["status"]) == ("Pod", "nginx-id-01", "Running")

        def running() -> dict[str, Any] | None:
            seen = curl(f"{url}/nginx-id-01")
            return seen if seen["currentState"]["status"] == "Running" else None

        seen = until("the pod runs", running, within=30)
        assert seen["currentState"]["info"]["nginx-01"]["state"]["running"]
        assert seen["currentState"]["podIP"].startswith("10.1.")
    finally:
        curl(f"{url}/nginx-id-01", "-XDELETE")


@contextmanager
def watching() -> Iterator[Path]:
    """``k8slab kubectl get configmaps -w`` in the background; the file has what it says."""
    with tempfile.NamedTemporaryFile("w+", suffix=".watch") as said:
        process = subprocess.Popen(
            [str(K8SLAB), "kubectl", "get", "configmaps", "-w"], stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield Path(said.name)
        finally:
            process.terminate()
            process.wait(20)


def test_a_watch_goes_on_when_etcd_does(whole: dict[str, Any]) -> None:
    kubectl("create", "configmap", "before")
    try:
        with watching() as said:
            until("the watch has begun", lambda: "before" in said.read_text(), within=20)
            k8slab("kill", "etcd")
            refused = k8slab("kubectl", "create", "configmap", "meanwhile", check=False, timeout=60)
            assert refused.code != 0
            assert (
                "etcdserver" in refused.err
                or "timeout" in refused.err.lower()
                or "timed out" in refused.err.lower()
                or "deadline exceeded" in refused.err
            )
            k8slab("start", "etcd")
            until(
                "kubectl writes again",
                lambda: k8slab("kubectl", "create", "configmap", "after", check=False).code == 0,
                within=30,
            )
            until("the same watch goes on", lambda: "after" in said.read_text(), within=20)
    finally:
        k8slab("kubectl", "delete", "configmap", "before", "meanwhile", "after", "--ignore-not-found")
