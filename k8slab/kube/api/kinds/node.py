"""Node: a machine that runs pods; its status is the kubelet's word."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, PROXY_VERBS, Column, Kind, Subresource
from k8slab.kube.api.meta import Object, dig

ROLE_LABEL: Final = "node-role.kubernetes.io/"
OLD_ROLE_LABEL: Final = "kubernetes.io/role"
EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _status(obj: Object) -> str:
    ready = next((one for one in dig(obj, "status", "conditions") or () if one.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{word},SchedulingDisabled" if dig(obj, "spec", "unschedulable") else word


def _roles(obj: Object) -> str:
    labels = obj["metadata"].get("labels") or {}
    roles = {key[len(ROLE_LABEL) :] for key in labels if key.startswith(ROLE_LABEL)}
    if labels.get(OLD_ROLE_LABEL):
        roles.add(labels[OLD_ROLE_LABEL])
    return ",".join(sorted(filter(None, roles))) or "<none>"


def _address(kind: str) -> Column:
    def read(obj: Object) -> str:
        addresses = dig(obj, "status", "addresses") or ()
        return next((one.get("address") for one in addresses if one.get("type") == kind), None) or "<none>"

    return Column("Internal-IP" if kind == "InternalIP" else "External-IP", read, wide=True)


def _info(name: str, field: str, *, wide: bool = True) -> Column:
    def read(obj: Object) -> str:
        return dig(obj, "status", "nodeInfo", field) or ("<unknown>" if wide else "")

    return Column(name, read, wide=wide)


def _prepare(new: Object, old: Object | None) -> None:
    # A kubelet registers its node with the status filled in, so creation keeps it.
    if old is not None:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    seen = set()
    for index, taint in enumerate(dig(new, "spec", "taints") or ()):
        path = f"spec.taints[{index}]"
        found += validation.checked(f"{path}.key", taint.get("key") or "", validation.qualified_name)
        found += validation.checked(f"{path}.value", taint.get("value") or "", validation.label_value)
        if not taint.get("effect"):
            found.append(validation.required(f"{path}.effect"))
        else:
            found += validation.one_of(f"{path}.effect", taint["effect"], EFFECTS)
        pair = (taint.get("key"), taint.get("effect"))
        if pair in seen:
            found.append(validation.duplicate(path, taint))
        seen.add(pair)
    cidr = dig(new, "spec", "podCIDR")
    if cidr:
        try:
            ip_network(cidr, strict=False)
        except ValueError:
            found.append(validation.invalid("spec.podCIDRs[0]", cidr, "must be a valid CIDR value, (e.g. 10.9.8.0/24)"))
        was = old and dig(old, "spec", "podCIDR")
        if was and was != cidr:
            found.append(
                validation.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
            )
    return found


def _defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs") and not spec.get("podCIDR"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    status = obj.get("status")
    if status and status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


NODE: Final = Kind(
    kind="Node",
    plural="nodes",
    singular="node",
    namespaced=False,
    short_names=("no",),
    columns=(
        NAME,
        Column("Status", _status),
        Column("Roles", _roles),
        AGE,
        _info("Version", "kubeletVersion", wide=False),
        _address("InternalIP"),
        _address("ExternalIP"),
        _info("OS-Image", "osImage"),
        _info("Kernel-Version", "kernelVersion"),
        _info("Container-Runtime", "containerRuntimeVersion"),
    ),
    fields={"spec.unschedulable": lambda obj: "true" if dig(obj, "spec", "unschedulable") else "false"},
    default=_defaults,
    prepare=_prepare,
    validate=_problems,
    status=True,
    subresources=(Subresource("proxy", "NodeProxyOptions", PROXY_VERBS, has_paths=True),),
)
