"""Sets of field paths, in the form in which objects carry them (FieldsV1).

A set is a tree: {"f:spec": {"f:replicas": {}, "f:template": {…}}}. A key is a step of the path: "f:<name>" a field or a
map's key, "k:<keys as JSON>" a member of a list by its keys, "v:<value as JSON>" a member of a set. An empty tree
means that the path itself is in the set; a "." that it is, beside longer paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

Fields = dict[str, Any]
SELF: Final = "."


def parts(tree: Fields | None) -> tuple[bool, Fields]:
    """Whether a path itself is in the set, and what is below it."""
    if tree is None:
        return False, {}
    if not tree:
        return True, {}
    if SELF in tree:
        return True, {key: below for key, below in tree.items() if key != SELF}
    return False, tree


def _joined(member: bool, below: Fields) -> Fields | None:
    if not member:
        return below or None
    return {SELF: {}, **below} if below else {}


def union(one: Fields, other: Fields) -> Fields:
    found = dict(one)
    for key, theirs in other.items():
        if key == SELF or key not in one:
            found[key] = theirs
            continue
        member, below = parts(one[key])
        also, more = parts(theirs)
        tree = _joined(member or also, union(below, more))
        assert tree is not None
        found[key] = tree
    return found


def difference(one: Fields, other: Fields) -> Fields:
    found: Fields = {}
    for key, mine in one.items():
        if key not in other:
            found[key] = mine
            continue
        member, below = parts(mine)
        gone, less = parts(other[key])
        tree = _joined(member and not gone, difference(below, less))
        if tree is not None:
            found[key] = tree
    return found


def without(one: Fields, other: Fields) -> Fields:
    """The difference in which a path that is gone takes all paths below it along."""
    found: Fields = {}
    for key, mine in one.items():
        if key not in other:
            found[key] = mine
            continue
        gone, less = parts(other[key])
        if gone:
            continue
        member, below = parts(mine)
        tree = _joined(member, without(below, less))
        if tree is not None:
            found[key] = tree
    return found


def intersection(one: Fields, other: Fields) -> Fields:
    found: Fields = {}
    for key in one.keys() & other.keys():
        member, below = parts(one[key])
        also, more = parts(other[key])
        tree = _joined(member and also, intersection(below, more))
        if tree is not None:
            found[key] = tree
    return found


def paths(tree: Fields, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All paths in the set, in order."""
    for key in sorted(tree):
        member, below = parts(tree[key])
        if member:
            yield (*above, key)
        yield from paths(below, (*above, key))


def shown(path: tuple[str, ...]) -> str:
    """A path as messages write it: .spec.containers[name="a"].image"""
    written = []
    for step in path:
        mark, text = step[0], step[2:]
        match mark:
            case "f":
                written.append(f".{text}")
            case "k":
                keys = orjson.loads(text)
                named = ",".join(f"{key}={orjson.dumps(value).decode()}" for key, value in sorted(keys.items()))
                written.append(f"[{named}]")
            case "v":
                written.append(f"[={text}]")
            case _:
                written.append(f"[{text}]")
    return "".join(written)


def of_path(*names: str) -> Fields:
    """The set of one path of fields."""
    tree: Fields = {}
    for name in reversed(names):
        tree = {f"f:{name}": tree}
    return tree
