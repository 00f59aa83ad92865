"""Request bodies in protobuf, decoded into the JSON form: newer kubectls send them for their imperative creates.

The field numbers are those of the published generated.proto files, for the kinds whose creation is sent so. A field
that is not listed here is refused rather than lost.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.api import errors

MAGIC: Final = b"k8s\0"

# type → field number → (JSON name, type): a scalar, another type, "[]T" or "map[]T".
TYPES: Final[Mapping[str, Mapping[int, tuple[str, str]]]] = {
    "ObjectMeta": {
        1: ("name", "string"),
        2: ("generateName", "string"),
        3: ("namespace", "string"),
        4: ("selfLink", "string"),
        5: ("uid", "string"),
        6: ("resourceVersion", "string"),
        7: ("generation", "integer"),
        8: ("creationTimestamp", "Time"),
        9: ("deletionTimestamp", "Time"),
        10: ("deletionGracePeriodSeconds", "integer"),
        11: ("labels", "map[]string"),
        12: ("annotations", "map[]string"),
        14: ("finalizers", "[]string"),
    },
    "Namespace": {1: ("metadata", "ObjectMeta"), 2: ("spec", "NamespaceSpec"), 3: ("status", "NamespaceStatus")},
    "NamespaceSpec": {1: ("finalizers", "[]string")},
    "NamespaceStatus": {1: ("phase", "string")},
    "ConfigMap": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "map[]string"),
        3: ("binaryData", "map[]bytes"),
        4: ("immutable", "boolean"),
    },
    "Secret": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "map[]bytes"),
        3: ("type", "string"),
        4: ("stringData", "map[]string"),
        5: ("immutable", "boolean"),
    },
    "ServiceAccount": {
        1: ("metadata", "ObjectMeta"),
        2: ("secrets", "[]ObjectReference"),
        3: ("imagePullSecrets", "[]LocalObjectReference"),
        4: ("automountServiceAccountToken", "boolean"),
    },
    "LocalObjectReference": {1: ("name", "string")},
    "ObjectReference": {
        1: ("kind", "string"),
        2: ("namespace", "string"),
        3: ("name", "string"),
        4: ("uid", "string"),
        5: ("apiVersion", "string"),
        6: ("resourceVersion", "string"),
        7: ("fieldPath", "string"),
    },
    "Service": {1: ("metadata", "ObjectMeta"), 2: ("spec", "ServiceSpec"), 3: ("status", "ServiceStatus")},
    "ServiceSpec": {
        1: ("ports", "[]ServicePort"),
        2: ("selector", "map[]string"),
        3: ("clusterIP", "string"),
        4: ("type", "string"),
        5: ("externalIPs", "[]string"),
        7: ("sessionAffinity", "string"),
        8: ("loadBalancerIP", "string"),
        9: ("loadBalancerSourceRanges", "[]string"),
        10: ("externalName", "string"),
        11: ("externalTrafficPolicy", "string"),
        12: ("healthCheckNodePort", "integer"),
        13: ("publishNotReadyAddresses", "boolean"),
        17: ("ipFamilyPolicy", "string"),
        18: ("clusterIPs", "[]string"),
        19: ("ipFamilies", "[]string"),
        20: ("allocateLoadBalancerNodePorts", "boolean"),
        21: ("loadBalancerClass", "string"),
        22: ("internalTrafficPolicy", "string"),
        23: ("trafficDistribution", "string"),
    },
    "ServicePort": {
        1: ("name", "string"),
        2: ("protocol", "string"),
        3: ("port", "integer"),
        4: ("targetPort", "IntOrString"),
        5: ("nodePort", "integer"),
        6: ("appProtocol", "string"),
    },
    "ServiceStatus": {1: ("loadBalancer", "Empty")},
    "Empty": {},
}


def decode(body: bytes) -> Any:
    """The object in an enveloped body. Raises BadRequest, and UnsupportedMediaType for a kind that is not listed."""
    if not body.startswith(MAGIC):
        raise errors.bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        envelope = _fields(body[len(MAGIC) :])
        described = _fields(_last(envelope, 1))
        version, kind = _last(described, 1).decode(), _last(described, 2).decode()
        if kind not in TYPES or version != "v1":
            raise errors.unsupported_media_type(("application/json", "application/yaml"))
        return {"kind": kind, "apiVersion": version, **_message(kind, _last(envelope, 2))}
    except (IndexError, ValueError, TypeError, AttributeError) as trouble:
        raise errors.bad_request(f"unable to decode the protobuf message: {trouble}") from None


def _fields(raw: bytes) -> dict[int, list[Any]]:
    """Field number → the values in order: bytes for what has a length, integers for the rest."""
    found: dict[int, list[Any]] = {}
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        value: Any
        match tag & 7:
            case 0:
                value, position = _varint(raw, position)
            case 2:
                length, position = _varint(raw, position)
                if position + length > len(raw):
                    raise ValueError("unexpected EOF")
                value, position = raw[position : position + length], position + length
            case 1 | 5 as width:
                size = 8 if width == 1 else 4
                value, position = int.from_bytes(raw[position : position + size], "little"), position + size
            case other:
                raise ValueError(f"illegal wireType {other}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("integer overflow")


def _last(fields: Mapping[int, list[Any]], number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError(f"wrong wireType for field {number}")
    return value


def _message(form: str, raw: bytes) -> dict[str, Any]:
    known, decoded = TYPES[form], {}
    for number, values in _fields(raw).items():
        if number not in known:
            raise ValueError(f"field {number} of {form} is not served in protobuf, send JSON")
        name, child = known[number]
        if child.startswith("map[]"):
            entries = [_fields(one) for one in values]
            items = {_last(one, 1).decode(): _value(child[5:], _last(one, 2)) for one in entries}
            value: Any = {key: "" if item is None else item for key, item in items.items()}
        elif child.startswith("[]"):
            value = [_value(child[2:], one) for one in values]
        else:
            value = _value(child, values[-1])
        # Go writes its zero values out; in JSON they are simply not there.
        if value not in (None, "", {}, [], 0, False):
            decoded[name] = value
    return decoded


def _value(form: str, value: Any) -> Any:
    match form:
        case "string":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "integer":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "boolean":
            return bool(value)
        case "Time":
            seconds = _fields(value).get(1, [0])[-1]
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None
        case "IntOrString":
            fields = _fields(value)
            return _last(fields, 3).decode() if fields.get(1, [0])[-1] else fields.get(2, [0])[-1]
    return _message(form, value)
