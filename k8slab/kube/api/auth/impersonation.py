"""Acting as somebody else (``kubectl --as``), for those who may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from k8slab.kube.api import errors, validation
from k8slab.kube.api.auth.attributes import Attributes
from k8slab.kube.api.auth.user import (
    ANONYMOUS,
    AUTHENTICATED,
    SERVICE_ACCOUNT_PREFIX,
    UNAUTHENTICATED,
    User,
    service_account,
)
from k8slab.kube.malformed import legible

USER: Final = "Impersonate-User"
GROUP: Final = "Impersonate-Group"
UID: Final = "Impersonate-Uid"
EXTRA: Final = "impersonate-extra-"
AUTHENTICATION: Final = "authentication.k8s.io"


async def impersonated(
    request: web.BaseRequest, user: User, allowed: Callable[[User, Attributes], Awaitable[None]]
) -> User:
    """Whom the request is to be taken for; the user itself without such headers.

    ``allowed`` raises Forbidden. Raises BadRequest for a group, uid or extra without a user.
    """
    headers = request.headers
    name, uid = legible(headers.get(USER, "")), legible(headers.get(UID, ""))
    groups = [legible(group) for group in headers.getall(GROUP, [])]
    extra: dict[str, list[str]] = {}
    for key, value in headers.items():
        if key.lower().startswith(EXTRA):
            extra.setdefault(unquote(key[len(EXTRA) :]).lower(), []).append(legible(value))
    if not name:
        if groups or uid or extra:
            raise errors.bad_request("requested impersonation of groups, uid or extra without impersonating a user")
        return user
    wanted = _wanted(name, tuple(groups), uid, extra)
    for attributes in _needed(name, groups, uid, extra):
        await allowed(user, attributes)
    return wanted


def _wanted(name: str, groups: tuple[str, ...], uid: str, extra: dict[str, list[str]]) -> User:
    if name == ANONYMOUS.name:
        return User(name, (*groups, UNAUTHENTICATED), uid, extra)
    if (account := _account(name)) and not groups:
        groups = service_account(*account).groups
    if AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return User(name, groups, uid, extra)


def _account(name: str) -> tuple[str, str] | None:
    """Namespace and name of the service account whose user this is; None for users who only sound like one."""
    namespace, _, account = name.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
    if not name.startswith(SERVICE_ACCOUNT_PREFIX) or validation.label(namespace) or validation.subdomain(account):
        return None
    return namespace, account


def _needed(name: str, groups: list[str], uid: str, extra: dict[str, list[str]]) -> Iterator[Attributes]:
    if account := _account(name):
        yield Attributes("impersonate", "", "v1", "serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield Attributes("impersonate", "", "v1", "users", name=name)
    for group in groups:
        yield Attributes("impersonate", "", "v1", "groups", name=group)
    if uid:
        yield Attributes("impersonate", AUTHENTICATION, "v1", "uids", name=uid)
    for key, values in extra.items():
        for value in values:
            yield Attributes("impersonate", AUTHENTICATION, "v1", "userextras", key, name=value)
