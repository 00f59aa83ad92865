"""YAML with a memory of where each value stood, so that every problem can name its line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from k8slab.errors import InvalidTopology, Problem

Location = tuple[str | int, ...]
# Aliases can make a few lines stand for billions of places.
MOST_PLACES = 20_000
LONGEST_QUOTE = 40


@dataclass(frozen=True)
class Source:
    """A parsed file: its ``value`` and the line (from 1) of every key and item, by its path from the root; and the
    ``settings`` that a command line laid over it, by the path that each set."""

    file: str
    value: Any
    lines: Mapping[Location, int]
    settings: Mapping[Location, str] = field(default_factory=dict)

    def line(self, location: Sequence[str | int]) -> int:
        """The line of ``location`` or of the nearest thing around it that the file does have."""
        path = tuple(location)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def problem(self, location: Sequence[str | int], what: str, remedy: str = "") -> Problem:
        path = tuple(location)
        for end in range(len(path), 0, -1):
            if path[:end] in self.settings:
                # Not the file's mistake, and the file has no line for it.
                return Problem(self.file, 0, what, remedy, self.settings[path[:end]])
        return Problem(self.file, self.line(location), what, remedy)


class _Loader(yaml.SafeLoader):
    """Says where a value stands that looks like a date, number… and is none: the parser's own errors do not."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
            kind = node.tag.rpartition(":")[2]
            text = str(node.value) if isinstance(node, yaml.ScalarNode) else "this"
            what = f"{text[:LONGEST_QUOTE]!r} looks like a {kind} and is none; a text like this goes in quotes"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from error

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            what = f"{value[:LONGEST_QUOTE]!r} has half of a character in it"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return value


def parse(text: str, file: str) -> Source:
    """Parse one YAML document. Raises InvalidTopology with the parser's own words and line.

    YAML lets a key come twice and keeps the last; a topology that does so has a mistake in it.
    """
    lines: dict[Location, int] = {}
    twice: list[Problem] = []
    if "\t" in text and _is_json(text):
        # All of JSON is YAML but for this: between its values, which is where JSON has them, YAML wants no tabs.
        text = text.replace("\t", " ")
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is not None:
            _walk(root, (), (), file, lines, twice)
        value = yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise InvalidTopology(file, [Problem(file, 0, "its values are nested too deeply.")]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"not YAML: {error.problem or error.context}."
        raise InvalidTopology(file, [Problem(file, mark.line + 1 if mark else 0, what)]) from error
    except yaml.YAMLError as error:
        raise InvalidTopology(file, [Problem(file, 0, f"not YAML: {error}.")]) from error
    if twice:
        raise InvalidTopology(file, twice)
    return Source(file, value, lines)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def read(path: Path) -> Source:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidTopology(str(path), [Problem(str(path), 0, f"not UTF-8 text: {error.reason}.")]) from error
    except OSError as error:
        raise InvalidTopology(str(path), [Problem(str(path), 0, f"cannot be read: {error.strerror}.")]) from error
    return parse(text, str(path))


def _walk(
    node: yaml.Node,
    path: Location,
    around: tuple[yaml.Node, ...],
    file: str,
    lines: dict[Location, int],
    twice: list[Problem],
) -> None:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if any(node is outer for outer in around):
        what = f"{'.'.join(map(str, path))} is an alias of something that it is itself a part of."
        raise InvalidTopology(file, [Problem(file, lines[path], what, "Write the value out.")])
    if len(lines) > MOST_PLACES:
        raise InvalidTopology(file, [Problem(file, line, f"it has more than {MOST_PLACES} values, aliases included.")])
    around = (*around, node)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            if place in lines:
                what = f"the key {key.value!r} stands here for the second time (first in line {lines[place]})."
                twice.append(Problem(file, key.start_mark.line + 1, what, "Keep one of the two."))
            lines[place] = key.start_mark.line + 1
            _walk(value, place, around, file, lines, twice)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), around, file, lines, twice)
