"""Bodies, patches, paths, queries and headers that no client means: answered by the rules, never with a 500."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import string
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from k8slab.kube.api.kinds import KINDS
from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api
from tests.daemons.kube.manifests import CLUSTER, NAMESPACED, Manifest

ROUNDS = 25
PATCHES = ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
ODD = (
    *(None, True, False, 0, -1, 1 << 31, 1 << 63, -(1 << 63) - 1, 1e308, 0.1, "", " ", "\x00", "a" * 300, "é" * 260),
    *("../..", "%2e%2e", "-", ".", "999999999999999999999999", "1e999", "NaN", "true", "2024-13-45T99:99:99Z", "100%"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"$patch": "delete"}, {"$patch": "nonsense"}, {"$retainKeys": 7}),
    *({"$setElementOrder/containers": [{"name": 1}]}, [{"name": None}], {"a": {"a": {"a": {}}}}, {"f:spec": {}}),
)


@pytest.fixture
async def session(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    """For the whole of a test, at the end of which the server must not have made a mistake of its own."""
    async with aiohttp.ClientSession() as session:
        start = api.daemon.log.stat().st_size
        yield session
    with api.daemon.log.open("rb") as log:
        log.seek(start)
        said = log.read().decode(errors="replace")
    assert "Traceback" not in said, said[said.index("Traceback") :][:4000]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def spoiled(dice: random.Random, value: Any) -> Any:
    """The value with one to three places in it that say something odd."""
    made = copy.deepcopy(value)
    for _ in range(dice.randint(1, 3)):
        path = dice.choice(list(places(made)) or [()])
        if not path:
            return copy.deepcopy(dice.choice(ODD))
        holder = made
        for key in path[:-1]:
            holder = holder[key]
        match dice.randrange(3):
            case 0 if isinstance(holder, dict):
                holder["".join(dice.choices(string.ascii_letters, k=5))] = copy.deepcopy(dice.choice(ODD))
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(dice.choice([*ODD, *holder])))
            case _:
                holder[path[-1]] = copy.deepcopy(dice.choice(ODD))
    return made


BY_KIND = {(kind.api_version, kind.kind): kind for kind in KINDS}
MANIFESTS = (*NAMESPACED, *CLUSTER)


def address(api: Api, manifest: Manifest, namespace: str) -> str:
    """Where objects of the manifest's kind are made."""
    kind = BY_KIND[manifest.api_version, manifest.kind]
    root = f"{api.url}/{'apis' if kind.group else 'api'}/{manifest.api_version}"
    return f"{root}/namespaces/{namespace}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


async def judged(answer: aiohttp.ClientResponse, what: Any) -> int:
    """The status, which must be no fault of the server's; a refusal must be told as a Status."""
    raw = await answer.read()
    # The original has no better code for what its apply cannot make sense of.
    assert answer.status < 500 or b"failed to create typed patch" in raw, (answer.status, raw[:500], str(what)[:2000])
    if answer.status >= 400 and answer.content_type == "application/json":
        assert json.loads(raw)["kind"] == "Status"
    return answer.status


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.kind)
async def test_objects_with_odd_places(
    api: Api, session: aiohttp.ClientSession, namespace: str, manifest: Manifest
) -> None:
    dice = random.Random(manifest.kind)
    url, whole = address(api, manifest, namespace), yaml.safe_load(manifest.yaml)
    whole["metadata"]["name"] = f"{namespace}-{manifest.kind.lower()}"
    async with session.post(url, json=whole) as answer:
        assert await judged(answer, whole) == 201
    place = f"{url}/{whole['metadata']['name']}"
    for turn in range(ROUNDS):
        body = spoiled(dice, whole)
        raw = json.dumps(body)
        async with session.post(url, data=raw, headers={"Content-Type": "application/json"}) as answer:
            await judged(answer, raw)
        async with session.put(place, data=raw, headers={"Content-Type": "application/json"}) as answer:
            await judged(answer, raw)
        patch = dice.choice(PATCHES)
        body = _operations(dice, whole) if patch.startswith("json-patch") else spoiled(dice, whole)
        headers = {"Content-Type": f"application/{patch}"}
        query = {"fieldManager": dice.choice(("me", "x" * 200, "\x01"))} if turn % 2 else {}
        async with session.patch(place, data=json.dumps(body), headers=headers, params=query) as answer:
            await judged(answer, (patch, body))
    async with session.get(url) as answer:
        assert await judged(answer, url) == 200
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with session.get(url, headers=table) as answer:
        assert await judged(answer, url) == 200
    async with session.delete(place) as answer:
        await judged(answer, place)


def _operations(dice: random.Random, whole: Any) -> list[Any]:
    ways = ["/" + "/".join(str(key) for key in path) for path in places(whole)]
    odd = ["", "/", "a", "/-", "/metadata/name/x", "/spec/-1", "/spec/99", "/~", "/~2", "/metadata~1x"]
    verbs = ["add", "remove", "replace", "move", "copy", "test", "nonsense", 7]
    return [
        {
            "op": dice.choice(verbs),
            "path": dice.choice([*ways, *odd]),
            "from": dice.choice([*ways, *odd]),
            "value": dice.choice(ODD),
        }
        for _ in range(dice.randint(0, 4))
    ]


BODIES = (
    b"",
    b"{",
    b"nul",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b"k8s\x00",
    b"k8s\x00" + b"\xff" * 100,
    b"&a [*a]",
    b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]",
    b"!!python/object/apply:os.system ['true']",
    b"%" + bytes(range(256)) * 40,
    b'{"metadata": {"name": "\\ud800"}}',
)
TYPES = (
    "",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "text/html",
    ";;",
    "x" * 4000,
)


@pytest.mark.parametrize("media", TYPES, ids=lambda media: media[:20] or "none")
async def test_bodies_that_are_none(api: Api, session: aiohttp.ClientSession, namespace: str, media: str) -> None:
    for body in BODIES:
        for path in (
            f"/api/v1/namespaces/{namespace}/configmaps",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        ):
            async with session.post(api.url + path, data=body, headers={"Content-Type": media}) as answer:
                assert 400 <= await judged(answer, (media, body)) < 500
        async with session.delete(
            f"{api.url}/api/v1/namespaces/{namespace}/configmaps/none", data=body, headers={"Content-Type": media}
        ) as answer:
            assert 400 <= await judged(answer, (media, body)) < 500


async def test_a_body_that_is_too_large(api: Api, session: aiohttp.ClientSession, namespace: str) -> None:
    url = f"{api.url}/api/v1/namespaces/{namespace}/configmaps"
    before = resident(api)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * (1 << 20)

    for _ in range(3):
        try:
            async with session.post(url, data=endless()) as answer:
                assert answer.status == 413
                assert (await answer.json())["reason"] == "RequestEntityTooLarge"
        except aiohttp.ClientConnectionError:
            # It was told and hung up on while it was still talking.
            continue
    assert resident(api) - before < 40_000_000


def resident(api: Api) -> int:
    pages = Path(f"/proc/{api.daemon.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


async def test_paths_and_queries(api: Api, session: aiohttp.ClientSession, namespace: str) -> None:
    dice = random.Random(1)
    words = ["api", "apis", "v1", "apps", "namespaces", namespace, "pods", "nodes", "status", "scale", "log", "exec"]
    words += ["watch", "proxy", "%00", "%2f", "..", "%ff", "~", "x" * 300, "openapi", "v3", "version", "v1beta1", ""]
    keys = ["watch", "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector"]
    keys += ["timeoutSeconds", "dryRun", "fieldManager", "fieldValidation", "pretty", "includeObject", "tailLines"]
    keys += ["gracePeriodSeconds", "propagationPolicy", "sendInitialEvents", "allowWatchBookmarks", "hash", "x"]
    values = ["", "1", "-1", "true", "a=b", "a in (b", "!", "a,,b", "%00", "99999999999999999999", "All", "x=y=z"]
    values += [
        "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLi4vIn0",
        "metadata.name=",
        "=",
        "é",
        "NotOlderThan",
    ]
    for _ in range(600):
        path = "/" + "/".join(dice.choices(words, k=dice.randint(1, 7)))
        query = "&".join(f"{dice.choice(keys)}={dice.choice(values)}" for _ in range(dice.randint(0, 4)))
        method = dice.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "NONSENSE"])
        # A watch that is allowed goes on: its beginning is enough.
        url = f"{api.url}{path}?{query}&timeoutSeconds=1"
        async with session.request(method, url, data=b"{}" if method in ("POST", "PUT", "PATCH") else None) as answer:
            assert answer.status < 500 or answer.status == 504, (method, url, answer.status, await answer.read())


@pytest.mark.parametrize(
    "lines",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Y: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(40_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"NONSENSE\r\n\r\n",
    ],
    ids=["long path", "long header", "many headers", "negative length", "two lengths", "TLS", "no HTTP"],
)
async def test_what_is_no_request(api: Api, client: KubeClient, session: aiohttp.ClientSession, lines: bytes) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    before = resident(api)
    for _ in range(5):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(lines)
        async with asyncio.timeout(10):
            try:
                head = await reader.read(4096)
            except ConnectionResetError:
                head = b""
        assert not head or head.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), head[:200]
        writer.close()
    assert resident(api) - before < 30_000_000
    assert (await client.list("namespaces")).items
