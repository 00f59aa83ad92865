"""The table of types: ``types.json`` has {type: {"model": name in OpenAPI, "fields": {name: [form, number, rules]}}}.

A field's form is a scalar (SCALARS below), another type, "[]T" or "map[]T". A type goes by its bare name; where several
served groups have one of that name, the later ones are "<group>/<version>.<name>" ("Event" is core's,
"events.k8s.io/v1.Event" the other).
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import orjson

HERE: Final = Path(__file__).parent
SCALARS: Final = frozenset(
    {
        *("string", "int32", "int64", "double", "boolean", "bytes", "any"),
        *("Time", "MicroTime", "Quantity", "IntOrString", "FieldsV1", "RawExtension"),
    }
)


class Field(NamedTuple):
    """``number`` is the field's place in protobuf: a path where JSON has the fields of a nested message one level up.

    ``merge_key`` and ``strategy`` are for strategic merge patches ("merge", "retainKeys", "merge,retainKeys",
    "replace"); ``list_type`` ("atomic", "set", "map" by ``map_keys``) and ``map_type`` for apply. ``pointer``: a zero
    value that is there is not the same as none.
    """

    form: str
    number: tuple[int, ...] = ()
    required: bool = False
    merge_key: str = ""
    strategy: str = ""
    list_type: str = ""
    map_keys: tuple[str, ...] = ()
    map_type: str = ""
    default: str = ""
    pointer: bool = False

    @property
    def merges(self) -> bool:
        return "merge" in self.strategy


class Type(NamedTuple):
    """``atomic``: whoever applies one field of it owns all of them."""

    name: str
    model: str
    fields: Mapping[str, Field]
    atomic: bool = False


@cache
def types() -> Mapping[str, Type]:
    """Name → type, for every type that a served kind is made of."""
    loaded = orjson.loads((HERE / "types.json").read_bytes())
    return {
        name: Type(name, one["model"], {key: _field(*entry) for key, entry in one["fields"].items()}, "atomic" in one)
        for name, one in loaded.items()
    }


def _field(form: str, number: int | list[int] | None = None, rules: Mapping[str, object] | None = None) -> Field:
    path = tuple(number) if isinstance(number, list) else (number,) if number else ()
    if not rules:
        return Field(form, path)
    keys = rules.get("mapKeys") or ()
    assert isinstance(keys, list | tuple)
    return Field(
        form,
        path,
        required=bool(rules.get("required")),
        merge_key=str(rules.get("mergeKey") or ""),
        strategy=str(rules.get("strategy") or ""),
        list_type=str(rules.get("listType") or ""),
        map_keys=tuple(keys),
        map_type=str(rules.get("mapType") or ""),
        default=str(rules.get("default") or ""),
        pointer=bool(rules.get("pointer")),
    )


def descriptions() -> Mapping[str, tuple[str, Mapping[str, str]]]:
    """Type → its description and those of its fields. Read anew each time: they are large and seldom asked for."""
    loaded: dict[str, tuple[str, dict[str, str]]] = orjson.loads(
        lzma.decompress((HERE / "descriptions.json.xz").read_bytes())
    )
    return loaded


def element(form: str) -> str:
    """The form of a list's or map's members: "Container" for "[]Container"."""
    return form.removeprefix("map").removeprefix("[]")
