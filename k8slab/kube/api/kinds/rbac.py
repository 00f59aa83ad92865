"""Roles and the bindings that give them to users."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.meta import Object, dig

GROUP: Final = "rbac.authorization.k8s.io"
SUBJECTS: Final = ("Group", "ServiceAccount", "User")

CREATED: Final = Column("Created At", lambda obj: obj["metadata"].get("creationTimestamp") or "", type="date")


def _role_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found = []
    for index, rule in enumerate(new.get("rules") or ()):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            found.append(validation.required(f"{path}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if new.get("kind") == "Role" or new["metadata"].get("namespace"):
                why = "namespaced rules cannot apply to non-resource URLs"
                found.append(validation.invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                found.append(validation.invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], why))
            continue
        if not rule.get("apiGroups"):
            why = "resource rules must supply at least one api group"
            found.append(validation.required(f"{path}.apiGroups", why))
        if not rule.get("resources"):
            why = "resource rules must supply at least one resource"
            found.append(validation.required(f"{path}.resources", why))
    return found


def _binding_defaults(obj: Object) -> None:
    reference = obj.get("roleRef")
    if isinstance(reference, dict):
        reference.setdefault("apiGroup", GROUP)
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", GROUP)


def _binding_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found = []
    namespaced = bool(new["metadata"].get("namespace"))
    reference = new.get("roleRef") or {}
    kinds = ("ClusterRole", "Role") if namespaced else ("ClusterRole",)
    if reference.get("apiGroup") != GROUP:
        found.append(validation.not_supported("roleRef.apiGroup", reference.get("apiGroup") or "", (GROUP,)))
    if reference.get("kind") not in kinds:
        found.append(validation.not_supported("roleRef.kind", reference.get("kind") or "", kinds))
    if not reference.get("name"):
        found.append(validation.required("roleRef.name", ""))
    for index, subject in enumerate(new.get("subjects") or ()):
        path = f"subjects[{index}]"
        if not subject.get("name"):
            found.append(validation.required(f"{path}.name", ""))
        if subject.get("kind") not in SUBJECTS:
            found.append(validation.not_supported(f"{path}.kind", subject.get("kind") or "", SUBJECTS))
        if subject.get("kind") == "ServiceAccount":
            found += _account_problems(subject, path, namespaced=namespaced)
        elif subject.get("kind") in SUBJECTS and subject.get("apiGroup") != GROUP:
            found.append(validation.not_supported(f"{path}.apiGroup", subject.get("apiGroup") or "", (GROUP,)))
    if old is not None and new.get("roleRef") != old.get("roleRef"):
        found.append(validation.invalid("roleRef", new.get("roleRef"), "cannot change roleRef"))
    return found


def _account_problems(subject: Object, path: str, *, namespaced: bool) -> list[FieldProblem]:
    name, group = subject.get("name") or "", subject.get("apiGroup") or ""
    found = validation.checked(f"{path}.name", name, validation.subdomain) if name else []
    if group:
        found.append(validation.not_supported(f"{path}.apiGroup", group, ("",)))
    if not namespaced and not subject.get("namespace"):
        found.append(validation.required(f"{path}.namespace", ""))
    return found


def _subjects(kind: str) -> Column:
    def read(obj: Object) -> str:
        named = [
            "/".join(filter(None, (one.get("namespace"), one["name"])))
            for one in obj.get("subjects") or ()
            if one.get("kind") == kind
        ]
        return ", ".join(named)

    return Column(f"{kind}s", read, wide=True)


_ROLE_OF: Final = Column("Role", lambda obj: f"{dig(obj, 'roleRef', 'kind')}/{dig(obj, 'roleRef', 'name')}")
_BOUND: Final = (NAME, _ROLE_OF, AGE, _subjects("User"), _subjects("Group"), _subjects("ServiceAccount"))


def _rbac(kind: str, plural: str, singular: str, *, namespaced: bool, binding: bool) -> Kind:
    return Kind(
        kind=kind,
        plural=plural,
        singular=singular,
        group=GROUP,
        namespaced=namespaced,
        columns=_BOUND if binding else (NAME, CREATED),
        default=_binding_defaults if binding else lambda obj: None,
        validate=_binding_problems if binding else _role_problems,
        name_problems=validation.path_segment,
    )


ROLE: Final = _rbac("Role", "roles", "role", namespaced=True, binding=False)
CLUSTER_ROLE: Final = _rbac("ClusterRole", "clusterroles", "clusterrole", namespaced=False, binding=False)
ROLE_BINDING: Final = _rbac("RoleBinding", "rolebindings", "rolebinding", namespaced=True, binding=True)
CLUSTER_ROLE_BINDING: Final = _rbac(
    "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", namespaced=False, binding=True
)
