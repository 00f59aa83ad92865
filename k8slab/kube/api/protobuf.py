"""Request bodies in protobuf, decoded into the JSON form: newer kubectls send them for their imperative creates.

The table of types says which field has which number; a field it does not know is skipped, as readers of protobuf do.
Go writes the zero values of what is no pointer; those are not there in JSON and are left out here too.
"""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import orjson

from k8slab.kube.api import errors
from k8slab.kube.api.schemas import Field, types

MAGIC: Final = b"k8s\0"

# Field number → the field with its JSON name, or the fields of a message that JSON has one level up.
_Wire = dict[int, "tuple[str, Field] | _Wire"]


def decode(body: bytes) -> Any:
    """The object in an enveloped body. Raises BadRequest, and UnsupportedMediaType for a kind that is not known."""
    if not body.startswith(MAGIC):
        raise errors.bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    try:
        envelope = _fields(body[len(MAGIC) :])
        described = _fields(_last(envelope, 1))
        version, kind = _last(described, 1).decode(), _last(described, 2).decode()
        form = _form(version, kind)
        if form is None:
            raise errors.unsupported_media_type(("application/json", "application/yaml"))
        return {"kind": kind, "apiVersion": version, **_message(form, _last(envelope, 2))}
    except (IndexError, ValueError, TypeError, AttributeError, OverflowError, struct.error) as trouble:
        raise errors.bad_request(f"unable to decode the protobuf message: {trouble}") from None


def _form(version: str, kind: str) -> str | None:
    """The name of a kind's type in the table."""
    qualified = f"{version}.{kind}"
    if qualified in types():
        return qualified
    return kind if kind in types() and "metadata" in types()[kind].fields else None


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
                if position + size > len(raw):
                    raise ValueError("unexpected EOF")
                value, position = raw[position : position + size], position + size
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


@cache
def _wire(form: str) -> _Wire:
    wire: _Wire = {}
    for name, field in types()[form].fields.items():
        *outer, last = field.number or (0,)
        level = wire
        for number in outer:
            inner = level.setdefault(number, {})
            assert isinstance(inner, dict), f"{form}.{name}: field {number} is a message and a value"
            level = inner
        if last:
            level[last] = (name, field)
    return wire


def _message(form: str, raw: bytes) -> dict[str, Any]:
    return _decoded(_wire(form), raw)


def _decoded(wire: _Wire, raw: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for number, values in _fields(raw).items():
        known = wire.get(number)
        if known is None:
            continue
        if isinstance(known, dict):
            decoded.update(_decoded(known, values[-1]))
            continue
        name, field = known
        value = _repeated(field.form, values)
        if value is not None and (field.pointer or value not in ("", {}, [], 0, False)):
            decoded[name] = value
    return decoded


def _repeated(form: str, values: list[Any]) -> Any:
    if form.startswith("map[]"):
        entries = [_fields(one) for one in values]
        return {_last(one, 1).decode(): _member(form[5:], one) for one in entries}
    if form.startswith("[]"):
        each = form[2:]
        if each in ("int32", "int64") and any(isinstance(one, bytes) for one in values):
            return [_value(each, one) for packed in values for one in _unpacked(packed)]
        return [_value(each, one) for one in values]
    return _value(form, values[-1])


def _member(form: str, entry: Mapping[int, list[Any]]) -> Any:
    """A map's value. Lists cannot be values in protobuf: they are messages with the list as their first field."""
    if form.startswith("[]"):
        return _repeated(form, _fields(_last(entry, 2)).get(1, []))
    return _value(form, entry[2][-1]) if 2 in entry else _value(form, b"" if form not in ("int32", "int64") else 0)


def _unpacked(packed: bytes) -> list[int]:
    found, position = [], 0
    while position < len(packed):
        value, position = _varint(packed, position)
        found.append(value)
    return found


def _value(form: str, value: Any) -> Any:
    match form:
        case "string":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "int32" | "int64":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "boolean":
            return bool(value)
        case "double":
            return struct.unpack("<d", value)[0]
        case "Quantity":
            return _last(_fields(value), 1).decode()
        case "Time":
            return _moment(value, "")
        case "MicroTime":
            return _moment(value, f".{_fields(value).get(2, [0])[-1] // 1000:06}")
        case "IntOrString":
            fields = _fields(value)
            return _last(fields, 3).decode() if fields.get(1, [0])[-1] else _value("int32", fields.get(2, [0])[-1])
        case "any" | "FieldsV1" | "RawExtension":
            return _raw(value)
    return _message(form, value)


def _moment(value: bytes, fraction: str) -> str | None:
    seconds = _fields(value).get(1, [0])[-1]
    return time.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z", time.gmtime(seconds)) if seconds else None


def _raw(value: bytes) -> Any:
    """What Go keeps undecoded: its JSON is the message's only field."""
    raw = _last(_fields(value), 1)
    return orjson.loads(raw) if raw else None
