"""What requests about access itself need: reviews, tokens, and a check of what somebody gives away."""

from __future__ import annotations

import time
from typing import Final

from k8slab.kube.api import errors, validation
from k8slab.kube.api.auth import rbac
from k8slab.kube.api.auth.accounts import BOUND, CachedAccounts, CachedPolicies
from k8slab.kube.api.auth.attributes import Attributes
from k8slab.kube.api.auth.gate import EVERYTHING, Authorization, RoleBased, judge
from k8slab.kube.api.auth.reviews import Reviews
from k8slab.kube.api.auth.tokens import LONGEST, SHORTEST, Bound, Tokens
from k8slab.kube.api.auth.user import User
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, GROUP, ROLE, ROLE_BINDING
from k8slab.kube.api.meta import Object, dig, now

HOUR: Final = 3600
ROLES: Final = (CLUSTER_ROLE, ROLE)
BINDINGS: Final = (CLUSTER_ROLE_BINDING, ROLE_BINDING)
COLLECTORS: Final = ("ownerReferences", "finalizers", "managedFields", "resourceVersion")


class Access:
    def __init__(
        self,
        authorization: Authorization,
        reviews: Reviews,
        tokens: Tokens,
        accounts: CachedAccounts,
        policies: CachedPolicies,
    ) -> None:
        self.reviews = reviews
        self._authorization = authorization
        self._tokens = tokens
        self._accounts = accounts
        self._policies = policies

    async def token(self, account: Object, wish: Object) -> Object:
        """A TokenRequest with its status. Raises Invalid, NotFound for a bound object that is not there, Conflict."""
        spec = wish.get("spec") or {}
        seconds = spec.get("expirationSeconds")
        seconds = HOUR if seconds is None else seconds
        problems: list[FieldProblem] = []
        if seconds < SHORTEST:
            why = "may not specify a duration less than 10 minutes"
            problems.append(validation.invalid("spec.expirationSeconds", seconds, why))
        if seconds > LONGEST:
            why = "may not specify a duration larger than 2^32 seconds"
            problems.append(validation.invalid("spec.expirationSeconds", seconds, why))
        if problems:
            raise errors.invalid("authentication.k8s.io", "TokenRequest", "", problems)
        bound = self._bound(account["metadata"], spec.get("boundObjectRef"))
        audiences = [str(one) for one in spec.get("audiences") or ()] or list(self._tokens.audiences)
        token, expires = await self._tokens.issue(account, seconds, audiences, bound)
        meta = {
            "name": account["metadata"]["name"],
            "namespace": account["metadata"]["namespace"],
            "creationTimestamp": now(),
        }
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        return {
            "metadata": meta,
            "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": when},
        }

    def _bound(self, account: Object, reference: Object | None) -> Bound | None:
        if reference is None:
            return None
        kind, name = str(reference.get("kind") or ""), str(reference.get("name") or "")
        group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
        if kind not in BOUND or group:
            raise errors.bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        found = self._accounts.found(BOUND[kind], account["namespace"] if BOUND[kind].namespaced else "", name)
        if found is None:
            raise errors.not_found("", BOUND[kind].plural, name)
        if kind == "Pod" and (dig(found, "spec", "serviceAccountName") or "") != account["name"]:
            why = f'"{account["name"]}" to pod running with different serviceaccount name.'
            raise errors.bad_request(f"cannot bind token for serviceaccount {why}")
        uid = found["metadata"]["uid"]
        if reference.get("uid") and reference["uid"] != uid:
            why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record ({uid})"
            raise errors.conflict("", BOUND[kind].plural, name, why)
        return Bound(kind, name, uid)

    def judge_creation(self, user: User, kind: Kind, namespace: str, name: str) -> None:
        """For an update or an apply that finds nothing: it makes what only those may make who may create.

        Raises Forbidden.
        """
        judge(
            self._authorization, user, Attributes("create", kind.group, kind.version, kind.plural, "", namespace, name)
        )

    def judge_grant(self, user: User, kind: Kind, namespace: str, new: Object, old: Object | None) -> None:
        """Nobody gives what they do not have, unless they may escalate or bind.

        ``namespace`` is the request's: what a body says of it proves nothing. Raises Forbidden, and NotFound for a
        binding to a role that is not there, for nobody can tell what it will once allow.
        """
        if not isinstance(self._authorization, RoleBased) or kind not in (*ROLES, *BINDINGS):
            return
        if old is not None and _kept(new) == _kept(old):
            return
        name = new["metadata"].get("name") or ""
        reference = new.get("roleRef") or {}
        verb, resource, role = "escalate", kind.plural, name
        if kind in BINDINGS:
            resource = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
            verb, role = "bind", reference.get("name") or ""
        free = Attributes(verb, GROUP, "v1", resource, namespace=namespace, name=role)
        if self._authorization.decide(user, free).allowed:
            return
        given = new.get("rules") or () if kind in ROLES else self._rules_of(resource, namespace, role)
        held, _ = self._authorization.rules(user, namespace)
        lacking = rbac.uncovered(held, given)
        if lacking:
            shown = "\n".join(_shown(rule) for rule in lacking)
            why = (
                f'user "{user.name}" (groups={_listed(user.groups)}) is attempting to grant RBAC permissions not '
                f"currently held:\n{shown}"
            )
            raise errors.forbidden(kind.group, kind.plural, name, why)
        if any((one or {}).get("aggregationRule") for one in (new, old)) and rbac.uncovered(held, EVERYTHING):
            why = "must have cluster-admin privileges to use an aggregationRule"
            raise errors.forbidden(kind.group, kind.plural, name, why)

    def _rules_of(self, resource: str, namespace: str, role: str) -> list[rbac.Rule]:
        found = (
            self._policies.cluster_role(role) if resource == "clusterroles" else self._policies.role(namespace, role)
        )
        if found is None:
            raise errors.not_found(GROUP, resource, role)
        return list(found.get("rules") or ())


def _kept(obj: Object) -> Object:
    """The object but for what the collecting of garbage changes."""
    meta = {key: value for key, value in obj["metadata"].items() if key not in COLLECTORS}
    return {**obj, "metadata": meta}


def _shown(rule: rbac.Rule) -> str:
    fields = ("apiGroups", "resources", "resourceNames", "nonResourceURLs", "verbs")
    named = {"apiGroups": "APIGroups", "resources": "Resources", "resourceNames": "ResourceNames"}
    named |= {"nonResourceURLs": "NonResourceURLs", "verbs": "Verbs"}
    return "{" + ", ".join(f"{named[field]}:{_listed(rule[field])}" for field in fields if rule.get(field)) + "}"


def _listed(values: tuple[str, ...] | list[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
