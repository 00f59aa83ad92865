"""Binding: the one way in which a pod comes to a node."""

from __future__ import annotations

from k8slab.kube.api import errors, validation
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.meta import Object, now
from k8slab.kube.api.registry import Registry


async def bind(registry: Registry, namespace: str, name: str, binding: Object, *, dry_run: bool = False) -> None:
    """Assign the pod to the target node; the binding's annotations go onto the pod. Raises Conflict when it has one."""
    target = binding.get("target") or {}
    problems = []
    if target.get("kind") not in ("Node", "Minion", None, ""):
        problems.append(validation.not_supported("target.kind", target.get("kind"), ("Node", "<empty>")))
    if not target.get("name"):
        problems.append(validation.required("target.name"))
    if problems:
        raise errors.invalid("", "Binding", name, problems)

    def assign(pod: Object) -> Object:
        meta, spec = pod["metadata"], pod["spec"]
        if binding["metadata"].get("uid") not in (None, "", meta["uid"]):
            wanted = binding["metadata"]["uid"]
            why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {meta['uid']}"
            raise errors.conflict("", "pods/binding", name, why)
        if meta.get("deletionTimestamp"):
            raise errors.conflict(
                "", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host"
            )
        if spec.get("nodeName"):
            why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
            raise errors.conflict("", "pods/binding", name, why)
        spec["nodeName"] = target["name"]
        annotations = binding["metadata"].get("annotations")
        if annotations:
            meta["annotations"] = {**(meta.get("annotations") or {}), **annotations}
        status = pod.setdefault("status", {})
        others = [one for one in status.get("conditions") or () if one.get("type") != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
        status["conditions"] = [*others, scheduled]
        return pod

    await registry.change(POD, namespace, name, assign, dry_run=dry_run)
