"""Bodies nested deeper than anything means to be: refused, and never stored where others would trip on them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
APPLY, PATCH = "application/apply-patch+yaml", "application/json-patch+json"
DEPTHS = (230, 400, 700, 1010, 100_000)


def deep(levels: int, key: str = "a") -> bytes:
    return b'{"%s":' % key.encode() * levels + b"1" + b"}" * levels


def revision(name: str, data: bytes) -> bytes:
    head = b'{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{"name":"%s"},"revision":1,"data":'
    return head % name.encode() + data + b"}"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("levels", DEPTHS)
async def test_what_is_nested_too_deep_is_refused(
    api: Api, client: KubeClient, namespace: str, session: aiohttp.ClientSession, levels: int
) -> None:
    place = f"{api.url}/apis/apps/v1/namespaces/{namespace}/controllerrevisions"

    async def answered(method: str, path: str, body: bytes, media: str = "application/json") -> tuple[int, str]:
        async with session.request(method, path, data=body, headers={"Content-Type": media}) as answer:
            said = await answer.json()
            return answer.status, said["reason"]

    await client.create("configmaps", {"metadata": {"name": "c"}}, namespace)
    maps = f"{api.url}/api/v1/namespaces/{namespace}/configmaps/c"
    wrong = (400, "BadRequest")
    assert await answered("POST", place, revision("r", deep(levels))) == wrong
    assert await answered("POST", place, revision("r", deep(levels)), "application/yaml") == wrong
    assert await answered("PATCH", f"{place}/r?fieldManager=m", revision("r", deep(levels)), APPLY) == wrong
    assert await answered("PATCH", maps, deep(levels), MERGE) == wrong
    assert await answered("PATCH", maps, deep(levels), STRATEGIC) == wrong
    assert await answered("PUT", maps, deep(levels)) == wrong
    assert await answered("DELETE", maps, deep(levels)) == wrong


async def test_what_is_put_together_too_deep_is_refused(
    api: Api, namespace: str, session: aiohttp.ClientSession
) -> None:
    place = f"{api.url}/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
    json_type = {"Content-Type": "application/json"}
    async with session.post(place, data=revision("r", deep(150)), headers=json_type) as answer:
        assert answer.status == 201

    async def patched(levels: int) -> int:
        """Onto the innermost value, piece by piece."""
        piece = json.loads(deep(100))
        patch: list[dict[str, Any]] = []
        for done in range(150, levels, 100):
            patch.append({"op": "add", "path": "/data" + "/a" * done, "value": piece})
        async with session.patch(f"{place}/r", json=patch, headers={"Content-Type": PATCH}) as answer:
            await answer.read()
            return answer.status

    assert await patched(5000) == 400
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with session.get(place, params={"includeObject": "Object"}, headers=table) as answer:
        assert answer.status == 200
    async with session.get(f"{place}/r", headers={"Accept": "application/yaml"}) as answer:
        assert answer.status == 200
