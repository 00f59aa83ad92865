"""ConfigMap, Secret, ServiceAccount, Lease and Binding."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Final

import orjson

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind, Subresource, field_reader
from k8slab.kube.api.meta import Object, dig

_KEY: Final = re.compile(r"^[-._a-zA-Z0-9]+\Z")
_KEY_RULE: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_ACCOUNT: Final = "kubernetes.io/service-account.name"
_TOKEN: Final = "kubernetes.io/service-account-token"
_BASIC: Final = "kubernetes.io/basic-auth"
_JSON: Final = ("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson")
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    _BASIC: ("username", "password"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
LARGEST: Final = 1024 * 1024


def _data_problems(obj: Object, fields: tuple[str, ...], texts: tuple[str, ...], whole: str) -> list[FieldProblem]:
    """``texts``: those of the fields whose values are not base64; ``whole``: what together must not be too large."""
    found, size = [], 0
    for field in fields:
        for key, value in (obj.get(field) or {}).items():
            size += len(value.encode()) if field in texts else len(value) // 4 * 3 - value[-2:].count("=")
            if not _KEY.match(key):
                found.append(validation.invalid(f"{field}[{key}]", key, _KEY_RULE))
            if len(key) > 253:
                found.append(validation.invalid(f"{field}[{key}]", key, "must be no more than 253 characters"))
    if size > LARGEST:
        found.append(validation.too_long(whole, LARGEST))
    return found


def _unchanged(new: Object, old: Object | None, fields: tuple[str, ...]) -> list[FieldProblem]:
    if old is None or not old.get("immutable"):
        return []
    found = []
    if not new.get("immutable"):
        found.append(validation.forbidden("immutable", "field is immutable when `immutable` is set"))
    return found + [
        validation.forbidden(field, "field is immutable when `immutable` is set")
        for field in fields
        if new.get(field) != old.get(field)
    ]


def _config_map_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found = _data_problems(new, ("data", "binaryData"), texts=("data",), whole="[]")
    for key in (new.get("data") or {}).keys() & (new.get("binaryData") or {}).keys():
        found.append(validation.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    return found + _unchanged(new, old, ("data", "binaryData"))


def _secret_defaults(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    written = obj.pop("stringData", None)
    if written:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in written.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def _type_problems(secret: Object) -> Iterator[FieldProblem]:
    """What those who read a secret of this type look for in it."""
    kind, data = secret.get("type") or "", secret.get("data") or {}
    if kind == _TOKEN and not dig(secret, "metadata", "annotations", _ACCOUNT):
        yield validation.required(f"metadata.annotations[{_ACCOUNT}]")
    keys = _KEYS.get(kind, ())
    if kind != _BASIC or not any(key in data for key in keys):
        yield from (validation.required(f"data[{key}]") for key in keys if key not in data)
    for key in keys if kind in _JSON else ():
        if key in data and not _is_json_object(data[key]):
            yield validation.invalid(f"data[{key}]", "<secret contents redacted>", "must be a JSON object")


def _is_json_object(encoded: str) -> bool:
    try:
        return isinstance(orjson.loads(base64.b64decode(encoded)), dict)
    except ValueError:
        return False


def _secret_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found = _data_problems(new, ("data",), texts=(), whole="data")
    found += _type_problems(new)
    if old is not None and new.get("type") != old.get("type"):
        found.append(validation.immutable("type", new.get("type")))
    return found + _unchanged(new, old, ("data",))


def _lease_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new.get("spec") or {}
    found = []
    for field in ("leaseDurationSeconds", "leaseTransitions"):
        value = spec.get(field)
        least = 1 if field == "leaseDurationSeconds" else 0
        if value is not None and value < least:
            why = "must be greater than 0" if least else "must be greater than or equal to 0"
            found.append(validation.invalid(f"spec.{field}", value, why))
    return found


CONFIG_MAP: Final = Kind(
    kind="ConfigMap",
    plural="configmaps",
    singular="configmap",
    short_names=("cm",),
    columns=(
        NAME,
        Column("Data", lambda obj: len(obj.get("data") or {}) + len(obj.get("binaryData") or {})),
        AGE,
    ),
    validate=_config_map_problems,
)

SECRET: Final = Kind(
    kind="Secret",
    plural="secrets",
    singular="secret",
    columns=(
        NAME,
        Column("Type", lambda obj: obj.get("type") or ""),
        Column("Data", lambda obj: len(obj.get("data") or {})),
        AGE,
    ),
    fields={"type": field_reader("type")},
    default=_secret_defaults,
    validate=_secret_problems,
)

SERVICE_ACCOUNT: Final = Kind(
    kind="ServiceAccount",
    plural="serviceaccounts",
    singular="serviceaccount",
    short_names=("sa",),
    columns=(NAME, Column("Secrets", lambda obj: len(obj.get("secrets") or ())), AGE),
    returns_deleted=True,
    subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),),
)

LEASE: Final = Kind(
    kind="Lease",
    plural="leases",
    singular="lease",
    group="coordination.k8s.io",
    columns=(NAME, Column("Holder", lambda obj: dig(obj, "spec", "holderIdentity") or ""), AGE),
    validate=_lease_problems,
    creates_on_update=True,
    unconditional_update=False,
)

BINDING: Final = Kind(kind="Binding", plural="bindings", singular="binding", verbs=("create",), stored=False)
