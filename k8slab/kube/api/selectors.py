"""Label and field selectors: parsed once, asked many times."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.api.errors import ApiFailure, bad_request
from k8slab.kube.api.meta import is_number

Object = Mapping[str, Any]

_TOKEN: Final = re.compile(r"\s*(?:(==|!=|[=!(),<>])|([^\s=!(),<>]+))")
_LABEL_KEY: Final = re.compile(
    r"^(?:[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z"
)
_LABEL_VALUE: Final = re.compile(r"^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")


@dataclass(frozen=True, slots=True)
class Requirement:
    """``operator``: "in", "notin", "exists", "!", "gt" or "lt"; a missing key satisfies "notin" and "!" only."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        (bound,) = self.values
        try:
            number, limit = int(value or ""), int(bound)
        except ValueError:
            return False
        return number > limit if self.operator == "gt" else number < limit


@dataclass(frozen=True, slots=True)
class FieldTerm:
    label: str
    value: str
    equal: bool


@dataclass(frozen=True, slots=True)
class Selector:
    """Label requirements and field terms together; both empty selects everything."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[FieldTerm, ...] = ()
    readers: Mapping[str, Callable[[Object], str]] | None = None

    @property
    def everything(self) -> bool:
        return not self.labels and not self.fields

    def matches(self, obj: Object) -> bool:
        if self.labels:
            labels = obj["metadata"].get("labels") or {}
            if not all(requirement.holds(labels) for requirement in self.labels):
                return False
        readers = self.readers or {}
        return all((readers[term.label](obj) == term.value) is term.equal for term in self.fields)

    def only_name(self) -> str:
        """The one name that can match, when a term says so; it makes a list a single read."""
        return name_among(self.fields)

    def only(self, label: str) -> str | None:
        """The one value of a field that can match, when a term says so."""
        return next((term.value for term in self.fields if term.equal and term.label == label), None)


def name_among(terms: Sequence[FieldTerm]) -> str:
    return next((term.value for term in terms if term.equal and term.label == "metadata.name"), "")


EVERYTHING: Final = Selector()


def parse(labels: str, fields: str, readers: Mapping[str, Callable[[Object], str]]) -> Selector:
    """Raises BadRequest with the original's words."""
    if not labels and not fields:
        return EVERYTHING
    return Selector(tuple(parse_labels(labels)), tuple(_parse_fields(fields, readers)), readers)


def parse_labels(text: str) -> list[Requirement]:
    tokens = _tokens(text)
    requirements: list[Requirement] = []
    position = 0
    while position < len(tokens):
        requirement, position = _requirement(tokens, position)
        requirements.append(requirement)
        if position < len(tokens):
            if tokens[position] != ",":
                raise _unparsable(f"found '{tokens[position]}', expected: ',' or 'end of string'")
            position += 1
            if position == len(tokens):
                raise _unparsable("found '', expected: identifier after ','")
    return requirements


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unparsable(f"found '{text[position:]}', expected: identifier")
        tokens.append(match.group(1) or match.group(2))
        position = match.end()
    return tokens


def _requirement(tokens: Sequence[str], position: int) -> tuple[Requirement, int]:
    def at(index: int) -> str:
        return tokens[index] if index < len(tokens) else ""

    if at(position) == "!":
        return Requirement(_key(at(position + 1)), "!"), position + 2
    key, operator = _key(at(position)), at(position + 1)
    if operator in ("", ","):
        return Requirement(key, "exists"), position + 1
    if operator in ("=", "==", "!="):
        value = at(position + 2)
        empty = value in ("", ",")
        values = frozenset(("",) if empty else (_value(value),))
        return Requirement(key, "notin" if operator == "!=" else "in", values), position + (2 if empty else 3)
    if operator in ("<", ">"):
        bound = at(position + 2)
        if not is_number(bound.removeprefix("-")):
            raise _unparsable(f"for 'Gt', 'Lt' operators, the value must be an integer: {bound!r}")
        return Requirement(key, "gt" if operator == ">" else "lt", frozenset((bound,))), position + 3
    if operator in ("in", "notin"):
        values, position = _values(tokens, position + 2)
        return Requirement(key, operator, values), position
    raise _unparsable(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")


def _values(tokens: Sequence[str], position: int) -> tuple[frozenset[str], int]:
    opened = tokens[position] if position < len(tokens) else ""
    if opened != "(":
        raise _unparsable(f"found '{opened}', expected: '('")
    values: set[str] = set()
    expecting = True
    for index in range(position + 1, len(tokens)):
        token = tokens[index]
        if token in (")", ","):
            if expecting:
                values.add("")
            if token == ")":
                return frozenset(values), index + 1
            expecting = True
        elif expecting:
            values.add(_value(token))
            expecting = False
        else:
            raise _unparsable(f"found '{token}', expected: ',' or ')'")
    raise _unparsable("found '', expected: ',' or ')'")


def _key(text: str) -> str:
    if not text or text in "=!(),<>":
        raise _unparsable(f"found '{text}', expected: !, identifier, or 'end of string'")
    if not _LABEL_KEY.match(text):
        raise _unparsable(f'key: Invalid value: "{text}": name part must consist of alphanumeric characters')
    return text


def _value(text: str) -> str:
    if not _LABEL_VALUE.match(text):
        raise _unparsable(
            f'values[0][{text}]: Invalid value: "{text}": a valid label must be an empty string or consist of '
            "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
        )
    return text


def _unparsable(why: str) -> ApiFailure:
    return bad_request(f"unable to parse requirement: {why}")


def _parse_fields(text: str, readers: Mapping[str, Callable[[Object], str]]) -> list[FieldTerm]:
    terms = field_terms(text)
    for term in terms:
        if term.label not in readers:
            raise bad_request(f"field label not supported: {term.label}")
    return terms


def field_terms(text: str) -> list[FieldTerm]:
    """Of fields that nobody has looked at yet whether there are such. Raises BadRequest."""
    terms = []
    for part in filter(None, re.split(r"(?<!\\),", text)):
        for operator in ("!=", "==", "="):
            label, found, value = part.partition(operator)
            if found:
                break
        else:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        terms.append(FieldTerm(label, re.sub(r"\\([\\,=])", r"\1", value), operator != "!="))
    return terms


_OPERATORS: Final = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def requirements_of(selector: Mapping[str, Any]) -> list[Requirement]:
    """Those of a LabelSelector object; one that is empty selects everything."""
    labels = selector.get("matchLabels") or {}
    found = [Requirement(key, "in", frozenset((value,))) for key, value in labels.items()]
    for term in selector.get("matchExpressions") or ():
        operator = _OPERATORS.get(term.get("operator") or "", "exists")
        found.append(Requirement(term.get("key") or "", operator, frozenset(term.get("values") or ())))
    return sorted(found, key=lambda one: one.key)


def shown_requirements(selector: Mapping[str, Any]) -> str:
    """A LabelSelector object as clients write it: "app=web,tier in (a,b),!old"; "" for one that is empty."""
    equal = set((selector.get("matchLabels") or {}).items())
    return ",".join(_written(one, equal) for one in requirements_of(selector))


def _written(one: Requirement, equal: set[tuple[str, str]]) -> str:
    if one.operator in ("in", "notin"):
        values = sorted(one.values)
        if one.operator == "in" and len(values) == 1 and (one.key, values[0]) in equal:
            return f"{one.key}={values[0]}"
        return f"{one.key} {one.operator} ({','.join(values)})"
    return one.key if one.operator == "exists" else f"!{one.key}"
