"""A service's IP families in a cluster that has IPv4 alone, with the original's sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem

FAMILIES: Final = ("IPv4", "IPv6")
POLICIES: Final = ("PreferDualStack", "RequireDualStack", "SingleStack")
OWN: Final = "IPv4"
_POLICY: Final = "spec.ipFamilyPolicy"


def is_headless(spec: Mapping[str, Any]) -> bool:
    return spec.get("clusterIP") == "None"


def family_defaults(spec: dict[str, Any]) -> None:
    # Whoever writes endpoints by hand may write them of both families, wherever the cluster itself stands.
    by_hand = is_headless(spec) and not spec.get("selector")
    if spec.get("ipFamilyPolicy") is None:
        spec["ipFamilyPolicy"] = "RequireDualStack" if by_hand else "SingleStack"
    families = spec.get("ipFamilies") or [OWN]
    if by_hand and len(families) == 1 and spec["ipFamilyPolicy"] != "SingleStack":
        families = [*families, *(one for one in FAMILIES if one not in families)][:2]
    spec["ipFamilies"] = families


def family_problems(spec: Mapping[str, Any]) -> list[FieldProblem]:
    return [*_form(spec)] or [*_fit(spec)] or [*_cluster(spec)]


def _form(spec: Mapping[str, Any]) -> Iterator[FieldProblem]:
    """What is wrong wherever it is asked for."""
    addresses, families = spec.get("clusterIPs") or (), spec["ipFamilies"]
    for index, family in enumerate(families):
        where = f"spec.ipFamilies[{index}]"
        yield from validation.one_of(where, family, FAMILIES)
        if family in families[:index]:
            yield validation.duplicate(where, family)
    yield from validation.one_of(_POLICY, spec["ipFamilyPolicy"], POLICIES)
    if is_headless(spec):
        return
    for index, (address, family) in enumerate(zip(addresses, families, strict=False)):
        other = validation.family_address("", address, "IPv6" if family == "IPv4" else "IPv4")
        if family in FAMILIES and not other:
            why = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield validation.invalid(f"spec.clusterIPs[{index}]", address, why)


def _fit(spec: Mapping[str, Any]) -> Iterator[FieldProblem]:
    """Whether there are as many as the policy says."""
    if spec["ipFamilyPolicy"] != "SingleStack":
        return
    for field, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
        if len(spec.get(field) or ()) == len(FAMILIES):
            why = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            yield validation.invalid(_POLICY, "SingleStack", why)


def _cluster(spec: Mapping[str, Any]) -> Iterator[FieldProblem]:
    """Whether the cluster has what is asked for."""
    if is_headless(spec) and not spec.get("selector"):
        return
    if spec["ipFamilyPolicy"] == "RequireDualStack":
        why = "this cluster is not configured for dual-stack services"
        yield validation.invalid(_POLICY, "RequireDualStack", why)
    for index, family in enumerate(spec["ipFamilies"]):
        if family != OWN:
            yield validation.invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
