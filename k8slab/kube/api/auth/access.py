"""What requests about access itself need: reviews, tokens, and a check of what somebody gives away."""

from __future__ import annotations

import time
from typing import Final

from k8slab.kube.api import errors, validation
from k8slab.kube.api.auth import rbac
from k8slab.kube.api.auth.accounts import BOUND, CachedAccounts, CachedPolicies
from k8slab.kube.api.auth.attributes import Attributes
from k8slab.kube.api.auth.gate import Authorization, RoleBased
from k8slab.kube.api.auth.reviews import Reviews
from k8slab.kube.api.auth.tokens import LONGEST, SHORTEST, Bound, Tokens
from k8slab.kube.api.auth.user import User
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, GROUP, ROLE, ROLE_BINDING
from k8slab.kube.api.meta import Object, now

HOUR: Final = 3600
ROLES: Final = (CLUSTER_ROLE, ROLE)
BINDINGS: Final = (CLUSTER_ROLE_BINDING, ROLE_BINDING)


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
        bound = self._bound(account["metadata"]["namespace"], spec.get("boundObjectRef"))
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

    def _bound(self, namespace: str, reference: Object | None) -> Bound | None:
        if not reference:
            return None
        kind, name = str(reference.get("kind") or ""), str(reference.get("name") or "")
        if kind not in BOUND:
            raise errors.bad_request(f"cannot bind token to object of type {reference.get('apiVersion')}, Kind={kind}")
        found = self._accounts.found(BOUND[kind], namespace if BOUND[kind].namespaced else "", name)
        if found is None:
            raise errors.not_found("", BOUND[kind].plural, name)
        uid = found["metadata"]["uid"]
        if reference.get("uid") and reference["uid"] != uid:
            why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record ({uid})"
            raise errors.conflict("", BOUND[kind].plural, name, why)
        return Bound(kind, name, uid)

    def judge_grant(self, user: User, kind: Kind, new: Object, old: Object | None) -> None:
        """Nobody gives what they do not have, unless they may escalate or bind. Raises Forbidden."""
        if not isinstance(self._authorization, RoleBased) or kind not in (*ROLES, *BINDINGS):
            return
        field = "rules" if kind in ROLES else "subjects"
        if old is not None and new.get(field) == old.get(field):
            return
        meta = new["metadata"]
        namespace, name = meta.get("namespace") or "", meta.get("name") or ""
        if kind in ROLES:
            given, verb, role = list(new.get("rules") or ()), "escalate", name
            resource = kind.plural
        else:
            reference = new.get("roleRef") or {}
            role, verb = reference.get("name") or "", "bind"
            resource = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
            found = (
                self._policies.cluster_role(role)
                if resource == "clusterroles"
                else self._policies.role(namespace, role)
            )
            given = list((found or {}).get("rules") or ())
        free = Attributes(verb, GROUP, "v1", resource, namespace=namespace, name=role)
        if self._authorization.decide(user, free).allowed:
            return
        held, _ = self._authorization.rules(user, namespace)
        lacking = rbac.uncovered(held, given)
        if lacking:
            shown = "\n".join(_shown(rule) for rule in lacking)
            why = (
                f'user "{user.name}" (groups={_listed(user.groups)}) is attempting to grant RBAC permissions not '
                f"currently held:\n{shown}"
            )
            raise errors.forbidden(kind.group, kind.plural, name, why)


def _shown(rule: rbac.Rule) -> str:
    fields = ("apiGroups", "resources", "resourceNames", "nonResourceURLs", "verbs")
    named = {"apiGroups": "APIGroups", "resources": "Resources", "resourceNames": "ResourceNames"}
    named |= {"nonResourceURLs": "NonResourceURLs", "verbs": "Verbs"}
    return "{" + ", ".join(f"{named[field]}:{_listed(rule[field])}" for field in fields if rule.get(field)) + "}"


def _listed(values: tuple[str, ...] | list[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"
