"""Field numbers out of ``generated.proto`` files, and which fields are pointers out of the Go declarations beside them.

Structs that Go inlines are messages of their own in protobuf while JSON has their fields one level up: such a field's
number is the path of numbers that leads to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

Number = int | list[int]

_MESSAGE: Final = re.compile(r"^message (\w+) \{(.*?)^\}", re.M | re.S)
_FIELD: Final = re.compile(
    r"^\s*(?:(?:optional|repeated|required)\s+)?(map<[^>]+>|[\w.]+)\s+(\w+)\s*=\s*(\d+)\s*;", re.M
)
_PACKAGE: Final = re.compile(r"^package ([\w.]+);", re.M)
_COMMENT: Final = re.compile(r"//.*$", re.M)
_STRUCT: Final = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.M | re.S)
_POINTER: Final = re.compile(r'^\s*\w+\s+\*[\w.]+\s+`json:"(\w+)', re.M)
# Groups that were served under a beta version when the .proto files at hand were made; their numbers never changed.
_EARLIER: Final[Mapping[str, tuple[str, ...]]] = {
    "k8s.io.api.autoscaling.v2": ("k8s.io.api.autoscaling.v2beta2",),
    "k8s.io.api.batch.v1": ("k8s.io.api.batch.v1beta1",),
    "k8s.io.api.discovery.v1": ("k8s.io.api.discovery.v1beta1",),
    "k8s.io.api.policy.v1": ("k8s.io.api.policy.v1beta1",),
    "k8s.io.api.storage.v1": ("k8s.io.api.storage.v1beta1",),
}


class Messages:
    """``fields`` is message → JSON name → (number, type); messages are "package.Name". ``newer`` is model → JSON name →
    [number] or [number, "pointer"], for what the files at hand do not have yet."""

    def __init__(
        self,
        fields: Mapping[str, Mapping[str, tuple[int, str]]],
        pointers: Mapping[str, frozenset[str]],
        newer: Mapping[str, Mapping[str, list[Any]]],
    ) -> None:
        self._fields = fields
        self._pointers = pointers
        self._newer = newer

    def places(self, model: str, wanted: frozenset[str]) -> dict[str, tuple[Number, bool]]:
        """JSON name → number and whether it is a pointer, for the wanted fields of a model that are known."""
        message = re.sub(r"^io\.k8s\.", "k8s.io.", model)
        found = self._flat(self._name(message), wanted, ())
        for key, (number, *pointer) in self._newer.get(model, {}).items():
            if key in wanted:
                found[key] = number, bool(pointer)
        return found

    def _name(self, message: str) -> str:
        package, _, bare = message.rpartition(".")
        names = (f"{one}.{bare}" for one in (package, *_EARLIER.get(package, ())))
        return next((name for name in names if name in self._fields), message)

    def _flat(self, message: str, wanted: frozenset[str], path: tuple[int, ...]) -> dict[str, tuple[Number, bool]]:
        found: dict[str, tuple[Number, bool]] = {}
        for key, (number, form) in self._fields.get(message, {}).items():
            if key in wanted:
                found[key] = [*path, number] if path else number, key in self._pointers.get(message, ())
            elif form[:1].isupper() or "." in form:
                inlined = form if "." in form else f"{message.rpartition('.')[0]}.{form}"
                found = {**self._flat(inlined.lstrip("."), wanted, (*path, number)), **found}
        return found


def read_messages(folder: Path, newer: Mapping[str, Mapping[str, list[Any]]]) -> Messages:
    fields: dict[str, dict[str, tuple[int, str]]] = {}
    pointers: dict[str, frozenset[str]] = {}
    for path in sorted(folder.rglob("generated.proto")):
        text = _COMMENT.sub("", path.read_text())
        package = match[1] if (match := _PACKAGE.search(text)) else ""
        for message in _MESSAGE.finditer(text):
            fields[f"{package}.{message[1]}"] = {
                key: (int(number), form) for form, key, number in _FIELD.findall(message[2])
            }
        for declared in path.parent.glob("*.go"):
            for described in _STRUCT.finditer(_COMMENT.sub("", declared.read_text())):
                pointers[f"{package}.{described[1]}"] = frozenset(_POINTER.findall(described[2]))
    return Messages(fields, pointers, newer)
