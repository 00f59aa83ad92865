"""Fields that a body has twice. JSON and YAML readers keep the last one; strict clients want to be told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from k8slab.kube.api import negotiation

# The quote that ends a key has an even number of backslashes before it: one with a single one is in the text of a word,
# as in the steps of managedFields ("k:{\"port\":80}").
_KEY: Final = re.compile(rb'"(?:(?<!\\")|(?<=\\\\"))\s*:')


class Twice(NamedTuple):
    """Which fields are there twice, in the original's words: each as a warning, and all as an error."""

    warnings: Sequence[str] = ()
    error: str = ""


NONE: Final = Twice()


def found(raw: bytes, content_type: str, value: Any) -> Twice:
    """What a body has twice; ``value`` is the body as read."""
    media = negotiation.media_type(content_type)
    if media in negotiation.YAMLS:
        return _in_yaml(raw)
    if media == negotiation.PROTOBUF or not isinstance(value, dict | list):
        return NONE
    # There are at least as many of these marks as keys; with no more, each key that was written was kept.
    if len(_KEY.findall(raw)) <= _keys(value):
        return NONE
    said = [f'duplicate field "{path}"' for path in _paths(json.loads(raw, object_pairs_hook=_Pairs), "")]
    return Twice(said, ", ".join(said))


def _keys(value: Any) -> int:
    number, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if type(one) is dict:
            number += len(one)
            one = one.values()
        for item in one:
            if type(item) is dict or type(item) is list:
                waiting.append(item)
    return number


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written."""


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            own = f"{path}.{key}" if path else key
            if key in seen:
                yield own
            seen.add(key)
            yield from _paths(item, own)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, f"{path}[{index}]")


def _in_yaml(raw: bytes) -> Twice:
    import yaml

    loader = negotiation.yaml_loader()(raw)
    try:
        root = loader.get_single_node()
    except yaml.YAMLError:
        return NONE
    finally:
        loader.dispose()
    said = list(_repeated(root))
    return Twice(said, "yaml: unmarshal errors:\n" + "\n".join(f"  {one}" for one in said)) if said else NONE


def _repeated(node: Any) -> Iterator[str]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield f'line {key.start_mark.line + 1}: key "{key.value}" already set in map'
                seen.add(key.value)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value)
