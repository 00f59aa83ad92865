"""Evictions: deletions that ask the pod's disruption budget first."""

from __future__ import annotations

from aiohttp import web

from k8slab.kube.api import answers, bodies, deletion, errors
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.policy import PDB
from k8slab.kube.api.meta import Object, dig, now
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked, is_dry_run
from k8slab.kube.api.selectors import requirements_of
from k8slab.kube.api.verbs import Verbs

FORM = "Eviction"
VERSION = "policy/v1"
ELDER = "policy/v1beta1"
RETRY_SECONDS = 10
# A budget that remembers so many pods on their way out waits for its controller.
MOST_DISRUPTED = 2000


async def serve_eviction(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    answers.wanted_by(request)
    eviction, warnings = await bodies.read_as(request, FORM, VERSION, FORM, elder=ELDER)
    given = eviction["metadata"].get("name") or ""
    if given != asked.name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    dry_run = is_dry_run(request.query, "CreateOptions")
    options = deletion.parse_options(eviction.get("deleteOptions") or {}, {}, dry_run=dry_run)
    registry = verbs.registry
    record = await registry.get(kind, asked.namespace, asked.name)
    pod = kind.decode(record.value, record.revision)
    if _counts(pod):
        await _take_from_budget(registry, pod, dry_run=options.dry_run)
    await deletion.delete(registry, kind, asked.namespace, asked.name, options)
    return answers.success(request, code=201, warnings=warnings)


def _counts(pod: Object) -> bool:
    """Whether the pod's going is a disruption: not when it has ended, has not begun, or is going already."""
    phase = dig(pod, "status", "phase")
    return phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp")


async def _take_from_budget(registry: Registry, pod: Object, *, dry_run: bool) -> None:
    """One disruption from the pod's budget. Raises 429 when there is none left, 500 for a pod of several budgets."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    labels = pod["metadata"].get("labels") or {}
    budgets = [
        entry.obj
        for entry in registry.cache.of(PDB).scan(PDB.scope(namespace))
        if (selector := dig(entry.obj, "spec", "selector")) is not None
        and all(one.holds(labels) for one in requirements_of(selector))
    ]
    if not budgets:
        return
    if len(budgets) > 1:
        why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiFailure(500, "InternalError", why)

    def disrupt(budget: Object) -> Object:
        status = dict(budget.get("status") or {})
        if _is_spare(budget, pod):
            return budget
        generation = budget["metadata"].get("generation") or 0
        title = budget["metadata"]["name"]
        if (status.get("observedGeneration") or 0) < generation:
            why = f"The disruption budget {title} is still being processed by the server."
            raise _too_many("Cannot evict pod as it would violate the pod's disruption budget.", why, RETRY_SECONDS)
        disrupted = dict(status.get("disruptedPods") or {})
        if len(disrupted) > MOST_DISRUPTED:
            why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
            raise errors.forbidden("policy", "poddisruptionbudgets", title, why)
        allowed = status.get("disruptionsAllowed") or 0
        if allowed < 1:
            why = (
                f"The disruption budget {title} needs {status.get('desiredHealthy') or 0} healthy pods and has "
                f"{status.get('currentHealthy') or 0} currently"
            )
            raise _too_many("Cannot evict pod as it would violate the pod's disruption budget.", why, 0)
        status["disruptionsAllowed"] = allowed - 1
        status["disruptedPods"] = {**disrupted, name: now()}
        return {**budget, "status": status}

    await registry.change(PDB, namespace, budgets[0]["metadata"]["name"], disrupt, dry_run=dry_run)


def _is_spare(budget: Object, pod: Object) -> bool:
    """A pod that is not ready is no loss, when the budget has what it needs or says so."""
    conditions = dig(pod, "status", "conditions") or ()
    if any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions):
        return False
    if dig(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy") or 0
    return desired > 0 and (status.get("currentHealthy") or 0) >= desired


def _too_many(message: str, why: str, seconds: int) -> ApiFailure:
    details = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    return ApiFailure(429, "TooManyRequests", message, details=details, retry_after=seconds)
