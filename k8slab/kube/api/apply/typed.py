"""Objects by their types: which fields they have, how two differ, how one is merged into another, what is taken out.

The rules are those of structured merging: a scalar and whatever is atomic is a leaf; members of a list are told apart
by its keys, or by their values in a set; all else is entered. A value that a Go object always has (a struct that is no
pointer, a list that is required) counts as there but empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

import orjson

from k8slab.kube.api.apply.fieldsets import SELF, Fields, parts
from k8slab.kube.api.schemas import SCALARS, Field, element, types

ABSENT: Final = object()


class Shape(NamedTuple):
    """How a value is entered: kind is "leaf", "struct", "map", "list" (by ``keys``) or "set"."""

    kind: str
    form: str = ""
    keys: tuple[str, ...] = ()


LEAF: Final = Shape("leaf")


@cache
def shape_of(form: str) -> Shape:
    """Of a whole object or a member of a list or map."""
    return _shape(Field(form))


@cache
def _shape(one: Field) -> Shape:
    if one.form.startswith("map[]"):
        return LEAF if one.map_type == "atomic" else Shape("map", element(one.form))
    if one.form.startswith("[]"):
        return _list_shape(one)
    if one.form in SCALARS or one.map_type == "atomic" or types()[one.form].atomic:
        return LEAF
    return Shape("struct", one.form)


def _list_shape(one: Field) -> Shape:
    form = element(one.form)
    match one.list_type:
        case "map":
            return Shape("list", form, one.map_keys)
        case "set":
            return Shape("set", form)
        case "":
            if one.merges:
                return Shape("list", form, (one.merge_key,)) if one.merge_key else Shape("set", form)
    return LEAF


@cache
def _members(form: str) -> Mapping[str, tuple[str, Shape, Any]]:
    """Field → its step in a path, its shape, and what it is when nothing is said: {}, [] or ABSENT."""
    found = {}
    for key, one in types()[form].fields.items():
        shape = _shape(one)
        implied: Any = ABSENT
        if one.form in types() and not one.pointer:
            implied = {}
        elif one.required and one.form.startswith(("[]", "map[]")):
            implied = [] if one.form.startswith("[]") else {}
        found[key] = (f"f:{key}", shape, implied)
    return found


def _children(shape: Shape, value: Any) -> Iterator[tuple[str, Any, Shape]]:
    """The steps from a value to what it holds; unknown fields are leaves."""
    match shape.kind:
        case "struct":
            known = _members(shape.form)
            for key, item in value.items():
                step, inner, _ = known.get(key) or (f"f:{key}", LEAF, ABSENT)
                yield step, item, inner
        case "map":
            inner = shape_of(shape.form)
            for key, item in value.items():
                yield f"f:{key}", item, inner
        case "list" | "set":
            inner = shape_of(shape.form) if shape.kind == "list" else LEAF
            for item in value:
                yield step_to(shape, item), item, inner


def step_to(shape: Shape, item: Any) -> str:
    """The step to a list's member."""
    if shape.kind == "set":
        return "v:" + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()
    if len(shape.keys) == 1:
        key = shape.keys[0]
        value = item.get(key, ABSENT) if isinstance(item, dict) else ABSENT
        if type(value) is str:
            return f'k:{{"{key}":{orjson.dumps(value).decode()}}}'
    fields = types()[shape.form].fields
    named = {}
    for key in shape.keys:
        default = fields[key].default if key in fields else ""
        value = item.get(key, default) if isinstance(item, dict) else None
        if value not in ("", None):
            named[key] = value
    return "k:" + orjson.dumps(named, option=orjson.OPT_SORT_KEYS).decode()


def field_set(shape: Shape, value: Any) -> Fields:
    """Every field that a configuration names, as it owns them when it is applied."""
    found: Fields = {}
    for step, item, inner in _children(shape, value):
        if inner.kind == "leaf" or item is None or item == {}:
            found[step] = {}
            continue
        below = field_set(inner, item)
        if shape.kind in ("list", "set"):
            found[step] = {SELF: {}, **below} if below else {}
        elif below:
            found[step] = below
    return found


@dataclass
class Difference:
    """What of the second object is new, what is otherwise, and what it no longer has."""

    added: Fields = field(default_factory=dict)
    modified: Fields = field(default_factory=dict)
    removed: Fields = field(default_factory=dict)

    @property
    def is_none(self) -> bool:
        return not (self.added or self.modified or self.removed)


def compare(shape: Shape, old: Any, new: Any) -> Difference:
    found = Difference()
    _compare(shape, old, new, found)
    return found


def _compare(shape: Shape, old: Any, new: Any, found: Difference) -> None:
    """Compare the contents of two values that are both there."""
    before = {step: (item, inner) for step, item, inner in _children(shape, old)}
    after = {step: (item, inner) for step, item, inner in _children(shape, new)}
    if shape.kind == "struct":
        _imply(shape, before, after)
    for step, (item, inner) in after.items():
        if step not in before:
            found.added[step] = _everything(inner, item)
            continue
        was = before[step][0]
        if item == was:
            continue
        if inner.kind == "leaf" or not (was or item):
            found.modified[step] = {}
            continue
        below = Difference()
        _compare(inner, was or _empty(inner), item or _empty(inner), below)
        for tree, mine in (
            (below.added, found.added),
            (below.modified, found.modified),
            (below.removed, found.removed),
        ):
            if tree:
                mine[step] = tree
    for step, (item, inner) in before.items():
        if step not in after:
            found.removed[step] = _everything(inner, item)


def _imply(shape: Shape, before: dict[str, Any], after: dict[str, Any]) -> None:
    for step, inner, implied in _members(shape.form).values():
        if implied is not ABSENT and (step in before) != (step in after):
            (after if step in before else before)[step] = (implied, inner)


def _empty(shape: Shape) -> Any:
    return [] if shape.kind in ("list", "set") else {}


def _everything(shape: Shape, value: Any) -> Fields:
    """A value that was not there before: it and all below it."""
    if shape.kind == "leaf" or not value:
        return {}
    below = {step: _everything(inner, item) for step, item, inner in _children(shape, value)}
    return {SELF: {}, **below} if below else {}


def merge(shape: Shape, live: Any, config: Any) -> Any:
    """The live value with all that the configuration says."""
    if shape.kind == "leaf" or live is ABSENT or live is None or config is None or type(live) is not type(config):
        return config
    if shape.kind in ("struct", "map"):
        merged = dict(live)
        for step, item, inner in _children(shape, config):
            key = step[2:]
            merged[key] = merge(inner, live.get(key, ABSENT), item)
        return merged
    return _merge_list(shape, live, config)


def _merge_list(shape: Shape, live: list[Any], config: list[Any]) -> list[Any]:
    """Members that only the live list has keep their places among those of the configuration, whose order wins."""
    inner = shape_of(shape.form) if shape.kind == "list" else LEAF
    mine = [(step_to(shape, item), item) for item in live]
    theirs = [(step_to(shape, item), item) for item in config]
    old, wanted = dict(mine), {step for step, _ in theirs}
    merged: list[Any] = []
    done: set[str] = set()
    position = 0
    for step, item in theirs:
        while position < len(mine) and (mine[position][0] not in wanted or mine[position][0] in done):
            if mine[position][0] not in wanted:
                merged.append(mine[position][1])
            position += 1
        merged.append(merge(inner, old.get(step, ABSENT), item))
        done.add(step)
        if position < len(mine) and mine[position][0] == step:
            position += 1
    merged += [item for step, item in mine[position:] if step not in wanted]
    return merged


def remove(shape: Shape, value: Any, gone: Fields) -> Any:
    """The value without the paths of a set; None where nothing is left of it."""
    if shape.kind == "leaf" or not value or not gone:
        return value
    kept: list[tuple[str, Any]] = []
    for step, item, inner in _children(shape, value):
        if step not in gone:
            kept.append((step, item))
            continue
        member, below = parts(gone[step])
        left = None if member else remove(inner, item, below)
        if left is not None:
            kept.append((step, left))
    if not kept:
        return None
    if shape.kind in ("list", "set"):
        return [item for _, item in kept]
    return {step[2:]: item for step, item in kept}


def named(shape: Shape, tree: Fields) -> Fields:
    """The set with every struct's field that leads to a member: taking all below it away takes the field away too."""
    found: Fields = {}
    steps = {step: inner for step, inner, _ in _members(shape.form).values()} if shape.kind == "struct" else {}
    inner_of = shape_of(shape.form) if shape.kind in ("list", "map") else LEAF
    for step, below in tree.items():
        if step == SELF:
            found[step] = below
            continue
        deeper = named(steps.get(step, LEAF) if shape.kind == "struct" else inner_of, below)
        if shape.kind == "struct" and deeper:
            deeper = {SELF: {}, **deeper}
        found[step] = deeper
    return found
