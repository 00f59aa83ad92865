"""What a daemon keeps in the API to be found under, at a real API server."""

from __future__ import annotations

import asyncio

import pytest

from k8slab.k8sm.scheduler import service as schedulers
from k8slab.kube.client import KubeClient, Object
from k8slab.kube.own_service import OwnService
from tests.daemons.processes import eventually

NAME = "door"
LABELS = {"component": "door"}
HERE = {"10.9.9.1"}


def own(client: KubeClient, namespace: str, port: int = 10251) -> OwnService:
    ports = [{"port": port, "protocol": "TCP", "targetPort": port}]
    return OwnService(client, NAME, namespace, LABELS, ports)


async def kept(one: OwnService) -> tuple[Object, Object]:
    await one.keep(await one.service())
    await one.keep_endpoints(await one.endpoints(), HERE)
    service, endpoints = await one.service(), await one.endpoints()
    assert service is not None and endpoints is not None
    return service, endpoints


async def test_it_is_made_once(client: KubeClient, namespace: str) -> None:
    one = own(client, namespace)
    service, endpoints = await kept(one)
    assert service["metadata"]["labels"] == LABELS
    assert not service["spec"].get("selector")
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(10251, 10251)]
    (subset,) = endpoints["subsets"]
    assert [place["ip"] for place in subset["addresses"]] == ["10.9.9.1"]
    assert [port["port"] for port in subset["ports"]] == [10251]
    assert await kept(one) == (service, endpoints), "what is right is not written again"


@pytest.mark.parametrize(
    ("resource", "harm"),
    [
        ("services", {"metadata": {"labels": {"component": None}}}),
        ("services", {"spec": {"ports": [{"port": 1, "protocol": "TCP"}]}}),
        ("services", {"spec": {"selector": {"a": "b"}}}),
        ("endpoints", {"subsets": [{"addresses": [{"ip": "10.9.9.2"}], "ports": [{"port": 10251}]}]}),
        ("endpoints", {"subsets": None}),
    ],
)
async def test_it_is_mended_and_others_annotations_stay(
    client: KubeClient, namespace: str, resource: str, harm: Object
) -> None:
    one = own(client, namespace)
    before = await kept(one)
    await client.patch("services", NAME, {"metadata": {"annotations": {"id": "door=1"}}}, namespace)
    await client.patch(resource, NAME, harm, namespace)
    service, endpoints = await kept(one)
    assert service["spec"] == before[0]["spec"]
    assert service["metadata"]["labels"] == LABELS
    assert service["metadata"]["annotations"] == {"id": "door=1"}
    assert endpoints["subsets"] == before[1]["subsets"]


async def test_it_follows_its_daemon_to_another_port(client: KubeClient, namespace: str) -> None:
    await kept(own(client, namespace))
    service, endpoints = await kept(own(client, namespace, 10252))
    assert [port["targetPort"] for port in service["spec"]["ports"]] == [10252]
    assert [port["port"] for port in endpoints["subsets"][0]["ports"]] == [10252]


async def test_of_two_that_make_it_at_once_both_are_content(client: KubeClient, namespace: str) -> None:
    one, other = own(client, namespace), own(client, namespace)
    await asyncio.gather(*(each.keep(None) for each in (one, other)))
    await asyncio.gather(*(each.keep_endpoints(None, HERE) for each in (one, other)))
    assert await kept(one) == await kept(other)


async def test_the_schedulers_keeps_its_framework_id(client: KubeClient) -> None:
    ids = schedulers.ServiceAnnotation(client, "Kubernetes")
    assert await ids.framework_id() is None
    for address in ("10.9.9.1", "10.9.9.2"):
        kept = schedulers.SchedulerService(client, address=address, port=10251)
        running = asyncio.create_task(kept.run())

        async def is_found(there: str = address) -> bool:
            found = await client.find("endpoints", schedulers.NAME, schedulers.NAMESPACE)
            return found is not None and found["subsets"][0]["addresses"] == [{"ip": there}]

        await eventually(is_found, timeout=5, what="the scheduler is found")
        await ids.keep_id("f-1")
        running.cancel()
    assert await ids.framework_id() == "f-1"
    assert await schedulers.ServiceAnnotation(client, "another").framework_id() is None
    service = await client.get("services", schedulers.NAME, schedulers.NAMESPACE)
    assert service["metadata"]["labels"] == schedulers.LABELS
