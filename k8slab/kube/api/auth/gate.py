"""The gate that every request of a port passes: who is it, may they, and a line of what became of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from k8slab.kube.api import errors
from k8slab.kube.api.auth import rbac
from k8slab.kube.api.auth.attributes import Attributes
from k8slab.kube.api.auth.audit import Audit
from k8slab.kube.api.auth.authentication import AsksNothing, Authentication
from k8slab.kube.api.auth.impersonation import impersonated
from k8slab.kube.api.auth.rbac import Decision, Policies
from k8slab.kube.api.auth.user import MASTERS, User
from k8slab.kube.api.cache import Cache

log = logging.getLogger(__name__)

# How long a request waits for roles and accounts to be read at the start, in seconds.
PATIENCE: Final = 3.0
# Whether the server lives is nobody's secret: a load balancer has no credentials.
OPEN_PATHS: Final = frozenset({"/healthz", "/livez", "/readyz"})


class Authorization(Protocol):
    def decide(self, user: User, wanted: Attributes) -> Decision: ...

    def rules(self, user: User, namespace: str) -> tuple[list[rbac.Rule], list[str]]:
        """Everything that the user may do there, and the roles that are bound but missing."""
        ...


class AlwaysAllow:
    def decide(self, user: User, wanted: Attributes) -> Decision:
        return Decision(True)

    def rules(self, user: User, namespace: str) -> tuple[list[rbac.Rule], list[str]]:
        return [dict(rule) for rule in EVERYTHING], []


EVERYTHING: Final[Iterable[rbac.Rule]] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


class RoleBased:
    """Roles decide, but for the masters' group, which no role can lock out."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def decide(self, user: User, wanted: Attributes) -> Decision:
        if MASTERS in user.groups or wanted.path in OPEN_PATHS:
            return Decision(True)
        return rbac.decide(self._policies, user, wanted)

    def rules(self, user: User, namespace: str) -> tuple[list[rbac.Rule], list[str]]:
        if MASTERS in user.groups:
            return [dict(rule) for rule in EVERYTHING], []
        missing: list[str] = []
        return [grant.rule for grant in rbac.grants(self._policies, user, namespace, missing)], missing


@dataclass(frozen=True)
class Gate:
    """One for each port. ``cache``: what must be known before anybody can be told no, if anything must."""

    authentication: Authentication
    authorization: Authorization
    audit: Audit | None = None
    cache: Cache | None = None

    async def enter(self, request: web.BaseRequest, wanted: Attributes) -> User:
        """The user whom the request is to be taken for. Raises Unauthorized and Forbidden.

        Leaves "attributes", "real_user" and "user" with the request.
        """
        request["attributes"] = wanted
        if self.cache is not None and wanted.path not in OPEN_PATHS:
            await self.cache.is_loaded(PATIENCE)
        real = await self.authentication.user(request)
        request["user"] = request["real_user"] = real

        async def allowed(user: User, attributes: Attributes) -> None:
            judge(self.authorization, user, attributes)

        user = await impersonated(request, real, allowed)
        request["user"] = user
        judge(self.authorization, user, wanted)
        return user


def judge(authorization: Authorization, user: User, wanted: Attributes) -> None:
    """Raises Forbidden."""
    decision = authorization.decide(user, wanted)
    if decision.allowed:
        return
    why = wanted.refusal(user.name) + (f": {decision.reason}" if decision.reason else "")
    if wanted.path:
        raise errors.forbidden_path(wanted.path, why)
    raise errors.forbidden(wanted.group, wanted.resource, wanted.name, why)


OPEN: Final = Gate(AsksNothing(), AlwaysAllow())
