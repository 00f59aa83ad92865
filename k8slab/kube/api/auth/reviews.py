"""Questions about who may do what, answered and not kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from k8slab.kube.api import errors, validation
from k8slab.kube.api.auth.attributes import Attributes
from k8slab.kube.api.auth.authentication import Recognises
from k8slab.kube.api.auth.gate import Authorization
from k8slab.kube.api.auth.user import User
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.meta import Object

ACCESS: Final = "authorization.k8s.io"
Answer = Callable[[Object, User], Awaitable[Object]]


class Reviews:
    """``answer(kind, body, user)`` for the kinds in ``kinds``."""

    def __init__(self, authorization: Authorization, recognises: Recognises) -> None:
        self._authorization = authorization
        self._recognises = recognises
        self._answers: Mapping[str, Answer] = {
            "SelfSubjectAccessReview": self._own_access,
            "SubjectAccessReview": self._access,
            "LocalSubjectAccessReview": self._local_access,
            "SelfSubjectRulesReview": self._rules,
            "SelfSubjectReview": self._self,
            "TokenReview": self._token,
        }

    async def answer(self, kind: str, body: Object, user: User) -> Object:
        """The body with its status. Raises Invalid."""
        return {**body, "status": (await self._answers[kind](body, user))}

    async def _own_access(self, body: Object, user: User) -> Object:
        return self._decided("SelfSubjectAccessReview", body.get("spec") or {}, user)

    async def _access(self, body: Object, user: User) -> Object:
        return self._of_others("SubjectAccessReview", body, [])

    async def _local_access(self, body: Object, user: User) -> Object:
        """Who may ask about one namespace learns nothing of the others."""
        namespace = body["metadata"].get("namespace") or ""
        given = ((body.get("spec") or {}).get("resourceAttributes") or {}).get("namespace") or ""
        why = f"must match metadata.namespace: {namespace}"
        problems = [validation.invalid("spec.resourceAttributes.namespace", given, why)] if given != namespace else []
        return self._of_others("LocalSubjectAccessReview", body, problems)

    def _of_others(self, kind: str, body: Object, problems: list[FieldProblem]) -> Object:
        spec = body.get("spec") or {}
        if not spec.get("user") and not spec.get("groups"):
            why = "at least one of user or group must be specified"
            problems = [validation.invalid("spec.user", "", why), *problems]
        if problems:
            raise errors.invalid(ACCESS, kind, "", problems)
        extra = spec.get("extra") or {}
        asked = User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra)
        return self._decided(kind, spec, asked)

    def _decided(self, kind: str, spec: Mapping[str, Any], user: User) -> Object:
        resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if resource is not None and path is None:
            wanted = _of_resource(resource)
        elif path is not None and resource is None:
            wanted = _of_path(path)
        else:
            why = (
                "exactly one of nonResourceAttributes or resourceAttributes must be specified"
                if resource is None
                else "cannot be specified in combination with resourceAttributes"
            )
            field = "spec.resourceAttributes" if resource is None else "spec.nonResourceAttributes"
            raise errors.invalid(ACCESS, kind, "", [validation.invalid(field, "", why)])
        decision = self._authorization.decide(user, wanted)
        return {"allowed": decision.allowed} | ({"reason": decision.reason} if decision.reason else {})

    async def _rules(self, body: Object, user: User) -> Object:
        namespace = (body.get("spec") or {}).get("namespace") or ""
        if not namespace:
            raise errors.bad_request("no namespace on request")
        rules, missing = self._authorization.rules(user, namespace)
        status: Object = {
            "resourceRules": [_shown(rule) for rule in rules if not rule.get("nonResourceURLs")],
            "nonResourceRules": [
                {"verbs": rule.get("verbs"), "nonResourceURLs": rule["nonResourceURLs"]}
                for rule in rules
                if rule.get("nonResourceURLs")
            ],
            "incomplete": bool(missing),
        }
        return status | ({"evaluationError": "; ".join(missing)} if missing else {})

    async def _self(self, body: Object, user: User) -> Object:
        return {"userInfo": user.info()}

    async def _token(self, body: Object, user: User) -> Object:
        spec = body.get("spec") or {}
        if not spec.get("token"):
            raise errors.bad_request("token is required for TokenReview in authentication")
        audiences = [str(one) for one in spec.get("audiences") or ()]
        found = await self._recognises.bearer(str(spec["token"]), audiences)
        if found is None:
            return {"user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": found.user.info(), "audiences": list(found.audiences)}


def _of_resource(given: Mapping[str, Any]) -> Attributes:
    return Attributes(
        str(given.get("verb") or ""),
        str(given.get("group") or ""),
        str(given.get("version") or ""),
        str(given.get("resource") or ""),
        str(given.get("subresource") or ""),
        str(given.get("namespace") or ""),
        str(given.get("name") or ""),
    )


def _of_path(given: Mapping[str, Any]) -> Attributes:
    return Attributes(str(given.get("verb") or ""), path=str(given.get("path") or ""))


def _shown(rule: Mapping[str, Any]) -> Object:
    fields = ("verbs", "apiGroups", "resources", "resourceNames")
    return {field: list(rule[field]) for field in fields if rule.get(field)}
