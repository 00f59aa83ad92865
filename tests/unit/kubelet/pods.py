"""Pods and containers to test with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from k8slab.kube.kubelet.observation import EXITED, RUNNING, Observed, Seen, arranged

START = datetime(2016, 1, 2, 15, 4, 5, tzinfo=UTC)


def a_container(name: str = "web", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "k8slab/nginx:1.22", **fields}


def a_pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "nginx", "namespace": "default", "uid": "u-1", "labels": {"app": "nginx"}},
        "spec": {"containers": list(containers) or [a_container()], **spec},
    }


def sandbox(*, attempt: int = 0, state: str = RUNNING) -> Seen:
    return Seen(f"pause{attempt}", "POD", attempt, state, "k8slab/pause:1", "sha256:p", address="10.1.0.2")


def running(name: str = "web", *, attempt: int = 0, **fields: Any) -> Seen:
    """In the first sandbox."""
    given = {"started": START, "sandbox": "pause0", **fields}
    return Seen(f"{name}{attempt}", name, attempt, RUNNING, "k8slab/nginx:1.22", "sha256:n", **given)


def dead(name: str = "web", *, attempt: int = 0, code: int = 0, **fields: Any) -> Seen:
    return Seen(
        f"{name}{attempt}",
        name,
        attempt,
        EXITED,
        "k8slab/nginx:1.22",
        "sha256:n",
        exit_code=code,
        **{"started": START, "finished": START + timedelta(seconds=1), "sandbox": "pause0", **fields},
    )


def observed(*seen: Seen) -> Observed:
    return arranged(seen)
