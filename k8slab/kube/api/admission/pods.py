"""What the cluster adds to a new pod: its importance, and how long it stays on a node that is away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.api import errors
from k8slab.kube.api.kinds.scheduling import PRIORITY_CLASS
from k8slab.kube.api.known import Known
from k8slab.kube.api.meta import Object

EVICTING: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
TOLERATION_SECONDS: Final = dict.fromkeys(EVICTING, 300)


async def rank(pod: Object, known: Known) -> None:
    """The number that the pod's priority class stands for. Raises Forbidden for a class that is not there."""
    spec, name = pod["spec"], pod["metadata"].get("name") or ""
    wanted = spec.get("priorityClassName") or ""
    if wanted:
        found = await known.find(PRIORITY_CLASS, "", wanted)
        if found is None:
            raise errors.forbidden("", "pods", name, f"no PriorityClass with name {wanted} was found")
    else:
        defaults = [one for one in known.all(PRIORITY_CLASS, "") if one.get("globalDefault")]
        found = min(defaults, key=lambda one: int(one["value"]), default=None)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
    value = int(found["value"]) if found else 0
    policy = (found or {}).get("preemptionPolicy") or "PreemptLowerPriority"
    if spec.get("priority") not in (None, value):
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
        )
        raise errors.forbidden("", "pods", name, f"{why}controller computed {value} from the given PriorityClass name")
    if spec.get("preemptionPolicy") not in (None, policy):
        why = f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
        text = f"{why}priority admission controller computed {policy} from the given PriorityClass name"
        raise errors.forbidden("", "pods", name, text)
    spec["priority"], spec["preemptionPolicy"] = value, policy


def tolerate(pod: Object, seconds: Mapping[str, int]) -> None:
    """A pod stays for a while on a node that is not ready or out of reach, unless it says otherwise."""
    tolerations = list(pod["spec"].get("tolerations") or ())
    for key in EVICTING:
        if not any(_covers(one, key) for one in tolerations):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds[key]}
            )
    pod["spec"]["tolerations"] = tolerations


def _covers(toleration: dict[str, Any], key: str) -> bool:
    named = toleration.get("key") in (key, None, "")
    return named and toleration.get("effect") in ("NoExecute", None, "")
