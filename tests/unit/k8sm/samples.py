"""Pods, offers and nodes to test with."""

from __future__ import annotations

from typing import Any

from k8slab.k8sm.mapping import Executor
from k8slab.k8sm.scheduler.offers import Offer, OfferRegistry, Slot, parse

EXECUTOR = Executor("abc_k8sm-executor", ("/usr/local/bin/km", "executor"), 0.25, 128.0)


def a_pod(name: str = "nginx", *, limits: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "web", "image": "k8slab/nginx:1.22", "resources": {"limits": limits} if limits else {}}
    container |= spec.pop("container", {})
    meta = {key: spec.pop(key) for key in ("labels", "annotations") if key in spec}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", **meta},
        "spec": {"containers": [container], **spec},
        "status": {"phase": "Pending"},
    }


def owned(pod: dict[str, Any], owner: str) -> dict[str, Any]:
    reference = {"kind": "ReplicaSet", "name": owner, "uid": f"uid-{owner}", "controller": True}
    return {**pod, "metadata": {**pod["metadata"], "ownerReferences": [reference]}}


def scalar(name: str, value: float, **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, **fields}


def port_ranges(*ranges: tuple[int, int], **fields: Any) -> dict[str, Any]:
    pairs = [{"begin": begin, "end": end} for begin, end in ranges]
    return {"name": "ports", "type": "RANGES", "ranges": {"range": pairs}, **fields}


def an_offer(
    number: int = 0, *, agent: int = 0, cpus: float = 4, mem: float = 4096, executors: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "id": {"value": f"O{number}"},
        "agent_id": {"value": f"S{agent}"},
        "hostname": f"minion-{agent}",
        "url": {
            "scheme": "http",
            "address": {"hostname": f"minion-{agent}", "ip": f"172.17.1.{8 + agent}", "port": 5051},
        },
        "resources": [scalar("cpus", cpus), scalar("mem", mem), scalar("disk", 20000), port_ranges((31000, 32000))],
        "attributes": [{"name": "rack", "type": "TEXT", "text": {"value": f"r{agent}"}}],
        "executor_ids": [{"value": one} for one in executors],
    }


def slots(*offers: dict[str, Any]) -> list[Slot]:
    registry = OfferRegistry()
    for offer in offers:
        registry.add(parsed(offer))
    return registry.slots()


def parsed(offer: dict[str, Any], now: float = 0.0) -> Offer:
    return parse(offer, now)


def nodes(count: int = 1, **spec: Any) -> dict[str, dict[str, Any]]:
    return {
        f"minion-{number}": {
            "metadata": {"name": f"minion-{number}", "labels": {"rack": f"r{number}"}},
            "spec": dict(spec),
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "allocatable": {"cpu": "4", "memory": "4Gi", "pods": "110"},
            },
        }
        for number in range(count)
    }
