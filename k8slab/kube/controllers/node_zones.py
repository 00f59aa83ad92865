"""How fast pods may leave nodes that are not ready: the more of a zone's nodes are not, the likelier it is that the
network or a machine under too much load is in trouble, and that moving pods makes it worse.

The rules and their figures are those of the original's node lifecycle controller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.controllers.node_lifecycle import condition

# Fewer nodes than this that are not ready are never called a zone's trouble.
_FEW: Final = 3
_REGION: Final = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONE: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")

Zone = tuple[str, str]


@dataclass(frozen=True)
class EvictionRates:
    """``normal``: nodes a second that pods of a zone may leave; ``secondary``: when ``unhealthy`` (a fraction) of its
    nodes or more are not ready; none at all when, besides, it has no more than ``large`` nodes."""

    normal: float = 0.1
    secondary: float = 0.01
    unhealthy: float = 0.55
    large: int = 50


def zone_of(node: Mapping[str, Any]) -> Zone:
    labels = node["metadata"].get("labels") or {}
    region, zone = (next((labels[key] for key in keys if key in labels), "") for keys in (_REGION, _ZONE))
    return region, zone


def is_ready(node: Mapping[str, Any] | None) -> bool:
    return condition(node or {}, "Ready").get("status") == "True"


def is_not_ready(node: Mapping[str, Any]) -> bool:
    """Of a node that has not said anything yet, the node controller will say what it is."""
    return bool(condition(node, "Ready").get("status", "True") != "True")


def rate_in(zone: Zone, nodes: Iterable[Mapping[str, Any]], rates: EvictionRates) -> float:
    """Nodes a second that pods may leave in the zone. A zone that is lost whole is left: there are others."""
    counted = Counter(is_not_ready(node) for node in nodes if zone_of(node) == zone)
    lost, size = counted[True], counted.total()
    if counted[False] and lost >= _FEW and lost / size >= rates.unhealthy:
        return rates.secondary if size > rates.large else 0.0
    return rates.normal


class Turns:
    """Whose turn it is to be left by its pods, one node of a zone after another."""

    def __init__(self) -> None:
        self._granted: set[str] = set()
        self._free_at: dict[Zone, float] = {}

    def wait(self, name: str, zone: Zone, rate: float, now: float) -> float:
        """Seconds (of ``now``'s clock) until it may be the node's turn, 0 when it is, and stays so until :meth:`over`;
        inf at a ``rate`` of 0."""
        if name in self._granted:
            return 0.0
        if rate <= 0:
            return float("inf")
        left = self._free_at.get(zone, now) - now
        if left > 0:
            return left
        self._free_at[zone] = now + 1 / rate
        self._granted.add(name)
        return 0.0

    def over(self, name: str) -> None:
        self._granted.discard(name)
