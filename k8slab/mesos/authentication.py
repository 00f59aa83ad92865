"""Basic authentication over HTTP: who may call at all, by principal and secret. Off unless a flag asks for it."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import orjson
from aiohttp import web

PRINCIPAL = "principal"


class Realm(StrEnum):
    """What a route is for; each kind is guarded by a flag of its own."""

    READONLY = "readonly"
    READWRITE = "readwrite"
    SCHEDULER = "scheduler"


@dataclass(frozen=True)
class Credentials:
    """What a client says it is. The secret is not shown."""

    principal: str
    secret: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        token = base64.b64encode(f"{self.principal}:{self.secret}".encode()).decode("ascii")
        return {"Authorization": f"Basic {token}"}


def read_credentials(path: str) -> dict[str, str]:
    """Principal → secret of a file: ``{"credentials": [{"principal": …, "secret": …}]}``, or a pair in each line.

    Raises ValueError, which never quotes a secret.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'no UTF-8 text'}") from None
    try:
        listed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _from_lines(text)
    found = listed.get("credentials") if isinstance(listed, dict) else None
    if not isinstance(found, list):
        raise ValueError(f'{path}: expected {{"credentials": [{{"principal": …, "secret": …}}]}}')
    known = {}
    for number, item in enumerate(found, 1):
        pair = (item.get("principal"), item.get("secret", "")) if isinstance(item, dict) else (None, None)
        if not (isinstance(pair[0], str) and isinstance(pair[1], str)):
            raise ValueError(f"{path}: credential {number} is no principal with a secret")
        known[pair[0]] = pair[1]
    return known


def _from_lines(text: str) -> dict[str, str]:
    known = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) not in (0, 2):
            raise ValueError(f"Invalid credential format at line {number}: expected a principal and a secret")
        if words:
            known[words[0]] = words[1]
    return known


class Authentication:
    """``owner``: ``mesos-master`` or ``mesos-agent``, the first part of realms' names. ``realms``: those guarded."""

    def __init__(self, owner: str, *, realms: Collection[Realm], credentials: Mapping[str, str]) -> None:
        self._owner = owner
        self._realms = frozenset(realms)
        self._secrets = {principal.encode(): secret.encode() for principal, secret in credentials.items()}
        # Compared with where there is no such principal, so that the time taken does not tell which there are.
        self._nobody = secrets.token_bytes()

    def guards(self, realm: Realm) -> bool:
        return realm in self._realms

    def refusal(self, request: web.Request, realm: Realm) -> web.Response | None:
        """The answer to who may not pass a guarded realm. A request that passes has a ``principal`` from then on."""
        principal = self._principal(request.headers.get("Authorization", ""))
        if principal is None:
            return web.Response(status=401, headers={"WWW-Authenticate": f'Basic realm="{self._owner}-{realm}"'})
        if not principal:
            return web.Response(status=403, text="The authenticated principal has no value")
        request[PRINCIPAL] = principal
        return None

    def _principal(self, header: str) -> str | None:
        scheme, _, token = header.partition(" ")
        try:
            claimed, colon, secret = base64.b64decode(token, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return None
        known = self._secrets.get(claimed)
        same = hmac.compare_digest(secret, self._nobody if known is None else known)
        if scheme != "Basic" or not colon or known is None or not same:
            return None
        return claimed.decode()


OPEN = Authentication("", realms=(), credentials={})


def principal_error(request: web.Request, framework_principal: str | None) -> str | None:
    """Why whoever made this request may not speak for a framework of this principal."""
    authenticated = request.get(PRINCIPAL)
    if authenticated is None or authenticated == framework_principal:
        return None
    return (
        f"Authenticated principal '{authenticated}' does not match principal "
        f"'{framework_principal or ''}' set in `FrameworkInfo`"
    )
