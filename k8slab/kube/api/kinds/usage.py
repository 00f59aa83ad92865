"""What nodes and pods use just now, as their kubelets say when they are asked; kept nowhere."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api.kind import NAME, Column, Kind
from k8slab.kube.api.meta import Object

METRICS: Final = "metrics.k8s.io"
VERBS: Final = ("get", "list")


def _used(obj: Object, resource: str) -> str:
    """A pod's is its containers' together, in the unit that they are told in."""
    parts = [obj] if "usage" in obj else obj["containers"]
    unit = "n" if resource == "cpu" else "Ki"
    return f"{sum(int(one['usage'][resource].removesuffix(unit)) for one in parts)}{unit}"


def _kind(kind: str, plural: str, *, namespaced: bool) -> Kind:
    return Kind(
        kind=kind,
        plural=plural,
        singular="",
        group=METRICS,
        version="v1beta1",
        namespaced=namespaced,
        verbs=VERBS,
        stored=False,
        columns=(
            NAME,
            Column("Cpu", lambda obj: _used(obj, "cpu")),
            Column("Memory", lambda obj: _used(obj, "memory")),
            Column("Window", lambda obj: obj["window"]),
        ),
    )


NODE_METRICS: Final = _kind("NodeMetrics", "nodes", namespaced=False)
POD_METRICS: Final = _kind("PodMetrics", "pods", namespaced=True)
