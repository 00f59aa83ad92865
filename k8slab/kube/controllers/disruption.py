"""Keeps in every PodDisruptionBudget how many of its pods may be evicted now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.api.selectors import requirements_of, shown_requirements
from k8slab.kube.client import KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.kube.controllers.deployment_scaling import share_of
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.owned import controller_of, matches
from k8slab.kube.controllers.owned_pods import OwnedPods, is_ready
from k8slab.kube.controllers.statuses import write_status
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.events import NORMAL, WARNING, EventRecorder
from k8slab.kube.informer import key_of

# A pod whose eviction was granted and that is still there after so many seconds will not go any more.
DELETION_TIMEOUT: Final = 120.0
# Pods of a rollout change in bursts: one count for each burst is enough, as every eviction counts itself.
SETTLE: Final = 0.05
COMPONENT: Final = "controllermanager"
CONDITION: Final = "DisruptionAllowed"
SCALED: Final = {
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "ReplicaSet"): "replicasets",
    ("apps/v1", "StatefulSet"): "statefulsets",
    ("v1", "ReplicationController"): "replicationcontrollers",
}
UNMANAGED: Final = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of "
    "the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please "
    'set ".spec.minAvailable" field of the PDB to an integer value.'
)


class Uncountable(Exception):
    """Nobody knows how many pods there are meant to be."""


class DisruptionController:
    def __init__(
        self, client: KubeClient, informers: SharedInformers, recorder: EventRecorder, pods: OwnedPods
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._budgets = informers.of("poddisruptionbudgets")
        self._pods = pods
        self._owners = {kind: informers.of(resource) for kind, resource in SCALED.items()}
        self._queue = WorkQueue("disruption")
        self._budgets.subscribe(lambda kind, budget, old: self._queue.add(key_of(budget)))
        pods.informer.subscribe(self._pod_changed)

    async def run(self) -> None:
        informers = (self._budgets, self._pods.informer, *self._owners.values())
        await asyncio.gather(*(informer.synced() for informer in informers))
        await self._queue.run(self._sync)

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        for budget in self._budgets.cache.values():
            if any(covers(budget, one) for one in (pod, old) if one is not None):
                self._queue.add_after(key_of(budget), SETTLE)

    async def _sync(self, key: str) -> None:
        budget = self._budgets.cache.get(key)
        if budget is None:
            return
        now = time.time()
        pods = [one for one in self._pods.within(budget["metadata"]["namespace"]) if covers(budget, one)]
        if not pods:
            self._say(budget, NORMAL, "NoPods", "No matching pods found")
        disrupted = self._on_their_way(budget, pods, now)
        try:
            expected, desired = self._wanted(budget, pods)
        except Uncountable as trouble:
            failed = "CalculateExpectedPodCountFailed"
            self._say(budget, WARNING, failed, f"Failed to calculate the number of expected pods: {trouble}")
            await self._write(budget, _failed(budget, str(trouble)))
            return
        healthy = sum(1 for one in pods if _is_healthy(one, disrupted))
        allowed = max(0, healthy - desired) if expected > 0 else 0
        status = {
            "observedGeneration": budget["metadata"].get("generation") or 0,
            "disruptionsAllowed": allowed,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            **({"disruptedPods": disrupted} if disrupted else {}),
        }
        reason = "SufficientPods" if allowed else "InsufficientPods"
        await self._write(budget, {**status, "conditions": _conditions(budget, bool(allowed), reason)})
        if disrupted:
            first = min(clock.parse(moment).timestamp() for moment in disrupted.values())
            self._queue.add_after(key, max(0.0, first + DELETION_TIMEOUT - now))

    def _wanted(self, budget: Object, pods: list[Object]) -> tuple[int, int]:
        """How many pods there are meant to be, and how many must be healthy at least. Raises Uncountable."""
        spec = budget.get("spec") or {}
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        if most is not None:
            expected = self._meant_to_be(budget, pods)
            return expected, max(0, expected - share_of(most, expected, up=True))
        if isinstance(least, str):
            expected = self._meant_to_be(budget, pods)
            return expected, share_of(least, expected, up=True)
        return (len(pods), least) if least is not None else (0, 0)

    def _meant_to_be(self, budget: Object, pods: Iterable[Object]) -> int:
        """The sum of what the pods' controllers were asked for."""
        counted: dict[str, int] = {}
        unmanaged = False
        for pod in pods:
            owner = controller_of(pod)
            if owner is None:
                unmanaged = True
            elif owner["uid"] not in counted:
                scaled = self._scaled(owner, pod)
                counted[scaled["metadata"]["uid"]] = int(scaled["spec"]["replicas"])
                if scaled["metadata"]["uid"] != owner["uid"]:
                    counted[owner["uid"]] = 0
        if unmanaged:
            shown = shown_requirements((budget.get("spec") or {}).get("selector") or {})
            self._say(budget, WARNING, "UnmanagedPods", UNMANAGED.format(shown))
        return sum(counted.values())

    def _scaled(self, owner: Mapping[str, Any], pod: Object) -> Object:
        """The one whose ``replicas`` decide: of a deployment's replica set that is the deployment."""
        kind = (owner.get("apiVersion", ""), owner.get("kind", ""))
        if kind not in self._owners:
            group = kind[0].rpartition("/")[0]
            named = f"{kind[1]}.{group}" if group else kind[1]
            raise Uncountable(f"{named} does not implement the scale subresource")
        found = self._owners[kind].cache.get(f"{pod['metadata']['namespace']}/{owner['name']}")
        if found is None or found["metadata"]["uid"] != owner["uid"]:
            raise Uncountable(f'found no controllers for pod "{pod["metadata"]["name"]}"')
        above = controller_of(found)
        return self._scaled(above, pod) if above else found

    def _on_their_way(self, budget: Object, pods: Iterable[Object], now: float) -> dict[str, str]:
        """Pods whose eviction was granted and that are not seen to go yet, with the moment of the grant."""
        granted = (budget.get("status") or {}).get("disruptedPods") or {}
        meta, going = budget["metadata"], {}
        for pod in pods:
            name = pod["metadata"]["name"]
            if name not in granted or pod["metadata"].get("deletionTimestamp"):
                continue
            if clock.parse(granted[name]).timestamp() + DELETION_TIMEOUT > now:
                going[name] = granted[name]
            else:
                why = f"Pod was expected by PDB {meta['namespace']}/{meta['name']} to be deleted but it wasn't"
                self._say(pod, WARNING, "NotDeleted", why)
        return going

    async def _write(self, budget: Object, status: Object) -> None:
        """On condition that no eviction was granted meanwhile."""
        await write_status(self._client, "poddisruptionbudgets", budget, status)

    def _say(self, obj: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.say(obj, kind, reason, message, component=COMPONENT)


def covers(budget: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether the pod is the budget's; an empty selector means all pods of the namespace, none means none."""
    selector = (budget.get("spec") or {}).get("selector")
    if selector is None or budget["metadata"]["namespace"] != pod["metadata"]["namespace"]:
        return False
    return matches(requirements_of(selector), pod)


def _is_healthy(pod: Mapping[str, Any], disrupted: Mapping[str, str]) -> bool:
    meta = pod["metadata"]
    return not meta.get("deletionTimestamp") and meta["name"] not in disrupted and is_ready(pod)


def _failed(budget: Object, message: str) -> Object:
    """Nothing may be evicted while nothing is known."""
    status = budget.get("status") or {}
    return {**status, "disruptionsAllowed": 0, "conditions": _conditions(budget, False, "SyncFailed", message)}


def _conditions(budget: Object, allowed: bool, reason: str, message: str = "") -> list[Object]:
    present = (budget.get("status") or {}).get("conditions") or ()
    old: Mapping[str, Any] = next((one for one in present if one["type"] == CONDITION), {})
    status = "True" if allowed else "False"
    said = {
        "type": CONDITION,
        "status": status,
        "observedGeneration": budget["metadata"].get("generation") or 0,
        "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else rfc3339(),
        "reason": reason,
        "message": message,
    }
    return [*(dict(one) for one in present if one["type"] != CONDITION), said]
