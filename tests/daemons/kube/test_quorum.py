"""etcd members die under the server, and come back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import ApiError, KubeClient
from tests.daemons.kube.conftest import MODULE, Api
from tests.daemons.processes import Etcd, Supervisor, eventually, free_port

BOUND = 7.0


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"key": name}}


async def health(api: Api, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(api.url + path) as answer:
        return answer.status, await answer.text()


async def watch_names(client: KubeClient, version: str, seen: list[str]) -> None:
    async for event in client.watch("configmaps", "default", resource_version=version):
        seen.append(f"{event.type} {event.object['metadata']['name']}")


@pytest.fixture
def cluster(etcd_cluster: Callable[[int], Etcd]) -> Etcd:
    return etcd_cluster(3)


async def test_one_member_dead_is_not_noticed_and_a_lost_quorum_is_told(
    cluster: Etcd, apis: Callable[..., Api]
) -> None:
    api = apis(cluster)
    async with KubeClient(api.url) as client:
        listed = await client.list("configmaps", "default")
        seen: list[str] = []
        watching = asyncio.create_task(watch_names(client, listed.resource_version, seen))
        for index, member in enumerate(cluster.members[:2]):
            await client.create("configmaps", config_map(f"before-{index}"), "default")
            member.kill()
            if index == 0:
                began = time.monotonic()
                await client.create("configmaps", config_map("with-two"), "default")
                assert time.monotonic() - began < BOUND
                assert (await client.get("configmaps", "with-two", "default"))["data"] == {"key": "with-two"}

        began = time.monotonic()
        with pytest.raises(ApiError) as failure:
            await client.create("configmaps", config_map("without-quorum"), "default")
        assert time.monotonic() - began < BOUND
        assert failure.value.code in (500, 504)
        assert "etcdserver" in failure.value.message or "context deadline exceeded" in failure.value.message
        for path in ("/healthz", "/readyz"):
            code, text = await health(api, path)
            assert code == 500
            assert "[-]etcd failed" in text

        for member in cluster.members[:2]:
            member.start()

        async def healthy() -> bool:
            return (await health(api, "/readyz"))[0] == 200

        await eventually(healthy, what="readyz after etcd is back")
        await client.create("configmaps", config_map("after"), "default")
        names = {item["metadata"]["name"] for item in (await client.list("configmaps", "default")).items}
        assert {"before-0", "before-1", "with-two", "after"} <= names

        async def told() -> bool:
            return "ADDED after" in seen

        await eventually(told, what="the watch goes on")
        added = [line for line in seen if line.startswith("ADDED")]
        assert sorted(added) == sorted({f"ADDED {name}" for name in names})
        watching.cancel()


async def test_a_frozen_member_costs_one_attempt(cluster: Etcd, apis: Callable[..., Api]) -> None:
    api = apis(cluster)
    async with KubeClient(api.url) as client:
        listed = await client.list("configmaps", "default")
        seen: list[str] = []
        watching = asyncio.create_task(watch_names(client, listed.resource_version, seen))
        cluster.members[0].signal(signal.SIGSTOP)
        began = time.monotonic()
        await client.create("configmaps", config_map("slow"), "default")
        assert time.monotonic() - began < BOUND

        async def told() -> bool:
            return "ADDED slow" in seen

        await eventually(told, what="the watch moves to a member that lives")
        began = time.monotonic()
        await client.create("configmaps", config_map("fast"), "default")
        assert time.monotonic() - began < 1.5
        cluster.members[0].signal(signal.SIGCONT)
        watching.cancel()


async def test_starts_before_etcd_and_is_ready_when_etcd_is(cluster: Etcd, supervisor: Supervisor) -> None:
    for member in cluster.members:
        member.stop()
    port = free_port()
    daemon = supervisor.module("apiserver", MODULE, f"--port={port}", f"--etcd-servers={cluster.servers}")
    daemon.ready = lambda: True
    daemon.start(wait=False)
    api = Api(daemon, f"http://127.0.0.1:{port}")

    async def answers() -> bool:
        try:
            return (await health(api, "/readyz"))[0] == 500
        except aiohttp.ClientConnectionError:
            return False

    await eventually(answers, what="the server answers without etcd")
    for member in cluster.members:
        member.start(wait=False)

    async def ready() -> bool:
        return (await health(api, "/readyz"))[0] == 200

    await eventually(ready, what="ready with etcd")
    async with KubeClient(api.url) as client:

        async def made() -> bool:
            try:
                return bool(await client.get("services", "kubernetes", "default"))
            except ApiError:
                return False

        await eventually(made, what="the kubernetes service")


async def test_component_statuses(cluster: Etcd, apis: Callable[..., Api]) -> None:
    """Each member of etcd for itself, and what is not there as unhealthy."""
    api = apis(cluster)
    cluster.members[1].kill()

    async def told() -> dict[str, str]:
        url = f"{api.url}/api/v1/componentstatuses"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert "ComponentStatus is deprecated" in answer.headers["Warning"]
            items = (await answer.json())["items"]
        return {item["metadata"]["name"]: item["conditions"][0]["status"] for item in items}

    expected = {"etcd-0": "True", "etcd-1": "False", "etcd-2": "True"}

    async def as_it_is() -> bool:
        found = await told()
        assert {"controller-manager", "scheduler"} < set(found)
        return {name: found[name] for name in expected} == expected

    await eventually(as_it_is, what="the dead member is told of")
