"""Role-based access: what the roles bound to a user allow. Pure: roles and bindings in, a decision out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Protocol

from k8slab.kube.api.auth.attributes import Attributes
from k8slab.kube.api.auth.user import SERVICE_ACCOUNT_PREFIX, User

ALL: Final = "*"
GROUP: Final = "rbac.authorization.k8s.io"

Object = Mapping[str, Any]
Rule = Mapping[str, Any]


class Policies(Protocol):
    """Where roles and bindings are found."""

    def cluster_role(self, name: str) -> Object | None: ...

    def role(self, namespace: str, name: str) -> Object | None: ...

    def cluster_role_bindings(self) -> Iterable[Object]: ...

    def role_bindings(self, namespace: str) -> Iterable[Object]: ...


@dataclass(frozen=True)
class Decision:
    """``reason`` says by what it was allowed, or what went wrong on the way."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True)
class Grant:
    """A rule that holds for a user, and the binding that gives it."""

    rule: Rule
    said: str


def decide(policies: Policies, user: User, wanted: Attributes) -> Decision:
    missing: list[str] = []
    for grant in grants(policies, user, wanted.namespace, missing):
        if allows(grant.rule, wanted):
            return Decision(True, grant.said)
    return Decision(False, f"RBAC: {'; '.join(missing)}" if missing else "")


def grants(policies: Policies, user: User, namespace: str, missing: list[str]) -> Iterator[Grant]:
    """Every rule that holds for the user in the namespace; roles that are bound but not there go to ``missing``."""
    for binding in policies.cluster_role_bindings():
        subject = _subject(binding, user, "")
        if subject:
            yield from _bound(policies, binding, "ClusterRoleBinding", subject, "", missing)
    if namespace:
        for binding in policies.role_bindings(namespace):
            subject = _subject(binding, user, namespace)
            if subject:
                yield from _bound(policies, binding, "RoleBinding", subject, namespace, missing)


def _bound(
    policies: Policies, binding: Object, form: str, subject: str, namespace: str, missing: list[str]
) -> Iterator[Grant]:
    reference = binding.get("roleRef") or {}
    kind, name = reference.get("kind", ""), reference.get("name", "")
    role = policies.cluster_role(name) if kind == "ClusterRole" else policies.role(namespace, name)
    if role is None:
        missing.append(f'{kind.lower()}.{GROUP} "{name}" not found')
        return
    place = f"/{namespace}" if namespace else ""
    said = f'RBAC: allowed by {form} "{binding["metadata"]["name"]}{place}" of {kind} "{name}" to {subject}'
    for rule in role.get("rules") or ():
        yield Grant(rule, said)


def _subject(binding: Object, user: User, namespace: str) -> str:
    """The subject of the binding that the user is, in words; "" when it is none."""
    for subject in binding.get("subjects") or ():
        name = subject.get("name", "")
        match subject.get("kind"):
            case "User" if user.name == name:
                return f'User "{name}"'
            case "Group" if name in user.groups:
                return f'Group "{name}"'
            case "ServiceAccount":
                place = subject.get("namespace") or namespace
                if place and user.name == f"{SERVICE_ACCOUNT_PREFIX}{place}:{name}":
                    return f'ServiceAccount "{name}/{place}"'
    return ""


def allows(rule: Rule, wanted: Attributes) -> bool:
    if not _holds(rule, "verbs", wanted.verb):
        return False
    if wanted.path:
        return any(_path_matches(pattern, wanted.path) for pattern in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames") or ()
    return (
        _holds(rule, "apiGroups", wanted.group)
        and _resource_matches(rule.get("resources") or (), wanted)
        and (not names or wanted.name in names)
    )


def _holds(rule: Rule, field: str, value: str) -> bool:
    given = rule.get(field) or ()
    return ALL in given or value in given


def _resource_matches(resources: Iterable[str], wanted: Attributes) -> bool:
    for resource in resources:
        if resource in (ALL, wanted.full_resource):
            return True
        if wanted.subresource and resource == f"{ALL}/{wanted.subresource}":
            return True
    return False


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in (ALL, path) or (pattern.endswith(ALL) and path.startswith(pattern[:-1]))


def uncovered(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of the wanted rules that the held ones do not allow: nobody may give what they do not have."""
    owned = list(held)
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(one, part) for one in owned)]


def _parts(rule: Rule) -> Iterator[Rule]:
    """The rule taken apart into rules of one verb, one resource, one name each."""
    verbs = rule.get("verbs") or ()
    for verb, path in product(verbs, rule.get("nonResourceURLs") or ()):
        yield {"verbs": [verb], "nonResourceURLs": [path]}
    for verb, group, resource in product(verbs, rule.get("apiGroups") or (), rule.get("resources") or ()):
        part = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
        names = rule.get("resourceNames")
        yield from ({**part, "resourceNames": [name]} for name in names) if names else (part,)


def _covers(held: Rule, part: Rule) -> bool:
    [verb] = part["verbs"]
    if not _holds(held, "verbs", verb):
        return False
    if "nonResourceURLs" in part:
        [path] = part["nonResourceURLs"]
        return any(_path_matches(pattern, path) for pattern in held.get("nonResourceURLs") or ())
    [group], [resource] = part["apiGroups"], part["resources"]
    whole, _, sub = resource.partition("/")
    if not _holds(held, "apiGroups", group) or not _resource_matches(
        held.get("resources") or (), Attributes(verb, resource=whole, subresource=sub)
    ):
        return False
    names = held.get("resourceNames") or ()
    return not names or part.get("resourceNames", [""])[0] in names
