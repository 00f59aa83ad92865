"""What pods ask for beside cores and memory: resources that a node only has when its status says so. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from k8slab.kube import quantity

Amounts = tuple[tuple[str, float], ...]


def extended(containers: Iterable[Mapping[str, Any]]) -> Amounts:
    """By name, resources with a domain in their names, such as example.com/dongle, and huge pages."""
    found: dict[str, float] = {}
    for one in containers:
        resources = one.get("resources") or {}
        for name, amount in {**(resources.get("requests") or {}), **(resources.get("limits") or {})}.items():
            if "/" in name or name.startswith("hugepages-"):
                found[name] = found.get(name, 0.0) + float(quantity.parse(amount))
    return tuple(sorted(found.items()))
