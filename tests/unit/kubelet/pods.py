"""Pods and containers to test with."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from k8slab.kube.client import Object
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


def a_config_map(name: str, data: dict[str, str], **more: Any) -> Object:
    return {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data, **more}


def a_secret(name: str, data: dict[str, bytes]) -> Object:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "data": encoded}


class Shelf:
    """Supplies that are just there; every token says what it is for."""

    def __init__(self, *objects: Object) -> None:
        self.objects = {(f"{obj['kind'].lower()}s", obj["metadata"]["name"]): obj for obj in objects}

    async def find(self, pod: Mapping[str, Any], resource: str, name: str) -> Object | None:
        return self.objects.get((resource, name))

    async def token(self, pod: Mapping[str, Any], audience: str, seconds: int) -> str:
        return f"token of {pod['metadata']['name']} for {audience or 'the API'}, {seconds} s"

    async def allocatable(self) -> Mapping[str, Any]:
        return {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "10Gi"}
