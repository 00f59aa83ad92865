"""What a watch begins with, how it is told to end, and who may read it how."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api

END = "k8s.io/initial-events-end"


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"n": name}}, "data": {"key": name}}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def told(event: dict[str, Any]) -> str:
    return f"{event['type']} {event['object']['metadata'].get('name', '')}"


async def test_initial_events_end_with_a_marked_bookmark(
    api: Api, client: KubeClient, namespace: str, session: aiohttp.ClientSession
) -> None:
    for name in ("a", "b"):
        made = await client.create("configmaps", config_map(name), namespace)
    url = f"{api.url}/api/v1/namespaces/{namespace}/configmaps?watch=1&sendInitialEvents=true&allowWatchBookmarks=true"
    async with session.get(f"{url}&resourceVersionMatch=NotOlderThan") as answer:
        first = [json.loads(await answer.content.readline()) for _ in range(3)]
        assert [told(event) for event in first] == ["ADDED a", "ADDED b", "BOOKMARK "]
        bookmark = first[2]["object"]["metadata"]
        assert bookmark["annotations"] == {END: "true"}
        assert int(bookmark["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])
        await client.create("configmaps", config_map("c"), namespace)
        async with asyncio.timeout(10):
            assert told(json.loads(await answer.content.readline())) == "ADDED c"


async def test_without_initial_events_only_what_changes_is_told(
    api: Api, client: KubeClient, namespace: str, session: aiohttp.ClientSession
) -> None:
    await client.create("configmaps", config_map("before"), namespace)
    url = f"{api.url}/api/v1/namespaces/{namespace}/configmaps?watch=1&sendInitialEvents=false"
    async with session.get(f"{url}&resourceVersionMatch=NotOlderThan") as answer:
        assert answer.status == 200
        await client.create("configmaps", config_map("after"), namespace)
        async with asyncio.timeout(10):
            assert told(json.loads(await answer.content.readline())) == "ADDED after"


@pytest.mark.parametrize(
    ("query", "field", "why"),
    [
        (
            "watch=1&sendInitialEvents=true",
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1",
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        ("sendInitialEvents=true", "sendInitialEvents", "sendInitialEvents is forbidden for list"),
        ("watch=1&continue=abc", "continue", "continue is forbidden for watch"),
    ],
)
async def test_what_cannot_be_asked_together(
    api: Api, session: aiohttp.ClientSession, query: str, field: str, why: str
) -> None:
    async with session.get(f"{api.url}/api/v1/configmaps?{query}") as answer:
        status = await answer.json()
    assert (answer.status, status["reason"]) == (422, "Invalid")
    assert {"reason": "FieldValueForbidden", "message": f"Forbidden: {why}", "field": field} in status["details"][
        "causes"
    ]


async def test_a_watch_from_a_version_that_does_not_come_is_refused(
    api: Api, client: KubeClient, session: aiohttp.ClientSession
) -> None:
    newest = int((await client.list("configmaps", "default")).resource_version)
    query = f"watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={newest + 100_000}"
    async with session.get(f"{api.url}/api/v1/configmaps?{query}") as answer:
        status = await answer.json()
    assert (answer.status, status["reason"]) == (504, "Timeout")
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_a_watch_over_a_websocket(
    api: Api, client: KubeClient, namespace: str, session: aiohttp.ClientSession
) -> None:
    url = f"{api.url}/api/v1/namespaces/{namespace}/configmaps?watch=1&timeoutSeconds=2"
    async with session.ws_connect(url) as socket:
        await client.create("configmaps", config_map("a"), namespace)
        await client.delete("configmaps", "a", namespace)
        messages = [json.loads(message.data) async for message in socket]
    assert [told(event) for event in messages] == ["ADDED a", "DELETED a"]
    assert socket.close_code == 1000


async def test_a_reader_that_takes_nothing_does_not_hold_up_the_others(
    api: Api, client: KubeClient, namespace: str, session: aiohttp.ClientSession
) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1"
    _, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await writer.drain()
    large = {"key": "x" * 200_000}
    async with session.get(api.url + path) as answer:
        for index in range(40):
            await client.create("configmaps", {**config_map(f"large-{index}"), "data": large}, namespace)
        seen = []
        async with asyncio.timeout(20):
            while len(seen) < 40:
                seen.append(told(json.loads(await read_line(answer))))
    assert seen == [f"ADDED large-{index}" for index in range(40)]
    writer.close()


async def read_line(answer: aiohttp.ClientResponse) -> bytes:
    """A line of any length; ``readline`` refuses long ones."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            line += await answer.content.readuntil(b"\n")
        except ValueError:
            line += await answer.content.readany()
    return line


async def test_a_watch_over_http_1_0(api: Api, client: KubeClient, namespace: str) -> None:
    """Without chunks: what comes until the connection ends."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await client.create("configmaps", config_map("a"), namespace)
    writer.write(f"GET /api/v1/namespaces/{namespace}/configmaps?watch=1&timeoutSeconds=1 HTTP/1.0\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert b"chunked" not in head
    assert [told(json.loads(line)) for line in body.splitlines()] == ["ADDED a"]
    writer.close()


async def test_how_much_of_the_object_goes_along_is_one_of_three(
    api: Api, client: KubeClient, namespace: str, session: aiohttp.ClientSession
) -> None:
    await client.create("configmaps", config_map("a"), namespace)
    place = f"{api.url}/api/v1/namespaces/{namespace}/configmaps"
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    for path in (place, f"{place}/a", f"{place}?watch=1&timeoutSeconds=1"):
        async with session.get(path, params={"includeObject": "All"}, headers=table) as answer:
            status = json.loads(await answer.content.readline())
        assert (answer.status, status["message"]) == (400, 'unrecognized includeObject value: "All"')
    async with session.get(place, params={"includeObject": "None"}, headers=table) as answer:
        [row] = (await answer.json())["rows"]
    assert row["object"] is None


async def test_one_object_by_name_as_it_was_and_as_it_is_not_yet(
    api: Api, client: KubeClient, namespace: str, session: aiohttp.ClientSession
) -> None:
    made = await client.create("configmaps", config_map("a"), namespace)
    version = made["metadata"]["resourceVersion"]
    await client.patch("configmaps", "a", {"data": {"key": "new"}}, namespace)
    named = f"{api.url}/api/v1/namespaces/{namespace}/configmaps?fieldSelector=metadata.name%3Da&resourceVersion="
    async with session.get(f"{named}{version}&resourceVersionMatch=Exact") as answer:
        [then] = (await answer.json())["items"]
    assert then["data"] == {"key": "a"}
    async with session.get(f"{named}{version}") as answer:
        [now] = (await answer.json())["items"]
    assert now["data"] == {"key": "new"}
    async with session.get(f"{named}{10**12}") as answer:
        assert (answer.status, (await answer.json())["reason"]) == (504, "Timeout")
