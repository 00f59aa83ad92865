"""JSON patch (RFC 6902), JSON merge patch (RFC 7386) and the strategic merge patch of built-in kinds.

All of them return a new value and leave their arguments as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from k8slab.kube.api.errors import ApiFailure, bad_request
from k8slab.kube.api.meta import is_number
from k8slab.kube.api.schemas import Field, element, types

DIRECTIVE: Final = "$patch"
ORDER: Final = "$setElementOrder/"
DELETE_FROM: Final = "$deleteFromPrimitiveList/"
RETAIN: Final = "$retainKeys"
UNTYPED: Final = Field("any")


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
    for operation in operations:
        if not isinstance(operation, Mapping) or not isinstance(operation.get("path"), str):
            raise bad_request("a JSON patch is a list of operations, each with op and path")
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
            if _at(target, path, missing=None) != operation.get("value"):
                raise _rejected(f"testing value {operation['path']} failed")
            return target
        case "move":
            source = _pointer(operation.get("from") or "")
            return _put(_remove(target, source), path, _at(target, source), insert=True)
        case "copy":
            return _put(target, path, _at(target, _pointer(operation.get("from") or "")), insert=True)
        case other:
            raise bad_request(f"unexpected JSON patch operation: {other}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise _rejected(f"{text!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


_REQUIRED: Final = object()


def _at(target: Any, path: Sequence[str], *, missing: Any = _REQUIRED) -> Any:
    for part in path:
        if isinstance(target, Mapping) and part in target:
            target = target[part]
        elif isinstance(target, list) and is_number(part) and int(part) < len(target):
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
        index = len(items) if head == "-" else int(head) if is_number(head) else -1
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


def strategic(target: Any, patch: Any, form: str) -> Any:
    """Merge by the type's own rules: lists of members by key, the $-directives obeyed and never stored."""
    if not isinstance(patch, Mapping):
        return patch
    directive = patch.get(DIRECTIVE)
    body = {key: value for key, value in patch.items() if key != DIRECTIVE}
    if directive == "replace":
        return _stripped(body)
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unrecognized {DIRECTIVE} directive: {directive}")
    merged = dict(target) if isinstance(target, Mapping) else {}
    if RETAIN in body:
        kept = body.pop(RETAIN)
        if not isinstance(kept, list):
            raise bad_request(f"{RETAIN} is a list of keys")
        merged = {key: value for key, value in merged.items() if key in kept}
    fields = types()[form].fields if form in types() else {}
    orders = {key[len(ORDER) :]: body.pop(key) for key in list(body) if key.startswith(ORDER)}
    for key in [key for key in body if key.startswith(DELETE_FROM)]:
        name, gone = key[len(DELETE_FROM) :], body.pop(key)
        if name in merged:
            merged[name] = [item for item in merged[name] if item not in gone]
    for key, value in body.items():
        field = fields.get(key, UNTYPED)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, list) and field.merges:
            merged[key] = _merge_list(merged.get(key), value, field.merge_key, element(field.form))
        elif isinstance(value, Mapping):
            merged[key] = strategic(merged.get(key), value, element(field.form))
        else:
            merged[key] = _stripped(value)
    for key, order in orders.items():
        if key in merged:
            merged[key] = _ordered(merged[key], order, fields.get(key, UNTYPED).merge_key)
    return merged


def _merge_list(target: Any, patch: list[Any], key: str, form: str) -> list[Any]:
    items = list(target) if isinstance(target, list) else []
    if any(isinstance(item, Mapping) and item.get(DIRECTIVE) == "replace" for item in patch):
        return [_stripped(item) for item in patch if not (isinstance(item, Mapping) and set(item) == {DIRECTIVE})]
    if not key:
        return items + [item for item in patch if item not in items]
    for item in patch:
        if not isinstance(item, Mapping) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        places = [index for index, old in enumerate(items) if _same(old, item, key)]
        if item.get(DIRECTIVE) == "delete":
            items = [old for index, old in enumerate(items) if index not in places]
        elif places:
            items[places[0]] = strategic(items[places[0]], item, form)
        else:
            items.append(strategic({}, item, form))
    return items


def _same(old: Any, item: Mapping[str, Any], key: str) -> bool:
    return isinstance(old, Mapping) and old.get(key) == item[key]


def _ordered(items: list[Any], order: Iterable[Any], key: str) -> list[Any]:
    """The members named in the order as it says; the others keep their places relative to their neighbours."""
    ranks = {(entry.get(key) if isinstance(entry, Mapping) else entry): rank for rank, entry in enumerate(order)}
    rank, placed = -1, []
    for index, item in enumerate(items):
        name = item.get(key) if isinstance(item, Mapping) else item
        rank = ranks.get(name, rank)
        placed.append((rank, name not in ranks, index, item))
    return [item for *_, item in sorted(placed, key=lambda entry: entry[:3])]


def _stripped(value: Any) -> Any:
    """The value without directives, for what is stored as it came."""
    if isinstance(value, Mapping):
        return {
            key: _stripped(item)
            for key, item in value.items()
            if item is not None and key not in (DIRECTIVE, RETAIN) and not key.startswith((ORDER, DELETE_FROM))
        }
    return [_stripped(item) for item in value] if isinstance(value, list) else value
