"""The service of the name server: what is its own, and what is somebody else's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from k8slab.kube.client import Object
from k8slab.kube.dns.publishing import LABELS, NAME, NAMESPACE, Publisher

ADDRESS = "10.0.0.10"
THEIRS = {"k8s-app": "kube-dns"}


class Api:
    """What it asks of the server; ``done``: what it has written."""

    def __init__(self, service: Object | None) -> None:
        self.objects: dict[str, Object] = {"namespaces": {"metadata": {"name": NAMESPACE}}}
        self.done: list[str] = []
        self.looked = asyncio.Event()
        if service is not None:
            self.objects["services"] = service

    async def find(self, resource: str, name: str, namespace: str | None = None) -> Object | None:
        if resource == "services":
            self.looked.set()
        return self.objects.get(resource)

    async def create(self, resource: str, obj: Object, namespace: str | None = None) -> Object:
        self.done.append(f"create {resource}")
        self.objects[resource] = obj
        return obj

    async def patch(self, resource: str, name: str, patch: Object, namespace: str) -> None:
        self.done.append(f"patch {resource}")

    async def delete(self, resource: str, name: str, namespace: str, *, uid: str) -> None:
        self.done.append(f"delete {resource}")
        del self.objects[resource]

    def subscribe(self, changed: Callable[[str, Object, Object | None], None]) -> None:
        self._changed = changed

    async def look(self) -> None:
        """Let it look again, as when the service has changed."""
        self.looked.clear()
        self._changed("MODIFIED", {"metadata": {"name": NAME, "namespace": NAMESPACE}}, None)
        async with asyncio.timeout(5):
            await self.looked.wait()


def service(labels: dict[str, str], address: str = "10.0.0.99", **spec: Any) -> Object:
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": labels, "uid": "1"}
    return {"metadata": metadata, "spec": {"clusterIP": address, **spec}}


def publisher_of(api: Api) -> Publisher:
    async def answers(address: str) -> bool:
        return False

    client: Any = api
    publisher = Publisher(client, address="10.9.9.9", port=53, cluster_ip=ADDRESS, answers=answers)
    publisher.watch(client)
    return publisher


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        (service({**LABELS}, selector={"k8s-app": "kube-dns"}), "it has a selector"),
        (service({**LABELS}, ADDRESS, selector={"k8s-app": "kube-dns"}), "it has a selector"),
        (service(THEIRS), "it has no label kubernetes.io/cluster-service=true"),
        (service(THEIRS, ADDRESS), "it has no label kubernetes.io/cluster-service=true"),
    ],
)
async def test_what_is_somebody_elses_is_left_alone_and_said_once(
    theirs: Object, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(theirs)
    publisher = publisher_of(api)
    with caplog.at_level(logging.WARNING):
        running = asyncio.create_task(publisher.run())
        for _ in range(3):
            await api.look()
        assert api.done == []
        assert not publisher.published.is_set()
        (said,) = (one.getMessage() for one in caplog.records)
        assert said == (
            f"service kube-system/kube-dns is somebody else's, for {why}: "
            "left as it is; delete it, or start without --cluster-dns"
        )
        del api.objects["services"]
        await api.look()
        async with asyncio.timeout(5):
            await publisher.published.wait()
    running.cancel()
    assert api.done == ["create services", "create endpoints"]


async def test_its_own_of_another_address_is_made_anew() -> None:
    api = Api(service({**LABELS}))
    publisher = publisher_of(api)
    running = asyncio.create_task(publisher.run())
    async with asyncio.timeout(5):
        await publisher.published.wait()
    running.cancel()
    assert api.done == ["delete services", "create services", "create endpoints"]
    assert api.objects["services"]["spec"]["clusterIP"] == ADDRESS
