"""The protobuf form of an OpenAPI v2 document, the only one that old kubectls read.

Field numbers are openapi_v2.proto's. What our documents hold is written: definitions and the operations on objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

DOCUMENT: Final = {"swagger": 1, "info": 2, "paths": 8, "definitions": 9}
INFO: Final = {"title": 1, "version": 2}
SCHEMA_TEXTS: Final = {"$ref": 1, "format": 2, "description": 4}
SCHEMA: Final = {"default": 5, "required": 19, "additionalProperties": 21, "type": 22, "items": 23, "properties": 25}
SCHEMA_EXTENSION: Final = 31
PATH_ITEM: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}
PATH_PARAMETERS: Final = 9
OPERATION: Final = {"description": 3, "operationId": 5}
OPERATION_LISTS: Final = {"tags": 1, "produces": 6, "consumes": 7}
OPERATION_PARAMETERS, OPERATION_RESPONSES, OPERATION_EXTENSION = 8, 9, 13
BODY: Final = {"name": 2, "in": 3, "required": 4}
BODY_SCHEMA: Final = 5
QUERY: Final = {"in": 2, "description": 3, "name": 4, "type": 6, "uniqueItems": 19}
PATH: Final = {"required": 1, "in": 2, "description": 3, "name": 4, "type": 5, "uniqueItems": 18}


def document(form: Mapping[str, Any]) -> bytes:
    info = b"".join(_text(INFO[key], form["info"][key]) for key in INFO)
    paths = b"".join(_bytes(2, _text(1, path) + _bytes(2, _item(item))) for path, item in form["paths"].items())
    definitions = b"".join(_named(name, _schema(schema)) for name, schema in form["definitions"].items())
    return (
        _text(DOCUMENT["swagger"], form["swagger"])
        + _bytes(DOCUMENT["info"], info)
        + _bytes(DOCUMENT["paths"], paths)
        + _bytes(DOCUMENT["definitions"], definitions)
    )


def _item(item: Mapping[str, Any]) -> bytes:
    operations = [_bytes(number, _operation(item[key])) for key, number in PATH_ITEM.items() if key in item]
    return b"".join([*operations, *_parameters(PATH_PARAMETERS, item.get("parameters", ()))])


def _operation(operation: Mapping[str, Any]) -> bytes:
    parts = [_text(number, operation[key]) for key, number in OPERATION.items()]
    parts += [_text(number, one) for key, number in OPERATION_LISTS.items() for one in operation[key]]
    parts += _parameters(OPERATION_PARAMETERS, operation.get("parameters", ()))
    responses = b"".join(_bytes(1, _response(code, one)) for code, one in operation["responses"].items())
    parts.append(_bytes(OPERATION_RESPONSES, responses))
    parts += [_extension(OPERATION_EXTENSION, key, value) for key, value in operation.items() if key.startswith("x-")]
    return b"".join(parts)


def _response(code: str, response: Mapping[str, Any]) -> bytes:
    schema = _bytes(2, _bytes(1, _schema(response["schema"]))) if "schema" in response else b""
    return _text(1, code) + _bytes(2, _bytes(1, _text(1, response["description"]) + schema))


def _parameters(number: int, parameters: Iterable[Mapping[str, Any]]) -> Iterable[bytes]:
    for one in parameters:
        if one["in"] == "body":
            body = _known(one, BODY) + _bytes(BODY_SCHEMA, _schema(one["schema"]))
            yield _bytes(number, _bytes(1, _bytes(1, body)))
        elif one["in"] == "path":
            yield _bytes(number, _bytes(1, _bytes(2, _bytes(4, _known(one, PATH)))))
        else:
            yield _bytes(number, _bytes(1, _bytes(2, _bytes(3, _known(one, QUERY)))))


def _known(value: Mapping[str, Any], numbers: Mapping[str, int]) -> bytes:
    parts = []
    for key, number in numbers.items():
        if key in value:
            one = value[key]
            parts.append(_text(number, one) if isinstance(one, str) else _varint(number << 3) + _varint(int(one)))
    return b"".join(parts)


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = []
    for key, value in schema.items():
        match key:
            case "$ref" | "format" | "description":
                parts.append(_text(SCHEMA_TEXTS[key], value))
            case "type":
                parts.append(_bytes(SCHEMA[key], _text(1, value)))
            case "required":
                parts += [_text(SCHEMA[key], one) for one in value]
            case "default":
                parts.append(_bytes(SCHEMA[key], _bytes(2, orjson.dumps(value))))
            case "items" | "additionalProperties":
                parts.append(_bytes(SCHEMA[key], _bytes(1, _schema(value))))
            case "properties":
                named = b"".join(_named(name, _schema(one)) for name, one in value.items())
                parts.append(_bytes(SCHEMA[key], named))
            case _:
                parts.append(_extension(SCHEMA_EXTENSION, key, value))
    return b"".join(parts)


def _extension(number: int, key: str, value: Any) -> bytes:
    return _bytes(number, _text(1, key) + _bytes(2, _bytes(2, orjson.dumps(value))))


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
