"""Tokens of service accounts: JSON web tokens that every server on the same etcd can make and check."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from k8slab.kube.api.auth.user import SERVICE_ACCOUNT_PREFIX, User, service_account
from k8slab.kube.api.meta import Object
from k8slab.kube.api.storage.base import Check, Refused, Storage, Write

CLAIM: Final = "kubernetes.io"
# Outside of the registry: it is no object.
SHARED_KEY: Final = "/k8slab/service-account-key"
ALGORITHMS: Final = ("RS256", "ES256")
SHORTEST: Final = 600
LONGEST: Final = 2**32
RSA_BITS: Final = 2048


class InvalidToken(Exception):
    """The token is none of ours, has expired, or speaks of something that is gone; the text says which."""


@dataclass(frozen=True)
class Bound:
    """The object that a token ends with: a Pod, Secret or Node by kind, name and uid."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Claims:
    """What a valid token says, before anybody has looked whether its account is still there."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    bound: Bound | None
    token_id: str

    def user(self) -> User:
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={self.token_id}",)}
        if self.bound is not None and self.bound.kind in ("Pod", "Node"):
            place = f"authentication.kubernetes.io/{self.bound.kind.lower()}"
            extra |= {f"{place}-name": (self.bound.name,), f"{place}-uid": (self.bound.uid,)}
        return service_account(self.namespace, self.name, self.uid, extra)


class KeyRing:
    """The key that signs and those that are trusted: from files, or shared through the storage when none is given.

    Raises ValueError for a file that holds no usable key.
    """

    def __init__(self, storage: Storage, *, signing: Path | None = None, trusted: Sequence[Path] = ()) -> None:
        self._storage = storage
        self._private = _of_file(signing, _private) if signing else None
        self._public = {identifier(key): key for key in (_of_file(path, _public) for path in trusted)}
        self._making = asyncio.Lock()

    async def signing(self) -> tuple[str, Any]:
        """The key's identifier and the private key. Raises StorageUnavailable."""
        async with self._making:
            if self._private is None:
                self._private = _private(await self._shared())
        public = self._private.public_key()
        return identifier(public), self._private

    async def trusted(self) -> dict[str, Any]:
        identity, private = await self.signing()
        return {**self._public, identity: private.public_key()}

    async def _shared(self) -> bytes:
        """The key all servers use: made by the first that needs one."""
        record, _ = await self._storage.get(SHARED_KEY)
        if record is None:
            made = await asyncio.to_thread(_generate)
            try:
                await self._storage.commit((Check(SHARED_KEY, 0),), (Write(SHARED_KEY, made),))
                return made
            except Refused as refused:
                record = refused.found[SHARED_KEY]
                assert record is not None
        return record.value


class Tokens:
    def __init__(self, keys: KeyRing, issuer: str, audiences: Sequence[str]) -> None:
        self._keys = keys
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)

    async def issue(
        self, account: Object, seconds: int, audiences: Sequence[str], bound: Bound | None = None
    ) -> tuple[str, int]:
        """A token for a service account, and the moment it expires, in seconds since the epoch."""
        import jwt

        identity, private = await self._keys.signing()
        now, meta = int(time.time()), account["metadata"]
        about: dict[str, Any] = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if bound is not None:
            about[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
        claims = {
            "aud": list(audiences) or list(self.audiences),
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            CLAIM: about,
            "nbf": now,
            "sub": f"{SERVICE_ACCOUNT_PREFIX}{meta['namespace']}:{meta['name']}",
        }
        return jwt.encode(claims, private, algorithm=_algorithm(private), headers={"kid": identity}), now + seconds

    async def read(self, token: str, audiences: Sequence[str] = ()) -> Claims:
        """Raises InvalidToken."""
        import jwt

        trusted = await self._keys.trusted()
        try:
            identity = jwt.get_unverified_header(token).get("kid", "")
            if identity not in trusted:
                raise InvalidToken("it was not signed with a key that is trusted here")
            claims = jwt.decode(
                token,
                trusted[identity],
                algorithms=list(ALGORITHMS),
                audience=list(audiences) or list(self.audiences),
                issuer=self.issuer,
                options={"require": ["exp", "iat", "sub", "aud"]},
            )
            about = claims[CLAIM]
            account = about["serviceaccount"]
            return Claims(
                namespace=str(about["namespace"]),
                name=str(account["name"]),
                uid=str(account["uid"]),
                audiences=_strings(claims["aud"]),
                bound=_bound(about),
                token_id=str(claims.get("jti", "")),
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as trouble:
            raise InvalidToken(str(trouble)) from None

    async def key_set(self) -> dict[str, Any]:
        """The public keys as a JSON web key set, for those who check tokens without asking."""
        from jwt.algorithms import ECAlgorithm, RSAAlgorithm

        keys = []
        for identity, public in (await self._keys.trusted()).items():
            algorithm = _algorithm(public)
            form = RSAAlgorithm if algorithm == "RS256" else ECAlgorithm
            keys.append({**form.to_jwk(public, as_dict=True), "use": "sig", "kid": identity, "alg": algorithm})
        return {"keys": keys}

    def discovery(self, key_set_url: str) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "jwks_uri": key_set_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(ALGORITHMS),
        }


def identifier(public: Any) -> str:
    """A key's name: the digest of its public half, as the original makes it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def _algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return "ES256"
    raise ValueError("a service account key is an RSA or an elliptic curve key")


def _of_file(path: Path, form: Callable[[bytes], Any]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return form(path.read_bytes())
    except (OSError, TypeError, ValueError, UnsupportedAlgorithm) as trouble:
        raise ValueError(f"{path} holds no key that can be used: {trouble}") from None


def _private(pem: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem, None)
    _algorithm(key)
    return key


def _public(pem: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem:
        return _private(pem).public_key()
    key = load_pem_public_key(pem)
    _algorithm(key)
    return key


def _generate() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _bound(about: dict[str, Any]) -> Bound | None:
    for kind in ("Pod", "Secret", "Node"):
        if found := about.get(kind.lower()):
            return Bound(kind, str(found["name"]), str(found["uid"]))
    return None


def _strings(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value))
