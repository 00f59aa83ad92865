"""From a request to a user: a certificate, a token of a file, a service account's token, or nobody in particular."""

from __future__ import annotations

import base64
import csv
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from aiohttp import web

from k8slab.kube.api import errors
from k8slab.kube.api.auth.tokens import Claims, InvalidToken, Tokens
from k8slab.kube.api.auth.user import ANONYMOUS, UNSECURED, User, authenticated
from k8slab.kube.malformed import legible

log = logging.getLogger(__name__)

BEARER: Final = "bearer"
# How browsers, which cannot set headers, bring a token: among the protocols of their WebSocket.
TOKEN_PROTOCOL: Final = "base64url.bearer.authorization.k8s.io."


class Accounts(Protocol):
    """Whether what a token speaks of is still there."""

    def problem(self, claims: Claims) -> str:
        """Why the token does not hold any more; "" when it does."""
        ...


class Authentication(Protocol):
    async def user(self, request: web.BaseRequest) -> User:
        """Raises Unauthorized."""
        ...


class AsksNothing:
    """The lab's open port."""

    async def user(self, request: web.BaseRequest) -> User:
        return UNSECURED


class TokenFile:
    """Tokens from a file of lines ``token,user,uid[,"group1,group2"]``; ``read`` raises ValueError for other lines."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = dict(users)

    @classmethod
    def read(cls, path: Path) -> TokenFile:
        users: dict[str, User] = {}
        try:
            rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines(), skipinitialspace=True))
        except (OSError, UnicodeDecodeError, csv.Error) as trouble:
            raise ValueError(f"{path}: {trouble}") from None
        for number, row in enumerate(rows, 1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3 or not row[0] or not row[1]:
                raise ValueError(f"{path}:{number}: a line is token,user,uid and perhaps groups in quotes")
            groups = tuple(filter(None, (one.strip() for one in row[3].split(",")))) if len(row) > 3 else ()
            users[row[0]] = User(row[1], groups, row[2])
        return cls(users)

    def user(self, token: str) -> User | None:
        given = token.encode()
        found = None
        # Each is compared, always: the time taken tells nothing of which one is nearly right.
        for known, user in self._users.items():
            if hmac.compare_digest(known.encode(), given):
                found = user
        return found


@dataclass(frozen=True)
class Bearer:
    """``audiences``: those of the wanted ones that the token is for."""

    user: User
    audiences: tuple[str, ...]


@dataclass(frozen=True)
class Recognises:
    """The secure port: certificates are checked by TLS against the clients' authority before a request is read."""

    tokens: Tokens
    accounts: Accounts
    file: TokenFile = field(default_factory=lambda: TokenFile({}))
    anonymous: bool = True

    async def user(self, request: web.BaseRequest) -> User:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport else None
        if certificate:
            return authenticated(of_certificate(certificate))
        if token := _bearer(request):
            found = await self.bearer(token)
            if found is None:
                raise errors.unauthorized()
            return found.user
        if not self.anonymous:
            raise errors.unauthorized()
        return ANONYMOUS

    async def bearer(self, token: str, audiences: Sequence[str] = ()) -> Bearer | None:
        """Whose token it is, for the audiences, this server's own when none are named; None, said in the log, for
        nobody's."""
        wanted = tuple(audiences) or self.tokens.audiences
        if (user := self.file.user(token)) is not None:
            own = tuple(one for one in wanted if one in self.tokens.audiences)
            # The file does not say for whom its tokens are: they are for this server and nobody else.
            return Bearer(authenticated(user), own) if own else None
        try:
            claims = await self.tokens.read(token, audiences)
        except InvalidToken as trouble:
            log.info("a bearer token was not accepted: %s", trouble)
            return None
        if problem := self.accounts.problem(claims):
            log.info("a token of %s/%s was not accepted: %s", claims.namespace, claims.name, problem)
            return None
        return Bearer(authenticated(claims.user()), tuple(one for one in wanted if one in claims.audiences))


def _bearer(request: web.BaseRequest) -> str:
    """The token, "" without one: credentials of other kinds are none here, as if they had not been sent."""
    form, _, rest = legible(request.headers.get("Authorization", "")).strip().partition(" ")
    return rest.partition(" ")[0] if form.lower() == BEARER else _of_protocols(request)


def _of_protocols(request: web.BaseRequest) -> str:
    """Raises Unauthorized for a token that cannot be read, or with no protocol beside it that could be spoken."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return ""
    told = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    protocols = [one.strip() for one in told.split(",") if one.strip()]
    tokens = [one.removeprefix(TOKEN_PROTOCOL) for one in protocols if one.startswith(TOKEN_PROTOCOL)]
    if not tokens:
        return ""
    if len(tokens) > 1 or len(protocols) == 1:
        raise errors.unauthorized()
    try:
        return base64.urlsafe_b64decode(tokens[0] + "=" * (-len(tokens[0]) % 4)).decode()
    except ValueError:
        raise errors.unauthorized() from None


def of_certificate(certificate: Mapping[str, Any]) -> User:
    """The common name is the user, the organizations are the groups. Raises Unauthorized without a name."""
    names: dict[str, list[str]] = {}
    for relative in certificate.get("subject", ()):
        for key, value in relative:
            names.setdefault(key, []).append(value)
    if not names.get("commonName"):
        raise errors.unauthorized()
    return User(names["commonName"][0], tuple(names.get("organizationName", ())))
