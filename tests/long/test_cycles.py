"""Runs too long for every change: the same lab brought up, hurt and taken away many times over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

K8SLAB = Path(sys.executable).with_name("k8slab")
ROOT = Path(__file__).resolve().parents[2]
CYCLES = 10


def k8slab(*words: str) -> str:
    environment = {**os.environ, "K8SLAB_SET": "egress=false"}
    ran = subprocess.run([str(K8SLAB), *words], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=180)
    assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
    return ran.stdout


def leader() -> str:
    nodes = json.loads(k8slab("status", "-o", "json"))["nodes"]
    return next((node["name"] for node in nodes for one in node["daemons"] if one["truth"].get("leading")), "")


@pytest.mark.timeout(1800)
def test_a_pod_outlives_ten_leaders_in_a_row() -> None:
    k8slab("run")
    try:
        k8slab("kubectl", "create", "-f", "topologies/k8s-mesos/nginx.yaml")
        for _ in range(CYCLES):
            deadline = time.monotonic() + 60
            while not (leading := leader()) and time.monotonic() < deadline:
                threading.Event().wait(0.5)
            k8slab("kill", f"{leading}/mm", "--signal", "KILL")
            k8slab("run")
        pod = json.loads(k8slab("kubectl", "get", "pod", "nginx", "-o", "json"))
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    finally:
        k8slab("rm", "--lab", "k8s-mesos")


@pytest.mark.timeout(1800)
def test_ten_labs_one_after_the_other_leave_nothing() -> None:
    def mine() -> str:
        listing = ["docker", "ps", "-aq", "--filter", "label=k8slab.lab=k8s-mesos"]
        return subprocess.run(listing, capture_output=True, text=True, check=True).stdout

    for _ in range(CYCLES):
        assert json.loads(k8slab("run", "-o", "json"))["ready"]
        k8slab("rm", "--lab", "k8s-mesos")
        assert mine() == ""
