"""The strategic merge patch: a merge patch that knows, by the object's type, which lists are merged and by which key.

Directives in a patch are obeyed and never stored: ``$patch`` (replace, delete), ``$setElementOrder/<list>``,
``$deleteFromPrimitiveList/<list>``, ``$retainKeys``. A new value is returned; arguments stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from k8slab.kube.api.errors import ApiFailure, bad_request
from k8slab.kube.api.schemas import Field, element, types

DIRECTIVE: Final = "$patch"
ORDER: Final = "$setElementOrder/"
DELETE_FROM: Final = "$deleteFromPrimitiveList/"
RETAIN: Final = "$retainKeys"
UNTYPED: Final = Field("any")


def strategic(target: Any, patch: Any, form: str) -> Any:
    """Merge by the rules of the type ``form``. Raises BadRequest for a patch that says nothing sensible."""
    if not isinstance(patch, Mapping):
        return patch
    if DIRECTIVE in patch:
        return _directed(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    body = dict(patch)
    if RETAIN in body:
        merged = _retained(merged, body, body.pop(RETAIN))
    fields = types()[form].fields if form in types() else {}
    for key in [key for key in body if key.startswith(ORDER)]:
        _put_in_order(merged, body, key[len(ORDER) :], body.pop(key), fields)
    for key in [key for key in body if key.startswith(DELETE_FROM)]:
        name, gone = key[len(DELETE_FROM) :], _listed(body.pop(key), "primitive list")
        if isinstance(merged.get(name), list):
            merged[name] = [item for item in merged[name] if item not in gone]
    for key, value in body.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _member(merged.get(key), value, fields.get(key, UNTYPED))
    return merged


def _directed(patch: Mapping[str, Any]) -> Any:
    match patch[DIRECTIVE]:
        case "replace":
            return stripped({key: value for key, value in patch.items() if key != DIRECTIVE})
        case "delete":
            return {}
    raise _bad_directive(patch)


def _bad_directive(patch: Mapping[str, Any]) -> ApiFailure:
    return bad_request(f"unknown patch type: {patch[DIRECTIVE]} in map: {_written(patch)}")


def _written(value: Any) -> str:
    return orjson.dumps(value).decode()


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise bad_request(f"invalid patch format of {what}")
    return value


def _retained(merged: dict[str, Any], body: Mapping[str, Any], kept: Any) -> dict[str, Any]:
    keys = _listed(kept, "retainKeys")
    for key, value in body.items():
        if value is not None and not key.startswith((DELETE_FROM, ORDER)) and key not in keys:
            raise bad_request("invalid patch format of retainKeys")
    return {key: value for key, value in merged.items() if key in keys}


def _member(target: Any, value: Any, field: Field) -> Any:
    if isinstance(value, Mapping):
        if "replace" in field.strategy:
            return stripped(value)
        return strategic(target, value, element(field.form))
    if isinstance(value, list) and field.merges:
        return merge_list(target if isinstance(target, list) else [], value, field)
    return stripped(value)


def merge_list(target: Sequence[Any], patch: Sequence[Any], field: Field) -> list[Any]:
    """Members of the patch take its order; those that only the target has keep their places among them."""
    key = field.merge_key
    if not key:
        known = {_name(item, key) for item in target}
        return in_order([*target, *(item for item in patch if _name(item, key) not in known)], patch, target, key)
    wanted, target, replaced = _special(patch, target, key)
    if replaced:
        return [stripped(item) for item in wanted]
    items = list(target)
    places = {_name(item, key): index for index, item in reversed(list(enumerate(items)))}
    for item in wanted:
        name = _name(item, key)
        if name in places:
            items[places[name]] = strategic(items[places[name]], item, element(field.form))
        else:
            places[name] = len(items)
            items.append(strategic({}, item, element(field.form)))
    return in_order(items, wanted, target, key)


def _special(patch: Sequence[Any], target: Sequence[Any], key: str) -> tuple[list[Any], list[Any], bool]:
    """The patch without its special members, the target without those they delete, and whether the patch replaces."""
    wanted: list[Any] = []
    gone: set[bytes] = set()
    replaced = False
    for item in patch:
        if not isinstance(item, Mapping):
            raise bad_request(f"expected a map, but received {_written(item)}")
        directive = item.get(DIRECTIVE)
        if directive == "replace":
            replaced = True
            continue
        if key not in item:
            raise bad_request(f"map: {_written(item)} does not contain declared merge key: {key}")
        if directive == "delete":
            gone.add(_name(item, key))
        elif directive == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        elif directive is not None:
            raise _bad_directive(item)
        else:
            wanted.append(item)
    return wanted, [old for old in target if _name(old, key) not in gone], replaced


def _name(item: Any, key: str) -> bytes:
    """What tells a member of a list apart: its key's value, or itself."""
    if key:
        item = item.get(key) if isinstance(item, Mapping) else None
    return orjson.dumps(item, option=orjson.OPT_SORT_KEYS)


def _put_in_order(
    merged: dict[str, Any], body: dict[str, Any], name: str, order: Any, fields: Mapping[str, Field]
) -> None:
    """Merge a list of which the patch says the order of its members."""
    field = fields.get(name, UNTYPED)
    wanted = _listed(order, "setElementOrder list")
    patch = _listed(body.pop(name, []), "setElementOrder list") if body.get(name, []) is not None else []
    there = merged.get(name) if isinstance(merged.get(name), list) else []
    assert isinstance(there, list)
    _agree(patch, wanted, field.merge_key, name)
    items = merge_list(there, patch, field) if patch and field.merges else list(patch or there)
    if items:
        merged[name] = in_order(items, wanted, there, field.merge_key)
    elif patch or name in merged:
        merged[name] = items


def _agree(patch: Sequence[Any], order: Sequence[Any], key: str, name: str) -> None:
    """Raises BadRequest for a patch whose members are not in the order that it asks for."""
    left = iter([_name(item, key) for item in order])
    for item in patch:
        if isinstance(item, Mapping) and DIRECTIVE in item:
            continue
        if _name(item, key) not in left:
            raise bad_request(
                f" The order in patch list:\n{_written(patch)}\n doesn't match {ORDER}{name} list:\n{_written(order)}\n"
            )


def in_order(items: Sequence[Any], order: Sequence[Any], there: Sequence[Any], key: str) -> list[Any]:
    """Members named in the order come as it says; each other one before the first of those that it was before."""
    ranks = {_name(item, key): rank for rank, item in reversed(list(enumerate(order)))}
    before = {_name(item, key): rank for rank, item in reversed(list(enumerate(there)))}
    named = [(_name(item, key), item) for item in items]
    first = sorted((one for one in named if one[0] in ranks), key=lambda one: ranks[one[0]])
    rest = sorted((one for one in named if one[0] not in ranks), key=lambda one: before.get(one[0], len(before)))
    merged: list[Any] = []
    mine = theirs = 0
    while mine < len(rest) and theirs < len(first):
        left, right = before.get(rest[mine][0]), before.get(first[theirs][0])
        if left is not None and right is not None and left < right:
            merged.append(rest[mine][1])
            mine += 1
        else:
            merged.append(first[theirs][1])
            theirs += 1
    return [*merged, *(item for _, item in first[theirs:]), *(item for _, item in rest[mine:])]


def stripped(value: Any) -> Any:
    """The value without directives and nulls, for what is stored as it came."""
    if isinstance(value, Mapping):
        return {
            key: stripped(item)
            for key, item in value.items()
            if item is not None and key not in (DIRECTIVE, RETAIN) and not key.startswith((ORDER, DELETE_FROM))
        }
    return [stripped(item) for item in value] if isinstance(value, list) else value
