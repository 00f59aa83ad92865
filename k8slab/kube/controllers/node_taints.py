"""Writes what is wrong with a node onto it as taints, so that pods keep away from it and leave it.

A node that is not ready, or that nobody hears from, takes no new pods (NoSchedule) and its pods go where they can
(NoExecute). When no node at all is ready, pods stay where they are: there is nowhere to go, and more likely it is the
network that is in trouble.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.node_lifecycle import condition
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
OURS: Final = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *PRESSURES.values()})


class NodeTaints:
    def __init__(self, client: KubeClient, informers: SharedInformers) -> None:
        self._client = client
        self._nodes = informers.of("nodes")
        self._queue = WorkQueue("node taints")
        self._nodes.subscribe(self._changed)

    async def run(self) -> None:
        await self._nodes.synced()
        await self._queue.run(self._sync)

    def _changed(self, kind: str, node: Object, old: Object | None) -> None:
        if kind != "DELETED" and _seen_in(node) != _seen_in(old):
            self._queue.add(node["metadata"]["name"])
        if kind == "DELETED" or _is_ready(node) != _is_ready(old):
            # It may have been the last that was ready, or be the first.
            for name, other in self._nodes.cache.items():
                if not _is_ready(other):
                    self._queue.add(name)

    async def _sync(self, name: str) -> None:
        node = self._nodes.cache.get(name)
        if node is None:
            return
        present = (node.get("spec") or {}).get("taints") or []
        wanted = taints(node, any_ready=any(map(_is_ready, self._nodes.cache.values())))
        if wanted == present:
            return
        # On condition that it is as it was seen: a list is written as a whole.
        metadata = {"resourceVersion": node["metadata"]["resourceVersion"]}
        try:
            await self._client.patch("nodes", name, {"metadata": metadata, "spec": {"taints": wanted or None}})
        except ApiError as error:
            if not error.is_not_found:
                raise


def taints(node: Mapping[str, Any], *, any_ready: bool) -> list[Object]:
    """All taints that the node should have: those of others as they are, and ours by its conditions."""
    present: list[Object] = list((node.get("spec") or {}).get("taints") or ())
    wanted = _wanted(node, any_ready=any_ready)
    kept = [one for one in present if one["key"] not in OURS or (one["key"], one["effect"]) in wanted]
    there = {(one["key"], one["effect"]) for one in kept}
    now = rfc3339()
    return kept + [
        {"key": key, "effect": effect, "timeAdded": now} for key, effect in wanted if (key, effect) not in there
    ]


def _wanted(node: Mapping[str, Any], *, any_ready: bool) -> dict[tuple[str, str], None]:
    found: dict[tuple[str, str], None] = {}
    # Of a node that has not said anything yet, the node controller will say what it is.
    status = condition(node, "Ready").get("status", "True")
    if status != "True":
        key = UNREACHABLE if status == "Unknown" else NOT_READY
        found[key, "NoSchedule"] = None
        if any_ready:
            found[key, "NoExecute"] = None
    for kind, key in PRESSURES.items():
        if condition(node, kind).get("status") == "True":
            found[key, "NoSchedule"] = None
    if (node.get("spec") or {}).get("unschedulable"):
        found[UNSCHEDULABLE, "NoSchedule"] = None
    return found


def _is_ready(node: Mapping[str, Any] | None) -> bool:
    return condition(node or {}, "Ready").get("status") == "True"


def _seen_in(node: Mapping[str, Any] | None) -> object:
    """All that taints depend on: most changes of nodes are heartbeats."""
    spec = (node or {}).get("spec") or {}
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    return spec.get("taints"), spec.get("unschedulable"), [(one["type"], one["status"]) for one in conditions]
