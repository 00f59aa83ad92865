"""What volumes hold that are made of objects."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from k8slab.kube.kubelet.atomic import File
from k8slab.kube.kubelet.payload import VolumeError, files_of
from tests.unit.kubelet.pods import Shelf, a_config_map, a_container, a_pod, a_secret

SHELF = Shelf(
    a_config_map("conf", {"a": "1", "b": "2"}, binaryData={"raw": base64.b64encode(b"\x00\xff").decode()}),
    a_secret("secret", {"key": b"s3cret"}),
)


def made(volume: dict[str, Any], **spec: Any) -> dict[str, File]:
    pod = a_pod(a_container(resources={"limits": {"cpu": "1"}}), **spec)
    pod["metadata"]["annotations"] = {"note": 'say "hi"'}
    return asyncio.run(files_of({"name": "v", **volume}, pod, SHELF))


def downward(path: str, reference: str, **source: str) -> dict[str, Any]:
    return {"path": path, reference: source}


TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (
            {"configMap": {"name": "conf", "defaultMode": 0o600}},
            {"a": File(b"1", 0o600), "b": File(b"2", 0o600), "raw": File(b"\x00\xff", 0o600)},
        ),
        (
            {"configMap": {"name": "conf", "items": [{"key": "a", "path": "deep/er", "mode": 0o400}]}},
            {"deep/er": File(b"1", 0o400)},
        ),
        ({"secret": {"secretName": "secret"}}, {"key": File(b"s3cret", 0o644)}),
        ({"secret": {"secretName": "none", "optional": True}}, {}),
        ({"configMap": {"name": "conf", "optional": True, "items": [{"key": "none", "path": "x"}]}}, {}),
        (
            {
                "downwardAPI": {
                    "items": [
                        downward("labels", "fieldRef", fieldPath="metadata.labels"),
                        downward("note", "fieldRef", fieldPath="metadata.annotations"),
                        downward("cpu", "resourceFieldRef", containerName="web", resource="limits.cpu", divisor="1m"),
                        downward("memory", "resourceFieldRef", containerName="web", resource="limits.memory"),
                    ]
                }
            },
            {
                "labels": File(b'app="nginx"', 0o644),
                "note": File(b'note="say \\"hi\\""', 0o644),
                "cpu": File(b"1000", 0o644),
                "memory": File(b"1073741824", 0o644),
            },
        ),
        (
            {
                "projected": {
                    "defaultMode": 0o440,
                    "sources": [
                        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "vault"}},
                        {"configMap": {"name": "conf", "items": [{"key": "a", "path": "both"}]}},
                        {"secret": {"name": "secret", "items": [{"key": "key", "path": "both"}]}},
                        {"downwardAPI": {"items": [downward("ns", "fieldRef", fieldPath="metadata.namespace")]}},
                    ],
                }
            },
            {
                "token": File(b"token of nginx for vault, 600 s", 0o440),
                "both": File(b"s3cret", 0o440),
                "ns": File(b"default", 0o440),
            },
        ),
    ],
    ids=["all keys", "items", "secret", "no secret", "no key", "downward", "projected"],
)
def test_files(volume: dict[str, Any], expected: dict[str, File]) -> None:
    assert made(volume) == expected


@pytest.mark.parametrize(
    ("volume", "why"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "conf", "items": [{"key": "x", "path": "x"}]}},
            "configmap references non-existent config key: x",
        ),
        (
            {"secret": {"secretName": "secret", "items": [{"key": "x", "path": "x"}]}},
            "references non-existent secret key: x",
        ),
        ({"configMap": {"name": "conf", "items": [{"key": "a", "path": "../up"}]}}, "invalid path '../up'"),
        ({"configMap": {"name": "conf", "items": [{"key": "a", "path": "/etc/x"}]}}, "invalid path '/etc/x'"),
    ],
)
def test_what_cannot_be_had_is_said_in_the_originals_words(volume: dict[str, Any], why: str) -> None:
    with pytest.raises(VolumeError) as refused:
        made(volume)
    assert str(refused.value).startswith(why)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, (0o644, None)),
        ({"securityContext": {"fsGroup": 7}}, (0o600, None)),
        ({"securityContext": {"runAsUser": 5}}, (0o600, 5)),
    ],
)
def test_a_token_is_its_users_alone_where_that_is_known(spec: dict[str, Any], expected: tuple[int, int | None]) -> None:
    file = made(TOKEN, **spec)["token"]
    assert (file.mode, file.owner) == expected
