"""Who is asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

AUTHENTICATED: Final = "system:authenticated"
UNAUTHENTICATED: Final = "system:unauthenticated"
MASTERS: Final = "system:masters"
SERVICE_ACCOUNTS: Final = "system:serviceaccounts"
SERVICE_ACCOUNT_PREFIX: Final = "system:serviceaccount:"


@dataclass(frozen=True)
class User:
    """As in a TokenReview's status: a name, the groups it is in, an id where there is one, and what else was told."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def info(self) -> dict[str, Any]:
        """The ``UserInfo`` of the API."""
        info = {
            "username": self.name,
            "uid": self.uid,
            "groups": list(self.groups),
            "extra": {key: list(values) for key, values in self.extra.items()},
        }
        return {key: value for key, value in info.items() if value}


ANONYMOUS: Final = User("system:anonymous", (UNAUTHENTICATED,))
# Whoever reaches the port that asks for nothing.
UNSECURED: Final = User("system:unsecured", (MASTERS, AUTHENTICATED))


def authenticated(user: User) -> User:
    """The user with the group that every user who was recognised is in."""
    if AUTHENTICATED in user.groups or UNAUTHENTICATED in user.groups:
        return user
    return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)


def service_account(namespace: str, name: str, uid: str = "", extra: Mapping[str, Sequence[str]] | None = None) -> User:
    groups = (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}")
    return User(f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}", groups, uid, extra or {})
