"""Writes what is wrong with a node onto it as taints, so that pods keep away from it and leave it.

A node that is not ready, or that nobody hears from, takes no new pods (NoSchedule) and its pods go where they can
(NoExecute), one node after another and only while not too many are in trouble at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.node_lifecycle import NodeLifecycle, condition, silenced
from k8slab.kube.controllers.node_zones import EvictionRates, Turns, is_not_ready, is_ready, rate_in, zone_of
from k8slab.kube.controllers.workqueue import WorkQueue

PREFIX: Final = "node.kubernetes.io/"
NOT_READY: Final = f"{PREFIX}not-ready"
UNREACHABLE: Final = f"{PREFIX}unreachable"
UNSCHEDULABLE: Final = f"{PREFIX}unschedulable"
PRESSURES: Final = {
    "MemoryPressure": f"{PREFIX}memory-pressure",
    "DiskPressure": f"{PREFIX}disk-pressure",
    "PIDPressure": f"{PREFIX}pid-pressure",
    "NetworkUnavailable": f"{PREFIX}network-unavailable",
}
_LEFT: Final = frozenset({(NOT_READY, "NoExecute"), (UNREACHABLE, "NoExecute")})
# Seconds; a node that was silent may be heard again without any change that is told here.
_LOOK_AGAIN: Final = 1.0
OURS: Final = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *PRESSURES.values()})


class NodeTaints:
    def __init__(
        self,
        client: KubeClient,
        informers: SharedInformers,
        rates: EvictionRates,
        lifecycle: NodeLifecycle,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._rates = rates
        self._lifecycle = lifecycle
        self._clock = clock
        self._turns = Turns()
        self._nodes = informers.of("nodes")
        self._queue = WorkQueue("node taints")
        self._nodes.subscribe(self._changed)

    async def run(self) -> None:
        await self._nodes.synced()
        await self._queue.run(self._sync)

    def _changed(self, kind: str, node: Object, old: Object | None) -> None:
        if kind != "DELETED" and _seen_in(node) != _seen_in(old):
            self._queue.add(node["metadata"]["name"])
        if kind == "DELETED" or is_ready(node):
            self._turns.over(node["metadata"]["name"])
        if kind == "DELETED" or is_ready(node) != is_ready(old):
            # How many are ready decides about all that are not.
            for name, other in self._nodes.cache.items():
                if not is_ready(other):
                    self._queue.add(name)

    async def _sync(self, name: str) -> None:
        node = self._nodes.cache.get(name)
        if node is None:
            return
        present = (node.get("spec") or {}).get("taints") or []
        wanted = taints(node, pods_leave=self._pods_leave(name, node))
        if wanted == present:
            return
        # On condition that it is as it was seen: a list is written as a whole.
        metadata = {"resourceVersion": node["metadata"]["resourceVersion"]}
        try:
            await self._client.patch("nodes", name, {"metadata": metadata, "spec": {"taints": wanted or None}})
        except ApiError as error:
            if not error.is_not_found:
                raise

    def _pods_leave(self, name: str, node: Object) -> bool:
        if not is_not_ready(node):
            return False
        # Nodes that fall silent together are marked one after another: the first must not be taken for the only one.
        silent = self._lifecycle.silent
        nodes = [{**one, "status": silenced(one)} if at in silent else one for at, one in self._nodes.cache.items()]
        if not any(map(is_ready, nodes)):
            self._turns.over(name)
            self._queue.add_after(name, _LOOK_AGAIN)
            return False
        if any((one["key"], one["effect"]) in _LEFT for one in (node.get("spec") or {}).get("taints") or ()):
            # Its pods are on their way.
            return True
        zone = zone_of(node)
        left = self._turns.wait(name, zone, rate_in(zone, nodes, self._rates), self._clock())
        if left > 0:
            self._queue.add_after(name, min(left, _LOOK_AGAIN))
        return left == 0


def taints(node: Mapping[str, Any], *, pods_leave: bool) -> list[Object]:
    """All taints that the node should have: those of others as they are, and ours by its conditions."""
    present: list[Object] = list((node.get("spec") or {}).get("taints") or ())
    wanted = _wanted(node, pods_leave=pods_leave)
    kept = [one for one in present if one["key"] not in OURS or (one["key"], one["effect"]) in wanted]
    there = {(one["key"], one["effect"]) for one in kept}
    now = rfc3339()
    return kept + [
        {"key": key, "effect": effect, "timeAdded": now} for key, effect in wanted if (key, effect) not in there
    ]


def _wanted(node: Mapping[str, Any], *, pods_leave: bool) -> dict[tuple[str, str], None]:
    found: dict[tuple[str, str], None] = {}
    if is_not_ready(node):
        key = UNREACHABLE if condition(node, "Ready")["status"] == "Unknown" else NOT_READY
        found[key, "NoSchedule"] = None
        if pods_leave:
            found[key, "NoExecute"] = None
    for kind, key in PRESSURES.items():
        if condition(node, kind).get("status") == "True":
            found[key, "NoSchedule"] = None
    if (node.get("spec") or {}).get("unschedulable"):
        found[UNSCHEDULABLE, "NoSchedule"] = None
    return found


def _seen_in(node: Mapping[str, Any] | None) -> object:
    """All that taints depend on: most changes of nodes are heartbeats."""
    spec = (node or {}).get("spec") or {}
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    return spec.get("taints"), spec.get("unschedulable"), [(one["type"], one["status"]) for one in conditions]
