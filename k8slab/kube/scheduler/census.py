"""Which pods are where, or are on their way there: kept up as pods come and go, asked for every placement.

A pod's groups are what it is one of many of: its controller, and the services that select it. Pods of one group are
spread over the nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from k8slab.kube.scheduler.extended import Amounts, extended
from k8slab.kube.scheduler.pod_terms import PodTerm, required_anti_affinity

Object = Mapping[str, Any]
Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resident:
    """``repels``: the terms of its required anti-affinity; ``leaving``: it is deleted, nobody is spread from it;
    ``extended``: what it holds of its node beside cores and memory."""

    uid: str
    namespace: str
    labels: Mapping[str, str]
    host: str
    groups: tuple[Group, ...]
    repels: tuple[PodTerm, ...]
    leaving: bool = False
    extended: Amounts = ()


@dataclass
class Census:
    _residents: dict[str, Resident] = field(default_factory=dict)
    _by_host: dict[str, dict[str, Resident]] = field(default_factory=lambda: defaultdict(dict))
    _counts: dict[Group, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    _repelling: dict[str, Resident] = field(default_factory=dict)
    _services: dict[str, dict[str, Mapping[str, str]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._residents)

    def __contains__(self, uid: str) -> bool:
        return uid in self._residents

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._residents.values())

    @property
    def repelling(self) -> Iterable[Resident]:
        """Those with required anti-affinity."""
        return self._repelling.values()

    def on(self, host: str) -> Collection[Resident]:
        return self._by_host[host].values() if host in self._by_host else ()

    def counts(self, group: Group) -> Mapping[str, int]:
        """How many pods of a group there are by host; hosts with none are left out."""
        return self._counts.get(group, _NONE)

    def place(self, pod: Object, host: str) -> None:
        """The pod is there from now on, wherever it was before."""
        meta = pod["metadata"]
        leaving = bool(meta.get("deletionTimestamp"))
        before = self._residents.get(meta["uid"])
        if before is not None:
            if (before.host, before.leaving, before.labels) == (host, leaving, meta.get("labels") or {}):
                return
            self.remove(meta["uid"])
        resident = Resident(
            uid=meta["uid"],
            namespace=meta["namespace"],
            labels=meta.get("labels") or {},
            host=host,
            groups=() if leaving else self.groups(pod),
            repels=required_anti_affinity(pod),
            leaving=leaving,
            extended=extended(pod["spec"]["containers"]),
        )
        self._add(resident)

    def remove(self, uid: str) -> None:
        gone = self._residents.pop(uid, None)
        if gone is None:
            return
        del self._by_host[gone.host][uid]
        if not self._by_host[gone.host]:
            del self._by_host[gone.host]
        self._repelling.pop(uid, None)
        for group in gone.groups:
            hosts = self._counts[group]
            hosts[gone.host] -= 1
            if not hosts[gone.host]:
                del hosts[gone.host]
            if not hosts:
                del self._counts[group]

    def groups(self, pod: Object) -> tuple[Group, ...]:
        meta = pod["metadata"]
        found = [("owner", one["uid"]) for one in meta.get("ownerReferences") or () if one.get("controller")]
        return (*found, *self._selecting(meta["namespace"], meta.get("labels") or {}))

    def set_service(self, service: Object) -> None:
        meta, selector = service["metadata"], (service.get("spec") or {}).get("selector") or {}
        known = self._services.setdefault(meta["namespace"], {})
        if known.get(meta["name"], {}) == selector:
            return
        if selector:
            known[meta["name"]] = selector
        else:
            known.pop(meta["name"], None)
        self._regroup(meta["namespace"])

    def remove_service(self, service: Object) -> None:
        meta = service["metadata"]
        if self._services.get(meta["namespace"], {}).pop(meta["name"], None):
            self._regroup(meta["namespace"])

    def _add(self, resident: Resident) -> None:
        self._residents[resident.uid] = resident
        self._by_host[resident.host][resident.uid] = resident
        if resident.repels:
            self._repelling[resident.uid] = resident
        for group in resident.groups:
            hosts = self._counts[group]
            hosts[resident.host] = hosts.get(resident.host, 0) + 1

    def _regroup(self, namespace: str) -> None:
        for one in [one for one in self if one.namespace == namespace and not one.leaving]:
            kept = tuple(group for group in one.groups if group[0] == "owner")
            self.remove(one.uid)
            self._add(replace(one, groups=(*kept, *self._selecting(namespace, one.labels))))

    def _selecting(self, namespace: str, labels: Mapping[str, str]) -> list[Group]:
        return [
            ("service", namespace, name)
            for name, selector in self._services.get(namespace, {}).items()
            if selector.items() <= labels.items()
        ]


_NONE: Mapping[str, int] = {}
