"""What roles allow, and what nobody may give away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from k8slab.kube.api.auth.attributes import Attributes, of_resource
from k8slab.kube.api.auth.policy import cluster_role_bindings, cluster_roles
from k8slab.kube.api.auth.rbac import allows, decide, uncovered
from k8slab.kube.api.auth.user import ANONYMOUS, User, authenticated, service_account
from k8slab.kube.api.requests import Asked

Object = Mapping[str, Any]


@dataclass
class Books:
    """The roles every cluster has, and what a test adds."""

    roles: dict[tuple[str, str], Object] = field(default_factory=dict)
    bindings: dict[str, list[Object]] = field(default_factory=dict)
    more: list[Object] = field(default_factory=list)

    def cluster_role(self, name: str) -> Object | None:
        return next((role for role in cluster_roles() if role["metadata"]["name"] == name), None)

    def role(self, namespace: str, name: str) -> Object | None:
        return self.roles.get((namespace, name))

    def cluster_role_bindings(self) -> Iterable[Object]:
        return [*cluster_role_bindings(), *self.more]

    def role_bindings(self, namespace: str) -> Iterable[Object]:
        return self.bindings.get(namespace, [])


def binding(called: str, form: str, role: str, **subject: str) -> Object:
    return {"metadata": {"name": called}, "roleRef": {"kind": form, "name": role}, "subjects": [subject]}


JANE = authenticated(User("jane", ("staff",)))


@pytest.mark.parametrize(
    ("rule", "wanted", "expected"),
    [
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, Attributes("get", resource="pods"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, Attributes("list", resource="pods"), False),
        ({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"]}, Attributes("get", resource="pods"), False),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            Attributes("get", resource="pods", subresource="log"),
            False,
        ),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["*/log"]},
            Attributes("get", resource="pods", subresource="log"),
            True,
        ),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]},
            Attributes("get", resource="secrets", name="b"),
            False,
        ),
        ({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, Attributes("get", path="/api/v1"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}, Attributes("get", path="/apis"), False),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, Attributes("get", path="/api"), False),
    ],
)
def test_a_rule_allows(rule: Object, wanted: Attributes, expected: bool) -> None:
    assert allows(rule, wanted) is expected


def test_a_role_binding_reaches_no_further_than_its_namespace() -> None:
    books = Books(
        roles={("n", "reader"): {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}},
        bindings={"n": [binding("readers", "Role", "reader", kind="Group", name="staff")]},
    )
    found = decide(books, JANE, Attributes("get", resource="pods", namespace="n"))
    assert found.allowed
    assert found.reason == 'RBAC: allowed by RoleBinding "readers/n" of Role "reader" to Group "staff"'
    assert not decide(books, JANE, Attributes("get", resource="pods", namespace="m")).allowed
    assert not decide(books, JANE, Attributes("get", resource="pods")).allowed


def test_a_cluster_role_bound_in_a_namespace_holds_there() -> None:
    account = service_account("n", "robot")
    books = Books(
        bindings={"n": [binding("b", "ClusterRole", "view", kind="ServiceAccount", name="robot", namespace="n")]}
    )
    assert decide(books, account, Attributes("list", resource="pods", namespace="n")).allowed
    assert not decide(books, account, Attributes("list", resource="secrets", namespace="n")).allowed
    assert not decide(books, account, Attributes("list", resource="pods", namespace="m")).allowed


def test_a_binding_to_a_role_that_is_missing_says_so() -> None:
    books = Books(more=[binding("b", "ClusterRole", "gone", kind="User", name="jane")])
    found = decide(books, JANE, Attributes("get", resource="pods"))
    assert not found.allowed
    assert found.reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'


def test_what_everybody_may() -> None:
    assert decide(Books(), ANONYMOUS, Attributes("get", path="/version")).allowed
    assert not decide(Books(), ANONYMOUS, Attributes("get", path="/api")).allowed
    assert decide(Books(), JANE, Attributes("get", path="/apis/apps/v1")).allowed
    review = Attributes("create", "authorization.k8s.io", "v1", "selfsubjectaccessreviews")
    assert decide(Books(), JANE, review).allowed
    assert decide(Books(), User("root", ("system:masters",)), Attributes("delete", resource="nodes")).allowed


@pytest.mark.parametrize(
    ("method", "asked", "query", "expected"),
    [
        ("GET", Asked("", "v1", "pods", "n", "p"), {}, Attributes("get", "", "v1", "pods", "", "n", "p")),
        ("GET", Asked("", "v1", "pods", "n"), {}, Attributes("list", "", "v1", "pods", "", "n")),
        ("GET", Asked("", "v1", "pods", "n"), {"watch": "1"}, Attributes("watch", "", "v1", "pods", "", "n")),
        ("DELETE", Asked("", "v1", "pods", "n"), {}, Attributes("deletecollection", "", "v1", "pods", "", "n")),
        (
            "POST",
            Asked("", "v1", "pods", "n", "p", "exec"),
            {},
            Attributes("create", "", "v1", "pods", "exec", "n", "p"),
        ),
        (
            "GET",
            Asked("", "v1", "pods", "n"),
            {"fieldSelector": "metadata.name=p"},
            Attributes("list", "", "v1", "pods", "", "n", "p"),
        ),
        (
            "GET",
            Asked("", "v1", "secrets", "n"),
            {"fieldSelector": r"metadata.namespace!=\,metadata.name=p"},
            Attributes("list", "", "v1", "secrets", "", "n"),
        ),
        ("GET", Asked("", "v1", "pods", "n"), {"watch": "yes"}, Attributes("watch", "", "v1", "pods", "", "n")),
        ("GET", Asked("", "v1", "pods", "n"), {"watch": "False"}, Attributes("list", "", "v1", "pods", "", "n")),
        ("HEAD", Asked("", "v1", "pods", "n"), {"watch": "1"}, Attributes("list", "", "v1", "pods", "", "n")),
        ("GET", Asked("", "v1", "namespaces", "", "n"), {}, Attributes("get", "", "v1", "namespaces", "", "n", "n")),
    ],
)
def test_what_a_request_wants(method: str, asked: Asked, query: dict[str, str], expected: Attributes) -> None:
    assert of_resource(method, asked, query) == expected


def test_a_refusal_reads_as_the_original() -> None:
    wanted = Attributes("list", "apps", "v1", "deployments", namespace="n")
    assert wanted.refusal("jane") == (
        'User "jane" cannot list resource "deployments" in API group "apps" in the namespace "n"'
    )
    assert Attributes("get", resource="nodes").refusal("jane").endswith('in API group "" at the cluster scope')


def test_nobody_gives_what_they_do_not_have() -> None:
    held = [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]
    assert not uncovered(held, [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}])
    assert uncovered(held, [{"verbs": ["get", "watch"], "apiGroups": [""], "resources": ["pods"]}]) == [
        {"verbs": ["watch"], "apiGroups": [""], "resources": ["pods"]}
    ]
    assert uncovered(held, [{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}])
    named = [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}]
    assert uncovered(named, [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}])
    assert not uncovered(named, named)
