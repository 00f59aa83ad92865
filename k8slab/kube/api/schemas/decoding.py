"""Bodies held to their types: what has the wrong type is refused, what is not in the type is named."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from k8slab.kube.api.errors import ApiFailure, bad_request
from k8slab.kube.api.meta import parse_time
from k8slab.kube.api.schemas.model import Field, element, types

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_ALPHABET: Final = frozenset(string.ascii_letters + string.digits + "+/")
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
GO_NAMES: Final = {
    "boolean": "bool",
    "bytes": "[]uint8",
    "double": "float64",
    "int32": "int32",
    "int64": "int64",
    "IntOrString": "intstr.IntOrString",
    "MicroTime": "string",
    "Quantity": "resource.Quantity",
    "string": "string",
    "Time": "string",
}


class _Decoding:
    """One body being decoded: gathers what it has too much; stops at what has the wrong type."""

    def __init__(self, kind: str, version: str, *, literal: bool) -> None:
        self.kind = kind
        self.version = version
        self.literal = literal
        self.unknown: list[str] = []

    @property
    def refused(self) -> str:
        return f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}:'

    def mismatch(self, value: Any, expected: str, where: str, field: str) -> ApiFailure:
        found = {dict: "object", list: "array", str: "string", bool: "bool"}.get(type(value), "number")
        target = f"Go struct field {bare(where)}.{field}" if field else "Go value"
        return bad_request(f"{self.refused} json: cannot unmarshal {found} into {target} of type {_go_name(expected)}")


def bare(name: str) -> str:
    """A type's name without the group that tells it from others."""
    return name.rpartition(".")[2]


def _go_name(form: str) -> str:
    if form.startswith("[]"):
        return "[]" + _go_name(form[2:])
    if form.startswith("map["):
        return "map[string]" + _go_name(form[form.index("]") + 1 :])
    return GO_NAMES.get(form) or f"v1.{bare(form)}"


# (decoding, value, path for messages, owner type, dotted path from the root) -> decoded value
_Decoder = Callable[[_Decoding, Any, str, str, str], Any]


def _scalar(expected: str, *kinds: type) -> _Decoder:
    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) not in kinds:
            raise run.mismatch(value, expected, owner, dotted)
        return value

    return decode


def _integer(bits: int) -> _Decoder:
    limit = 1 << (bits - 1)

    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not -limit <= value < limit:
            raise run.mismatch(value, f"int{bits}", owner, dotted)
        return value

    return decode


def _int_or_string(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
    return value if type(value) is str else _integer(32)(run, value, path, owner, dotted)


def _quantity(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
    if type(value) not in (str, int, float):
        raise run.mismatch(value, "Quantity", owner, dotted)
    return str(value)


def _moment(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
    if type(value) is not str:
        raise run.mismatch(value, "Time", owner, dotted)
    if not (_MOMENT.match(value) and parse_time(value) is not None):
        said = f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
        raise bad_request(f"{run.refused} {said}")
    return value


def _bytes(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
    if type(value) is not str:
        raise run.mismatch(value, "bytes", owner, dotted)
    text = value.replace("\r", "").replace("\n", "")
    if not _BASE64.match(text):
        bad = next((index for index, mark in enumerate(text) if mark not in _ALPHABET), len(text) // 4 * 4)
        raise bad_request(f"{run.refused} illegal base64 data at input byte {bad}")
    return text


def _as_it_is(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
    return value


# What is taken as it is when it is of one of these types.
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "double": (int, float),
}

SCALARS: Final[Mapping[str, _Decoder]] = {
    **{form: _scalar(form, *kinds) for form, kinds in _KINDS.items()},
    **dict.fromkeys(("any", "FieldsV1", "RawExtension"), _as_it_is),
    **dict.fromkeys(("Time", "MicroTime"), _moment),
    "bytes": _bytes,
    "int32": _integer(32),
    "int64": _integer(64),
    "IntOrString": _int_or_string,
    "Quantity": _quantity,
}


# Their empty values.
_EMPTY: Final[Mapping[str, Any]] = {
    "string": "",
    "bytes": "",
    "boolean": False,
    "Quantity": "0",
    "IntOrString": 0,
    **dict.fromkeys(("double", "int32", "int64"), 0),
}
_BLANK: Final = ("string", "boolean", "double", "int32", "int64")


@cache
def _decoder(form: str) -> _Decoder:
    if form in SCALARS:
        return SCALARS[form]
    if form.startswith("[]"):
        return _array(form[2:])
    if form.startswith("map[]"):
        return _map(form[5:])
    return _struct(form)


def _array(form: str) -> _Decoder:
    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) is not list:
            raise run.mismatch(value, f"[]{form}", owner, dotted)
        each, empty = _decoder(form), _empty(form)
        return [
            each(run, empty if item is None else item, f"{path}[{index}]", owner, dotted)
            for index, item in enumerate(value)
        ]

    return decode


def _map(form: str) -> _Decoder:
    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) is not dict:
            raise run.mismatch(value, f"map[]{form}", owner, dotted)
        each, empty = _decoder(form), _empty(form)
        return {
            key: each(run, empty if item is None else item, f"{path}.{key}", owner, dotted)
            for key, item in value.items()
        }

    return decode


def _empty(form: str) -> Any:
    """What the original takes a null for in a list or a map, where it cannot be as if it were not there."""
    if form in SCALARS:
        return _EMPTY.get(form)
    return [] if form.startswith("[]") else {}


def _is_blank(form: str, field: Field) -> bool:
    """Whether the original cannot tell the field's empty value from none, and so fills in what is meant by none.

    Of a status every word is kept: who writes it compares it with what was read.
    """
    reported = form.endswith(("Status", "Condition"))
    return not reported and not field.pointer and not field.required and field.form in _BLANK


@cache
def _keys() -> Mapping[str, frozenset[str]]:
    """Type → those of its fields by which members of lists are told apart."""
    found: dict[str, frozenset[str]] = {}
    for one in (field for known in types().values() for field in known.fields.values()):
        form = element(one.form)
        found[form] = found.get(form, frozenset()) | {*one.map_keys, *filter(None, [one.merge_key])}
    return found


def _always_said(form: str, fields: Mapping[str, Field]) -> list[tuple[str, Any]]:
    """What every condition says, and be it nothing: those who act on conditions look for their types."""
    if not form.endswith("Condition"):
        return []
    return [(key, _EMPTY[field.form]) for key, field in fields.items() if field.required and field.form in _BLANK]


def _struct(form: str) -> _Decoder:
    fields = types()[form].fields
    kept = {key: _KINDS.get(field.form, ()) for key, field in fields.items()}
    blank = frozenset(key for key, field in fields.items() if _is_blank(form, field))
    # An empty name names nothing, and an empty key the member that has the key's default.
    nameless = blank if form == "ObjectMeta" else blank & _keys().get(form, frozenset())
    said = _always_said(form, fields)

    def decode(run: _Decoding, value: Any, path: str, owner: str, dotted: str) -> Any:
        if type(value) is not dict:
            raise run.mismatch(value, form, owner, dotted)
        decoded, idle = {}, nameless if run.literal else blank
        for key, item in value.items():
            # Most of a body: no path need be spelled out for what is right.
            if type(item) in kept.get(key, ()):
                if item or key not in idle:
                    decoded[key] = item
            elif key not in fields:
                run.unknown.append(f"{path}.{key}" if path else key)
            elif item is not None:
                decoder = _decoder(fields[key].form)
                found = decoder(run, item, f"{path}.{key}" if path else key, form, f"{dotted}.{key}" if dotted else key)
                if found or key not in idle:
                    decoded[key] = found
        for key, empty in said:
            decoded.setdefault(key, empty)
        return decoded

    return decode


def decode(form: str, value: Any, *, version: str, literal: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The value with only the fields its type has that say something, and the paths of those it does not have.

    ``literal``: with those that say something empty, too: whoever applies a configuration means it. Raises BadRequest
    where a field has the wrong type.
    """
    run = _Decoding(bare(form), version, literal=literal)
    decoded = _decoder(form)(run, value, "", form, "")
    return decoded, run.unknown
