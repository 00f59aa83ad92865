"""Tokens of service accounts, and users from files and certificates."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from k8slab.kube.api.auth.accounts import CachedAccounts
from k8slab.kube.api.auth.authentication import Recognises, TokenFile, of_certificate
from k8slab.kube.api.auth.tokens import SHARED_KEY, Bound, InvalidToken, KeyRing, Tokens
from k8slab.kube.api.auth.user import User
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.small import SECRET, SERVICE_ACCOUNT
from k8slab.kube.api.meta import later
from k8slab.kube.api.storage.base import Write
from k8slab.kube.api.storage.memory import MemoryStorage

ISSUER = "https://kubernetes.default.svc"
ACCOUNT: dict[str, Any] = {"metadata": {"namespace": "n", "name": "robot", "uid": "u-1"}}


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def tokens(storage: MemoryStorage) -> Tokens:
    return Tokens(KeyRing(storage), ISSUER, ())


async def test_what_one_server_signs_another_one_accepts(storage: MemoryStorage) -> None:
    token, expires = await tokens(storage).issue(ACCOUNT, 3600, (), Bound("Pod", "p", "u-2"))
    assert abs(expires - time.time() - 3600) < 5
    claims = await tokens(storage).read(token)
    assert (claims.namespace, claims.name, claims.uid) == ("n", "robot", "u-1")
    assert claims.audiences == (ISSUER,)
    assert claims.bound == Bound("Pod", "p", "u-2")
    user = claims.user()
    assert user.name == "system:serviceaccount:n:robot"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:n")
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("p",)


async def test_what_is_not_accepted(storage: MemoryStorage) -> None:
    own = tokens(storage)
    token, _ = await own.issue(ACCOUNT, 3600, ("somebody-else",))
    with pytest.raises(InvalidToken, match=r"[Aa]udience"):
        await own.read(token)
    assert (await own.read(token, ("somebody-else",))).name == "robot"
    stale, _ = await own.issue(ACCOUNT, -10, ())
    with pytest.raises(InvalidToken, match="expired"):
        await own.read(stale)
    foreign, _ = await tokens(MemoryStorage()).issue(ACCOUNT, 3600, ())
    with pytest.raises(InvalidToken, match="not signed with a key that is trusted"):
        await own.read(foreign)
    for nonsense in ("", "a.b.c", "no token", jwt.encode({"sub": "x"}, "secret" * 8, algorithm="HS256")):
        with pytest.raises(InvalidToken):
            await own.read(nonsense)


async def test_a_public_key_must_not_be_taken_for_a_secret(storage: MemoryStorage) -> None:
    own = tokens(storage)
    token, _ = await own.issue(ACCOUNT, 3600, ())
    identity = jwt.get_unverified_header(token)["kid"]
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = jwt.encode(claims, "x" * 64, algorithm="HS256", headers={"kid": identity})
    with pytest.raises(InvalidToken):
        await own.read(forged)


async def test_keys_from_files(storage: MemoryStorage, tmp_path: Path) -> None:
    await tokens(storage).issue(ACCOUNT, 60, ())
    record, _ = await storage.get(SHARED_KEY)
    assert record is not None
    signing = tmp_path / "sa.key"
    signing.write_bytes(record.value)
    other = Tokens(KeyRing(MemoryStorage(), signing=signing), ISSUER, ())
    token, _ = await other.issue(ACCOUNT, 60, ())
    assert (await tokens(storage).read(token)).name == "robot"
    [key] = (await other.key_set())["keys"]
    assert (key["kty"], key["alg"], key["kid"]) == ("RSA", "RS256", jwt.get_unverified_header(token)["kid"])
    signing.write_text("no key")
    with pytest.raises(ValueError, match=r"."):
        KeyRing(storage, signing=signing)


def test_a_token_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('# tokens\nt-1,jane,1,"staff,admins"\nt-2,joe,2\n\n')
    users = TokenFile.read(path)
    assert users.user("t-1") == User("jane", ("staff", "admins"), "1")
    assert users.user("t-2") == User("joe", (), "2")
    assert users.user("t") is None
    path.write_text("t-1,jane\n")
    with pytest.raises(ValueError, match=r"tokens.csv:1"):
        TokenFile.read(path)


def test_a_certificate_is_a_user() -> None:
    subject = ((("organizationName", "staff"),), (("organizationName", "admins"),), (("commonName", "jane"),))
    assert of_certificate({"subject": subject}) == User("jane", ("staff", "admins"))
    with pytest.raises(ApiFailure):
        of_certificate({"subject": ((("organizationName", "staff"),),)})


async def recognises(storage: MemoryStorage, *objects: tuple[Any, dict[str, Any]]) -> Recognises:
    """By what is stored, which is ``objects`` by their kinds."""
    for kind, obj in objects:
        key = kind.key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        await storage.commit((), (Write(key, kind.encode(obj)),))
    cache = Cache(storage, (SERVICE_ACCOUNT, POD, SECRET, NODE))
    running = asyncio.create_task(cache.run())
    await cache.loaded.wait()
    running.cancel()
    return Recognises(tokens(storage), CachedAccounts(cache), TokenFile({"t-jane": User("jane")}))


async def test_for_whom_a_token_is(storage: MemoryStorage) -> None:
    """What is asked for by somebody else must not be told to be for them."""
    judge = await recognises(storage, (SERVICE_ACCOUNT, ACCOUNT))
    token, _ = await judge.tokens.issue(ACCOUNT, 3600, ("vault", "other"))
    found = await judge.bearer(token, ("vault", "third"))
    assert found is not None
    assert (found.user.name, found.audiences) == ("system:serviceaccount:n:robot", ("vault",))
    assert await judge.bearer(token) is None
    static = await judge.bearer("t-jane", ("vault", ISSUER))
    assert static is not None
    assert (static.user.name, static.audiences) == ("jane", (ISSUER,))
    assert await judge.bearer("t-jane", ("vault",)) is None


@pytest.mark.parametrize(("seconds", "holds"), [(30, True), (-30, True), (-120, False)])
@pytest.mark.parametrize("ended", ["account", "pod"])
async def test_what_should_be_gone_lends_no_name(storage: MemoryStorage, ended: str, seconds: int, holds: bool) -> None:
    account: dict[str, Any] = {"metadata": dict(ACCOUNT["metadata"])}
    pod: dict[str, Any] = {"metadata": {"namespace": "n", "name": "p", "uid": "u-2"}}
    (account if ended == "account" else pod)["metadata"]["deletionTimestamp"] = later(seconds)
    judge = await recognises(storage, (SERVICE_ACCOUNT, account), (POD, pod))
    token, _ = await judge.tokens.issue(ACCOUNT, 3600, (), Bound("Pod", "p", "u-2"))
    assert (await judge.bearer(token) is not None) is holds
