"""Roles, bindings and service accounts as the server's cache has them."""

from __future__ import annotations

from collections.abc import Iterable

from k8slab.kube.api.auth.rbac import Object
from k8slab.kube.api.auth.tokens import Claims
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from k8slab.kube.api.kinds.small import SECRET, SERVICE_ACCOUNT

BOUND: dict[str, Kind] = {"Pod": POD, "Secret": SECRET, "Node": NODE}


class CachedAccounts:
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def problem(self, claims: Claims) -> str:
        account = self.found(SERVICE_ACCOUNT, claims.namespace, claims.name)
        if account is None or account["metadata"].get("uid") != claims.uid:
            return "the service account is gone"
        if account["metadata"].get("deletionTimestamp"):
            return "the service account is being deleted"
        if claims.bound is not None:
            kind = BOUND[claims.bound.kind]
            bound = self.found(kind, claims.namespace if kind.namespaced else "", claims.bound.name)
            if bound is None or bound["metadata"].get("uid") != claims.bound.uid:
                return f"the {claims.bound.kind} it is bound to is gone"
        return ""

    def found(self, kind: Kind, namespace: str, name: str) -> Object | None:
        entry = self._cache.of(kind).entries.get(kind.key(namespace, name))
        return entry.obj if entry is not None else None


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
