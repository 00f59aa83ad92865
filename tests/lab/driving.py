"""Driving a lab as a person does: by its command line, and looking at what comes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

K8SLAB = Path(sys.executable).with_name("k8slab")
ROOT = Path(__file__).resolve().parents[2]
NGINX = ROOT / "topologies" / "k8s-mesos" / "nginx.yaml"

T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def k8slab(*words: str, check: bool = True, timeout: float = 120, environment: dict[str, str] | None = None) -> Done:
    """Run the command with its output in pipes; fails the test with all of it when it should have succeeded."""
    command = [str(K8SLAB), *words]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(environment or {})}, cwd=ROOT
    )
    if check and ran.returncode != 0:
        pytest.fail(f"k8slab {' '.join(words)} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}", pytrace=False)
    return Done(ran.returncode, ran.stdout, ran.stderr)


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=120).stdout.strip()


def until(what: str, look: Callable[[], T], *, within: float) -> T:
    """The first true value of ``look``; fails the test, saying what was waited for and what was last seen."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:g} s: {what}; last seen: {seen!r}", pytrace=False)
        threading.Event().wait(0.2)


def status() -> dict[str, Any]:
    found: dict[str, Any] = k8slab("status", "-o", "json").json
    return found


def daemons_of(snapshot: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{node['name']}/{one['name']}": one for node in snapshot["nodes"] for one in node["daemons"]}


def nodes_of(snapshot: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in snapshot["nodes"]}


def pod(name: str = "nginx") -> dict[str, Any]:
    shown = k8slab("kubectl", "get", "pod", name, "-o", "json", check=False)
    return json.loads(shown.out) if shown.code == 0 else {}


def is_running(name: str = "nginx") -> dict[str, Any] | None:
    seen = pod(name)
    return seen if seen.get("status", {}).get("phase") == "Running" else None


def containers_of_pod(minion: str, name: str = "nginx") -> list[str]:
    shown = docker("exec", minion, "docker", "ps", "--format", "{{.Names}}")
    return [line for line in shown.split() if f"_{name}_default_" in line]
