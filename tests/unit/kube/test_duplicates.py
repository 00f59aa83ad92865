"""Which fields a body has twice, and that a body with none is not read a second time to find out."""

from __future__ import annotations

import json

import orjson
import pytest

from k8slab.kube.api import duplicates

JSON = "application/json"


def twice(raw: bytes) -> list[str]:
    return list(duplicates.found(raw, JSON, orjson.loads(raw)).warnings)


@pytest.mark.parametrize(
    ("raw", "paths"),
    [
        (rb'{"a":1,"b":{"c":[{"d":2}]}}', []),
        (rb'{"a":1,"a":2}', ["a"]),
        (rb'{"a" : 1, "b": [{"c": 1, "c" :2}, {"c":3}]}', ["b[0].c"]),
        (rb'{"a\\":1,"a\\":2}', ["a\\"]),
        (rb'{"a\"":1,"a\"":2}', ['a"']),
        (rb'{"a\\\"":1,"a\\\"":2}', ['a\\"']),
        (rb'{"":1,"":2}', [""]),
        (rb'{"k:{\"port\":80}":{},"k:{\"port\":80}":{}}', ['k:{"port":80}']),
        (rb'{"a":"\"b\":1","c":"\\\"d\":1"}', []),
    ],
)
def test_what_is_there_twice(raw: bytes, paths: list[str]) -> None:
    assert twice(raw) == [f'duplicate field "{path}"' for path in paths]


def test_words_with_quotes_in_them_are_no_reason_to_read_a_body_again(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:name": {}}}
    raw = orjson.dumps({"metadata": {"managedFields": [{"fieldsV1": {"f:ports": steps}}]}})

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the body was read again")

    monkeypatch.setattr(json, "loads", refuse)
    assert twice(raw) == []
