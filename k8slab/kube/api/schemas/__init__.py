"""The fields of every served type, as data: what strict decoding, strategic patches and OpenAPI are driven by.

``types.json`` maps a type to its fields: {"Container": {"name": "string", "ports": "[]ContainerPort", …}, …}, where a
field's type is a scalar (string, integer, number, boolean, Time, Quantity, IntOrString, bytes, any), another type,
"[]T" or "map[]T".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from k8slab.kube.api.errors import ApiFailure, bad_request

GO_NAMES: Final = {"integer": "int32", "number": "float64", "boolean": "bool", "Time": "string", "bytes": "[]uint8"}

# Lists that a strategic merge patch merges, by the key of their members; "" means a set of scalars.
# A list that is not here is replaced as a whole.
MERGE_KEYS: Final[Mapping[tuple[str, str], str]] = {
    ("ObjectMeta", "finalizers"): "",
    ("ObjectMeta", "ownerReferences"): "uid",
    ("PodSpec", "containers"): "name",
    ("PodSpec", "initContainers"): "name",
    ("PodSpec", "ephemeralContainers"): "name",
    ("PodSpec", "volumes"): "name",
    ("PodSpec", "imagePullSecrets"): "name",
    ("PodSpec", "hostAliases"): "ip",
    ("PodSpec", "topologySpreadConstraints"): "topologyKey",
    ("PodSpec", "schedulingGates"): "name",
    ("PodSpec", "resourceClaims"): "name",
    ("Container", "env"): "name",
    ("Container", "ports"): "containerPort",
    ("Container", "volumeMounts"): "mountPath",
    ("Container", "volumeDevices"): "devicePath",
    ("EphemeralContainer", "env"): "name",
    ("EphemeralContainer", "ports"): "containerPort",
    ("EphemeralContainer", "volumeMounts"): "mountPath",
    ("EphemeralContainer", "volumeDevices"): "devicePath",
    ("PodStatus", "conditions"): "type",
    ("PodStatus", "podIPs"): "ip",
    ("PodStatus", "hostIPs"): "ip",
    ("PodStatus", "resourceClaimStatuses"): "name",
    ("ServiceSpec", "ports"): "port",
    ("ServiceStatus", "conditions"): "type",
    ("ServiceAccount", "secrets"): "name",
    ("NodeSpec", "podCIDRs"): "",
    ("NodeStatus", "addresses"): "type",
    ("NodeStatus", "conditions"): "type",
    ("NamespaceStatus", "conditions"): "type",
    ("ReplicationControllerStatus", "conditions"): "type",
}
# Members in which a patch may name the only keys to keep.
RETAIN_KEYS: Final = frozenset({("PodSpec", "volumes")})


@cache
def types() -> Mapping[str, Mapping[str, str]]:
    loaded: dict[str, dict[str, str]] = orjson.loads(Path(__file__).with_name("types.json").read_bytes())
    return loaded


class _Decoding:
    """One body being decoded: gathers what it has too much; stops at what has the wrong type."""

    def __init__(self, kind: str, version: str) -> None:
        self.kind = kind
        self.version = version
        self.unknown: list[str] = []

    def mismatch(self, value: Any, expected: str, where: str, field: str) -> ApiFailure:
        found = {dict: "object", list: "array", str: "string", bool: "bool"}.get(type(value), "number")
        go = GO_NAMES.get(expected, expected if expected == "string" else f"v1.{expected}")
        target = f"Go struct field {where}.{field}" if field else "Go value"
        return bad_request(
            f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}: '
            f"json: cannot unmarshal {found} into {target} of type {go}"
        )


# (decoding, value, path for messages, owner type, dotted path from the root) -> decoded value
_Decoder = Callable[[_Decoding, Any, str, str, str], Any]


def _scalar(expected: str, *kinds: type) -> _Decoder:
    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) not in kinds:
            raise run.mismatch(value, expected, owner, dotted)
        return value

    return decode


def _integer(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise run.mismatch(value, "integer", owner, dotted)
    return value


def _quantity(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
    if type(value) not in (str, int, float):
        raise run.mismatch(value, "Quantity", owner, dotted)
    return str(value)


SCALARS: Final[Mapping[str, _Decoder]] = {
    "string": _scalar("string", str),
    "boolean": _scalar("boolean", bool),
    "number": _scalar("number", int, float),
    "Time": _scalar("Time", str),
    "bytes": _scalar("bytes", str),
    "IntOrString": _scalar("IntOrString", int, str),
    "any": lambda run, value, path, owner, dotted: value,
    "integer": _integer,
    "Quantity": _quantity,
}


@cache
def _decoder(form: str) -> _Decoder:
    if form in SCALARS:
        return SCALARS[form]
    if form.startswith("[]"):
        return _array(form[2:])
    if form.startswith("map[]"):
        return _map(form[5:])
    return _struct(form)


def _array(form: str) -> _Decoder:
    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) is not list:
            raise run.mismatch(value, f"[]{form}", owner, dotted)
        each = _decoder(form)
        return [each(run, item, f"{path}[{index}]", owner, dotted) for index, item in enumerate(value)]

    return decode


def _map(form: str) -> _Decoder:
    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) is not dict:
            raise run.mismatch(value, f"map[string]{form}", owner, dotted)
        each = _decoder(form)
        return {key: each(run, item, f"{path}.{key}", owner, dotted) for key, item in value.items() if item is not None}

    return decode


def _struct(form: str) -> _Decoder:
    fields = types()[form]

    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) is not dict:
            raise run.mismatch(value, form, owner, dotted)
        decoded = {}
        for key, item in value.items():
            if key not in fields:
                run.unknown.append(f"{path}.{key}" if path else key)
            elif item is not None:
                decoder = _decoder(fields[key])
                decoded[key] = decoder(
                    run, item, f"{path}.{key}" if path else key, form, f"{dotted}.{key}" if dotted else key
                )
        return decoded

    return decode


def decode(form: str, value: Any, *, version: str) -> tuple[dict[str, Any], list[str]]:
    """The value with only the fields its type has and no nulls, and the paths of the fields it does not have.

    Raises BadRequest where a field has the wrong type.
    """
    run = _Decoding(form, version)
    decoded = _decoder(form)(run, value, "", form, "")
    return decoded, run.unknown
