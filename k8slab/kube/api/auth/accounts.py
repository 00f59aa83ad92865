"""Roles, bindings and service accounts as the server's cache has them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from k8slab.kube.api.auth.rbac import Object
from k8slab.kube.api.auth.tokens import Claims
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from k8slab.kube.api.kinds.small import SECRET, SERVICE_ACCOUNT
from k8slab.kube.api.meta import parse_time

# By how much clocks may differ, in seconds.
LEEWAY: Final = 60.0
BOUND: dict[str, Kind] = {"Pod": POD, "Secret": SECRET, "Node": NODE}


class CachedAccounts:
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def problem(self, claims: Claims) -> str:
        account = self.found(SERVICE_ACCOUNT, claims.namespace, claims.name)
        if account is None or account["metadata"].get("uid") != claims.uid:
            return "the service account is gone"
        if is_over(account):
            return "the service account has been deleted"
        if claims.bound is not None:
            kind = BOUND[claims.bound.kind]
            bound = self.found(kind, claims.namespace if kind.namespaced else "", claims.bound.name)
            if bound is None or bound["metadata"].get("uid") != claims.bound.uid:
                return f"the {claims.bound.kind} it is bound to is gone"
            if is_over(bound):
                return f"the {claims.bound.kind} it is bound to has been deleted"
        return ""

    def found(self, kind: Kind, namespace: str, name: str) -> Object | None:
        entry = self._cache.of(kind).entries.get(kind.key(namespace, name))
        return entry.obj if entry is not None else None


def is_over(obj: Object) -> bool:
    """Whether it should have been gone by now, whatever it still waits for."""
    end = parse_time(obj["metadata"].get("deletionTimestamp") or "")
    return end is not None and end < time.time() - LEEWAY


class CachedPolicies:
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def cluster_role(self, name: str) -> Object | None:
        entry = self._cache.of(CLUSTER_ROLE).entries.get(CLUSTER_ROLE.key("", name))
        return entry.obj if entry is not None else None

    def role(self, namespace: str, name: str) -> Object | None:
        entry = self._cache.of(ROLE).entries.get(ROLE.key(namespace, name))
        return entry.obj if entry is not None else None

    def cluster_role_bindings(self) -> Iterable[Object]:
        return [entry.obj for entry in self._cache.of(CLUSTER_ROLE_BINDING).entries.values()]

    def role_bindings(self, namespace: str) -> Iterable[Object]:
        return [entry.obj for entry in self._cache.of(ROLE_BINDING).scan(ROLE_BINDING.scope(namespace))]
