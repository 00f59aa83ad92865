"""What a deployment of a lab should look like, held against the API and the minions' engines."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from driving import docker, k8slab, until

MINIONS = [f"kubernetes-minion-{number}" for number in range(4)]
IMAGE = "k8slab/nginx:1.22"
TEMPLATE = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: nginx
        image: {image}
        resources: {{limits: {{cpu: {cpu}, memory: 32Mi}}}}
"""


def pods() -> list[dict[str, Any]]:
    shown = k8slab("kubectl", "get", "pods", "-l", "app=web", "-o", "json", check=False)
    return list(json.loads(shown.out)["items"]) if shown.code == 0 else []


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return "deletionTimestamp" not in pod["metadata"] and any(
        one["type"] == "Ready" and one["status"] == "True" for one in conditions
    )


def names_on(minion: str, *which: str) -> list[list[str]]:
    """The names of pods' containers on the minion, in parts: k8s, container, pod, namespace, uid, attempt."""
    # The engine is asked without the command of ours: this is looked at again and again.
    words = ["docker", "exec", minion, "docker", "ps", *which, "--format", "{{.Names}}"]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout
    return [name.split("_") for name in shown.split() if name.startswith("k8s_")]


def running_on(minion: str) -> list[tuple[str, str]]:
    """(pod uid, container name) of each running container of a pod on the minion."""
    return [(parts[4], parts[1]) for parts in names_on(minion)]


def all_containers_on(minion: str) -> list[str]:
    return [parts[4] for parts in names_on(minion, "-a")]


def trouble(replicas: int) -> str:
    """What is not as declared; empty when all is."""
    found = pods()
    uids = {pod["metadata"]["uid"]: pod for pod in found}
    ready = sum(map(is_ready, found))
    if len(found) != replicas or ready != replicas:
        return f"{len(found)} pods, {ready} of them ready, instead of {replicas}"
    for minion in MINIONS:
        here = {uid for uid, pod in uids.items() if pod["spec"]["nodeName"] == minion}
        counted = Counter(running_on(minion))
        wanted = Counter([(uid, "POD") for uid in here] + [(uid, "nginx") for uid in here])
        if counted != wanted:
            return f"on {minion} {dict(counted)} instead of {dict(wanted)}"
        if strangers := set(all_containers_on(minion)) - here:
            return f"containers of others on {minion}: {strangers}"
    return ""


def settled(replicas: int, *, within: float) -> None:
    seen = [""]

    def look() -> bool:
        seen[0] = trouble(replicas)
        return not seen[0]

    try:
        until(f"{replicas} pods and nothing else", look, within=within)
    except pytest.fail.Exception as failure:
        pytest.fail(f"{failure.msg}; {seen[0]}", pytrace=False)


def declare(tmp_path: Path, replicas: int, *, cpu: str = "50m", image: str = IMAGE) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(TEMPLATE.format(replicas=replicas, cpu=cpu, image=image))
    k8slab("kubectl", "apply", "-f", str(manifest))


def container_of(pod: dict[str, Any], name: str) -> str:
    """The id of the pod's running container of that name, "POD" being the one that pauses."""
    minion, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
    shown = docker("exec", minion, "docker", "ps", "--format", "{{.ID}} {{.Names}}")
    lines = [line.split() for line in shown.splitlines()]
    return next(ident for ident, full in lines if full.startswith(f"k8s_{name}_") and uid in full)
