"""The roles and bindings that every cluster has from the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from k8slab.kube.api.auth.rbac import GROUP
from k8slab.kube.api.auth.user import AUTHENTICATED, MASTERS, UNAUTHENTICATED

READ: Final = ("get", "list", "watch")
WRITE: Final = ("create", "delete", "deletecollection", "patch", "update")
LABELS: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
# A change by hand of what is here is kept unless the object is gone: "true" lets the server restore it at start.
ANNOTATIONS: Final = {"rbac.authorization.kubernetes.io/autoupdate": "true"}

Rule = dict[str, Any]


def _rule(verbs: Sequence[str], group: str, *resources: str) -> Rule:
    return {"verbs": list(verbs), "apiGroups": [group], "resources": list(resources)}


def _paths(*paths: str) -> Rule:
    return {"verbs": ["get"], "nonResourceURLs": list(paths)}


_WORKLOADS: Final = ("daemonsets", "deployments", "replicasets", "statefulsets")
_SCALED: Final = ("deployments/scale", "replicasets/scale", "statefulsets/scale")

_VIEW: Final[tuple[Rule, ...]] = (
    _rule(
        READ,
        "",
        *("configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods"),
        *("replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services", "services/status"),
    ),
    _rule(
        READ,
        "",
        *("bindings", "events", "limitranges", "namespaces/status", "pods/log", "pods/status"),
        *("replicationcontrollers/status", "resourcequotas", "resourcequotas/status", "namespaces"),
    ),
    _rule(READ, "discovery.k8s.io", "endpointslices"),
    _rule(READ, "apps", "controllerrevisions", *_WORKLOADS, *_SCALED, *(f"{one}/status" for one in _WORKLOADS)),
    _rule(READ, "autoscaling", "horizontalpodautoscalers", "horizontalpodautoscalers/status"),
    _rule(READ, "batch", "cronjobs", "cronjobs/status", "jobs", "jobs/status"),
    _rule(READ, "policy", "poddisruptionbudgets", "poddisruptionbudgets/status"),
    _rule(READ, "networking.k8s.io", "ingresses", "ingresses/status", "networkpolicies"),
    _rule(READ, "metrics.k8s.io", "pods", "nodes"),
)
_EDIT: Final[tuple[Rule, ...]] = (
    _rule(READ, "", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"),
    _rule(("impersonate",), "", "serviceaccounts"),
    _rule(WRITE, "", "pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"),
    _rule(("create",), "", "pods/eviction"),
    _rule(
        WRITE,
        "",
        *("configmaps", "events", "persistentvolumeclaims", "replicationcontrollers", "replicationcontrollers/scale"),
        *("secrets", "serviceaccounts", "services", "services/proxy"),
    ),
    _rule(("create",), "", "serviceaccounts/token"),
    _rule(WRITE, "apps", *_WORKLOADS, *_SCALED, "deployments/rollback"),
    _rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
    _rule(WRITE, "batch", "cronjobs", "jobs"),
    _rule(WRITE, "policy", "poddisruptionbudgets"),
    _rule(WRITE, "networking.k8s.io", "ingresses", "networkpolicies"),
    _rule((*WRITE, *READ), "coordination.k8s.io", "leases"),
)
_ADMIN: Final[tuple[Rule, ...]] = (
    _rule(("create",), "authorization.k8s.io", "localsubjectaccessreviews"),
    _rule((*WRITE, *READ), GROUP, "rolebindings", "roles"),
)
_SELF: Final = (
    _rule(("create",), "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
    _rule(("create",), "authentication.k8s.io", "selfsubjectreviews"),
)
_INFO: Final = ("/healthz", "/livez", "/readyz", "/version", "/version/")

CLUSTER_ROLES: Final[dict[str, tuple[Rule, ...]]] = {
    "cluster-admin": (
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ),
    "admin": (*_ADMIN, *_EDIT, *_VIEW),
    "edit": (*_EDIT, *_VIEW),
    "view": _VIEW,
    "system:discovery": (_paths("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_INFO),),
    "system:public-info-viewer": (_paths(*_INFO),),
    "system:monitoring": (_paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*"),),
    "system:basic-user": _SELF,
    "system:auth-delegator": (
        _rule(("create",), "authentication.k8s.io", "tokenreviews"),
        _rule(("create",), "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:service-account-issuer-discovery": (_paths("/.well-known/openid-configuration", "/openid/v1/jwks"),),
    "system:kube-scheduler": (
        _rule(("create", "patch", "update"), "", "events"),
        _rule(("create", "patch", "update"), "events.k8s.io", "events"),
        _rule((*READ, "create", "update"), "coordination.k8s.io", "leases"),
        _rule((*READ, "delete"), "", "pods"),
        _rule(("create",), "", "bindings", "pods/binding"),
        _rule(("patch", "update"), "", "pods/status"),
        _rule(READ, "", "nodes", "namespaces", "replicationcontrollers", "services", "endpoints"),
        _rule((*READ, "create", "update", "patch", "delete"), "", "nodes"),
        _rule(READ, "apps", "replicasets", "statefulsets"),
    ),
    "system:kube-controller-manager": ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},),
    "system:node": (
        _rule((*READ, "create", "patch", "update", "delete"), "", "nodes", "nodes/status", "pods", "pods/status"),
        _rule(READ, "", "configmaps", "secrets", "services", "endpoints", "serviceaccounts"),
        _rule(("create", "patch", "update"), "", "events"),
        _rule(("create",), "", "serviceaccounts/token", "pods/eviction"),
        _rule((*READ, "create", "update", "patch", "delete"), "coordination.k8s.io", "leases"),
        _rule(("create",), "authentication.k8s.io", "tokenreviews"),
        _rule(("create",), "authorization.k8s.io", "subjectaccessreviews"),
    ),
}

# binding → (cluster role, subjects as (kind, name)).
CLUSTER_ROLE_BINDINGS: Final[dict[str, tuple[str, tuple[tuple[str, str], ...]]]] = {
    "cluster-admin": ("cluster-admin", (("Group", MASTERS),)),
    "system:discovery": ("system:discovery", (("Group", AUTHENTICATED),)),
    "system:basic-user": ("system:basic-user", (("Group", AUTHENTICATED),)),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        (("Group", AUTHENTICATED), ("Group", UNAUTHENTICATED)),
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        (("Group", "system:serviceaccounts"),),
    ),
    "system:kube-scheduler": ("system:kube-scheduler", (("User", "system:kube-scheduler"),)),
    "system:kube-controller-manager": (
        "system:kube-controller-manager",
        (("User", "system:kube-controller-manager"),),
    ),
    "system:monitoring": ("system:monitoring", (("Group", "system:monitoring"),)),
    "system:node": ("system:node", (("Group", "system:nodes"),)),
}


def cluster_roles() -> list[dict[str, Any]]:
    return [
        {"metadata": _metadata(name), "rules": [dict(rule) for rule in rules]} for name, rules in CLUSTER_ROLES.items()
    ]


def cluster_role_bindings() -> list[dict[str, Any]]:
    return [
        {
            "metadata": _metadata(name),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": GROUP, "kind": kind, "name": subject} for kind, subject in subjects],
        }
        for name, (role, subjects) in CLUSTER_ROLE_BINDINGS.items()
    ]


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "labels": dict(LABELS), "annotations": dict(ANNOTATIONS)}
