"""What an agent is: ``rack:abc;level:10;range:[1-5]``, shown to frameworks in every offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from k8slab.mesos.resources import format_ranges, parse_ranges


def parse_attributes(text: str) -> list[dict[str, Any]]:
    """v1 Attribute objects: ranges where it reads as ranges, else a number, else text. Raises ValueError."""
    attributes = []
    for item in filter(str.strip, text.split(";")):
        name, colon, value = (part.strip() for part in item.partition(":"))
        if not colon or not name:
            raise ValueError(f"not an attribute: {item!r} (expected name:value)")
        attributes.append({"name": name, **_value(value)})
    return attributes


def _value(text: str) -> dict[str, Any]:
    if text.startswith("[") and text.endswith("]"):
        spans = parse_ranges(text)
        return {"type": "RANGES", "ranges": {"range": [{"begin": low, "end": high} for low, high in spans]}}
    try:
        return {"type": "SCALAR", "scalar": {"value": float(text)}}
    except ValueError:
        return {"type": "TEXT", "text": {"value": text}}


def summary(attributes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """As ``/state`` shows them: name → number or text."""
    shown: dict[str, Any] = {}
    for attribute in attributes:
        match attribute["type"]:
            case "SCALAR":
                shown[attribute["name"]] = attribute["scalar"]["value"]
            case "RANGES":
                spans = attribute["ranges"]["range"]
                shown[attribute["name"]] = format_ranges((span["begin"], span["end"]) for span in spans)
            case _:
                shown[attribute["name"]] = attribute["text"]["value"]
    return shown
