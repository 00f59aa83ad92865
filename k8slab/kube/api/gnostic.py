"""The protobuf form of an OpenAPI v2 document: the few messages of gnostic's schema that kubectl reads.

Field numbers are openapi_v2.proto's. Only what our documents hold is written: definitions of objects with properties,
arrays, maps, references and extensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

DOCUMENT: Final = {"swagger": 1, "info": 2, "paths": 8, "definitions": 9}
INFO: Final = {"title": 1, "version": 2}
SCHEMA: Final = {"$ref": 1, "format": 2, "additionalProperties": 21, "type": 22, "items": 23, "properties": 25}
SCHEMA_EXTENSION: Final = 31


def document(form: Mapping[str, Any]) -> bytes:
    info = b"".join(_text(INFO[key], form["info"][key]) for key in INFO)
    definitions = b"".join(_named(name, _schema(schema)) for name, schema in form["definitions"].items())
    return (
        _text(DOCUMENT["swagger"], form["swagger"])
        + _bytes(DOCUMENT["info"], info)
        + _bytes(DOCUMENT["paths"], b"")
        + _bytes(DOCUMENT["definitions"], definitions)
    )


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = []
    for key, value in schema.items():
        match key:
            case "$ref" | "format":
                parts.append(_text(SCHEMA[key], value))
            case "type":
                parts.append(_bytes(SCHEMA[key], _text(1, value)))
            case "items":
                parts.append(_bytes(SCHEMA[key], _bytes(1, _schema(value))))
            case "additionalProperties":
                parts.append(_bytes(SCHEMA[key], _bytes(1, _schema(value))))
            case "properties":
                named = b"".join(_named(name, _schema(one)) for name, one in value.items())
                parts.append(_bytes(SCHEMA[key], named))
            case _:
                yaml = orjson.dumps(value)
                parts.append(_bytes(SCHEMA_EXTENSION, _text(1, key) + _bytes(2, _bytes(2, yaml))))
    return b"".join(parts)


def _named(name: str, value: bytes) -> bytes:
    return _bytes(1, _text(1, name) + _bytes(2, value))


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode())


def _bytes(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
