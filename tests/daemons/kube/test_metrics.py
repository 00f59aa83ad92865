"""What the server counts of itself."""

from __future__ import annotations

import asyncio

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api
from tests.daemons.processes import eventually


async def read(api: Api) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return sum(amount for (one, given), amount in found.items() if one == name and set(labels.items()) <= set(given))


async def test_requests_objects_and_watches_are_counted(api: Api, client: KubeClient, namespace: str) -> None:
    before = await read(api)
    for index in range(3):
        await client.create("configmaps", {"metadata": {"name": f"m-{index}"}}, namespace)
    created = {"verb": "CREATE", "resource": "configmaps", "code": "201"}
    listing = asyncio.create_task(anext(aiter(client.watch("configmaps", namespace, resource_version="0"))))

    async def counted() -> bool:
        after = await read(api)
        more = value(after, "apiserver_request_total", **created) - value(before, "apiserver_request_total", **created)
        objects = "apiserver_storage_objects"
        stored = value(after, objects, resource="configmaps") - value(before, objects, resource="configmaps")
        return (more, stored) == (3, 3)

    await eventually(counted, what="three creations are counted")
    await listing
    after = await read(api)
    assert value(after, "apiserver_request_duration_seconds_count", verb="CREATE", resource="configmaps") >= 3
    assert value(after, "process_resident_memory_bytes") > 10_000_000


async def test_whoever_asks_for_nonsense_fills_no_memory(api: Api) -> None:
    before = len(await read(api))
    async with aiohttp.ClientSession() as session:
        for index in range(200):
            word = "".join(chr(97 + int(digit)) for digit in f"{index:03d}")
            for path in ("/api/v1/{}", "/{}", "/api/v1/pods/p/{}", "/apis/{}/v1/a"):
                async with session.get(api.url + path.format(word)) as answer:
                    assert answer.status == 404
    assert len(await read(api)) - before < 100
