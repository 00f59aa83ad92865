"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386): a new value is returned, arguments stay."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from k8slab.kube.api.errors import ApiFailure, bad_request

# The original's bounds, so that a small patch cannot become a large object.
MOST_OPERATIONS: Final = 10_000
MOST_COPIED: Final = 3 * 1024 * 1024


def merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def json_patch(target: Any, operations: Any) -> Any:
    """Raises Invalid when a test fails or a path is not there, BadRequest when the patch is none."""
    if not isinstance(operations, Sequence) or isinstance(operations, str):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > MOST_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(operations)}"
        raise ApiFailure(413, "RequestEntityTooLarge", message)
    copied = 0
    for operation in operations:
        if not isinstance(operation, Mapping) or not isinstance(operation.get("path"), str):
            raise bad_request("a JSON patch is a list of operations, each with op and path")
        if operation.get("op") == "copy":
            copied += len(orjson.dumps(_at(target, _pointer(operation.get("from") or ""))))
            if copied > MOST_COPIED:
                raise _rejected("the patch copies too much")
        target = _operate(target, operation)
    return target


def _operate(target: Any, operation: Mapping[str, Any]) -> Any:
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add":
            return _put(target, path, operation.get("value"), insert=True)
        case "replace":
            _at(target, path)
            return _put(target, path, operation.get("value"), insert=False)
        case "remove":
            return _remove(target, path)
        case "test":
            if not _same(_at(target, path, missing=None), operation.get("value")):
                raise _rejected(f"testing value {operation['path']} failed")
            return target
        case "move":
            source = _pointer(operation.get("from") or "")
            if path[: len(source)] == source and path != source:
                raise _rejected("a value cannot be moved into itself")
            return _put(_remove(target, source), path, _at(target, source), insert=True)
        case "copy":
            return _put(target, path, _at(target, _pointer(operation.get("from") or "")), insert=True)
        case other:
            raise bad_request(f"unexpected JSON patch operation: {other}")


def _same(one: Any, other: Any) -> bool:
    """As JSON tells values apart: true is not 1, but 1.0 is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(item, other[key]) for key, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _rejected(f"{text!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


_INDEX: Final = re.compile(r"^(?:0|[1-9][0-9]{0,8})\Z")
_REQUIRED: Final = object()


def _at(target: Any, path: Sequence[str], *, missing: Any = _REQUIRED) -> Any:
    for part in path:
        if isinstance(target, Mapping) and part in target:
            target = target[part]
        elif isinstance(target, list) and _INDEX.match(part) and int(part) < len(target):
            target = target[int(part)]
        elif missing is _REQUIRED:
            raise _rejected(f"there is nothing at /{'/'.join(path)}")
        else:
            return missing
    return target


def _put(target: Any, path: Sequence[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(target, list):
        items = list(target)
        index = len(items) if head == "-" else int(head) if _INDEX.match(head) else -1
        if not 0 <= index <= len(items) or (index == len(items) and (rest or not insert)):
            raise _rejected(f"there is no member {head}")
        if rest:
            items[index] = _put(items[index], rest, value, insert=insert)
        elif insert:
            items.insert(index, value)
        else:
            items[index] = value
        return items
    if not isinstance(target, Mapping) or (rest and head not in target):
        raise _rejected(f"there is nothing at {head}")
    return {**target, head: _put(target.get(head), rest, value, insert=insert) if rest else value}


def _remove(target: Any, path: Sequence[str]) -> Any:
    if not path:
        raise _rejected("the whole object cannot be removed")
    _at(target, path)
    head, rest = path[0], path[1:]
    if isinstance(target, list):
        items = list(target)
        if rest:
            items[int(head)] = _remove(items[int(head)], rest)
        else:
            del items[int(head)]
        return items
    if rest:
        return {**target, head: _remove(target[head], rest)}
    return {key: value for key, value in target.items() if key != head}


def _rejected(why: str) -> ApiFailure:
    message = "the server rejected our request due to an error in our request"
    return ApiFailure(422, "Invalid", message, details={"causes": [{"message": why}]})
