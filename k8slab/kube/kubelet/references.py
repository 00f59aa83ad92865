"""Names of images, as the engine reads them."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN: Final = rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?"
_PART: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*)"
    r"(?::[\w][\w.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
_LONGEST_NAME: Final = 255


def problem(reference: str) -> str:
    """Why it names no image, in the engine's words; empty when it may."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        lowered = _REFERENCE.fullmatch(reference.lower())
        if lowered is not None and _name(reference) != _name(reference).lower():
            return f"invalid reference format: repository name ({_familiar(reference)}) must be lowercase"
        return "invalid reference format"
    if len(found["name"]) > _LONGEST_NAME:
        return f"repository name must not be more than {_LONGEST_NAME} characters"
    return ""


def registry_of(reference: str) -> str:
    """The registry that its name begins with; empty for the engine's own."""
    first, slash, _ = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else ""


def _name(reference: str) -> str:
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _familiar(reference: str) -> str:
    name = _name(reference)
    if registry := registry_of(reference):
        return name.removeprefix(f"{registry}/")
    return name if "/" in name else f"library/{name}"
