"""kubectl's commands that change what is there, and its ways of showing it, each in a test of its name."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.daemons.kube.conftest import Kubectl

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s, labels: {app: web}}
data: {key: %s}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: nginx, image: "nginx:1.22"}, {name: side, image: busybox}]}
"""


def data(kubectl: Kubectl, namespace: str, name: str = "c") -> dict[str, Any]:
    return dict(json.loads(kubectl("get", "configmap", name, "-n", namespace, "-o", "json"))["data"])


def test_edit(kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=CONFIG % ("c", "old"))
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/key: old/key: new/" "$1"\n')
    editor.chmod(0o755)
    env = {"HOME": str(kubectl.home), "PATH": os.environ["PATH"], "EDITOR": str(editor)}
    command = [kubectl.binary, "--server", kubectl.server, "edit", "configmap", "c", "-n", namespace]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env, check=False)
    assert (ran.returncode, ran.stdout) == (0, "configmap/c edited\n"), ran.stderr
    assert data(kubectl, namespace) == {"key": "new"}
    again = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env, check=False)
    assert "no changes made" in again.stdout + again.stderr


def test_replace(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=CONFIG % ("c", "old"))
    uid = kubectl("get", "configmap", "c", *inside, "-o", "jsonpath={.metadata.uid}")
    assert kubectl("replace", *inside, "-f", "-", stdin=CONFIG % ("c", "new")) == "configmap/c replaced\n"
    assert data(kubectl, namespace) == {"key": "new"}
    assert kubectl("get", "configmap", "c", *inside, "-o", "jsonpath={.metadata.uid}") == uid
    stale = json.loads(kubectl("get", "configmap", "c", *inside, "-o", "json"))
    kubectl("annotate", "configmap", "c", "a=b", *inside)
    refused = kubectl.fails("replace", *inside, "-f", "-", stdin=json.dumps(stale))
    assert "the object has been modified; please apply your changes to the latest version and try again" in refused
    assert "NotFound" in kubectl.fails("replace", *inside, "-f", "-", stdin=CONFIG % ("none", "x"))


def test_replace_force(kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    inside = ("-n", namespace)
    manifest = tmp_path / "c.yaml"
    manifest.write_text(CONFIG % ("c", "old"))
    kubectl("create", *inside, "-f", str(manifest))
    uid = kubectl("get", "configmap", "c", *inside, "-o", "jsonpath={.metadata.uid}")
    assert "replaced" in kubectl("replace", "--force", *inside, "-f", str(manifest))
    assert kubectl("get", "configmap", "c", *inside, "-o", "jsonpath={.metadata.uid}") != uid


@pytest.mark.parametrize(
    ("form", "patch", "images"),
    [
        ("strategic", {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "new"}]}}}}, 2),
        ("merge", {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "new"}]}}}}, 1),
        ("json", [{"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "new"}], 2),
    ],
)
def test_patch(kubectl: Kubectl, namespace: str, form: str, patch: Any, images: int) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=DEPLOYMENT)
    said = kubectl("patch", "deployment", "web", f"--type={form}", "-p", json.dumps(patch), *inside)
    assert said == "deployment.apps/web patched\n"
    shown = kubectl("get", "deployment", "web", *inside, "-o", "jsonpath={.spec.template.spec.containers[*].image}")
    assert ("new" in shown.split(), len(shown.split())) == (True, images)
    unchanged = kubectl("patch", "deployment", "web", f"--type={form}", "-p", json.dumps(patch), *inside)
    assert "no change" in unchanged


def test_apply_prune(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    both = CONFIG % ("a", "one") + "---" + CONFIG % ("b", "one")
    prune = ("--prune", "-l", "app=web", "--prune-whitelist=core/v1/ConfigMap")
    if "1.20" not in kubectl("version", "--client", *(() if is_new(kubectl) else ("--short",))):
        prune = ("--prune", "-l", "app=web", "--prune-allowlist=core/v1/ConfigMap")
    kubectl("apply", *inside, "-f", "-", stdin=both)
    said = kubectl("apply", *inside, *prune, "-f", "-", stdin=CONFIG % ("a", "two"))
    assert "configmap/a configured" in said
    assert "configmap/b pruned" in said
    assert data(kubectl, namespace, "a") == {"key": "two"}
    assert "NotFound" in kubectl.fails("get", "configmap", "b", *inside)


def is_new(kubectl: Kubectl) -> bool:
    return kubectl.run("version", "--client", "--short").returncode != 0


def test_diff(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("apply", *inside, "-f", "-", stdin=CONFIG % ("c", "old"))
    same = kubectl.run("diff", *inside, "-f", "-", stdin=CONFIG % ("c", "old"))
    assert (same.returncode, same.stdout) == (0, ""), same.stderr
    other = kubectl.run("diff", *inside, "-f", "-", stdin=CONFIG % ("c", "new"))
    assert other.returncode == 1, other.stderr
    assert re.search(r"^-  key: old$", other.stdout, re.M)
    assert re.search(r"^\+  key: new$", other.stdout, re.M)
    assert data(kubectl, namespace) == {"key": "old"}


def test_output_forms(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    for name, key in (("b", "2"), ("a", "1")):
        kubectl("create", *inside, "-f", "-", stdin=CONFIG % (name, f"'{key}'"))
    get = ("get", "configmaps", *inside, "-l", "app=web")
    assert kubectl(*get, "-o", "name") == "configmap/a\nconfigmap/b\n"
    assert [item["data"]["key"] for item in json.loads(kubectl(*get, "-o", "json"))["items"]] == ["1", "2"]
    assert [item["data"]["key"] for item in yaml.safe_load(kubectl(*get, "-o", "yaml"))["items"]] == ["1", "2"]
    assert kubectl(*get, "-o", "jsonpath={.items[*].metadata.name}") == "a b"
    assert kubectl(*get, "-o", "go-template={{range .items}}{{.metadata.name}},{{end}}") == "a,b,"
    columns = kubectl(*get, "-o", "custom-columns=N:.metadata.name,K:.data.key", "--no-headers").split()
    assert columns == ["a", "1", "b", "2"]
    by_key = kubectl(*get, "--sort-by=.data.key", "-o", "jsonpath={.items[*].metadata.name}")
    assert by_key == "a b"
    assert re.search(r"^a +1 +\d+s +app=web$", kubectl(*get, "--show-labels"), re.M)
    assert re.search(r"^a +1 +\d+s +web$", kubectl(*get, "-L", "app"), re.M)
    assert re.search(rf"^{namespace} +a +1", kubectl("get", "configmaps", "-A", "-l", "app=web"), re.M)
    assert json.loads(kubectl("get", "--raw", "/version"))["major"] == "1"


def test_cluster_info(kubectl: Kubectl) -> None:
    assert "is running at" in kubectl("cluster-info")


def test_cluster_info_dump(kubectl: Kubectl, namespace: str) -> None:
    dumped = kubectl("cluster-info", "dump", "--namespaces", namespace, "-o", "json")
    kinds = [json.loads(text)["kind"] for text in re.split(r"(?<=^\})\n(?=\{)", dumped, flags=re.M) if text.strip()]
    assert {"NodeList", "EventList", "ServiceList", "PodList", "DeploymentList"} <= set(kinds)


def test_config(kubectl: Kubectl, namespace: str) -> None:
    kubectl("config", "set-cluster", "lab", f"--server={kubectl.server}")
    kubectl("config", "set-context", "lab", "--cluster=lab", f"--namespace={namespace}")
    kubectl("config", "use-context", "lab")
    shown = yaml.safe_load(kubectl("config", "view"))
    assert shown["current-context"] == "lab"
    env = {"HOME": str(kubectl.home), "PATH": os.environ["PATH"]}
    ran = subprocess.run(
        [kubectl.binary, "create", "configmap", "from-context"], capture_output=True, text=True, env=env, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert kubectl("get", "configmap", "from-context", "-n", namespace, "-o", "name") == "configmap/from-context\n"
