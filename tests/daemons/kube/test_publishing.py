"""What controllers keep for others to read: slices of endpoints, certificates, what is used of quotas."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k8slab.kube.client import KubeClient, Object
from tests.daemons.kube.conftest import Api, Kubectl
from tests.daemons.kube.hollow import hollow
from tests.daemons.processes import Etcd, Supervisor, eventually, free_port

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nZm9y IHRlc3Rz\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def controllers(session_supervisor: Supervisor, api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    authority: Path = tmp_path_factory.mktemp("pki") / "ca.crt"
    authority.write_text(CERTIFICATE)
    flags = (
        f"--master={api.url}",
        f"--port={free_port()}",
        "--max-endpoints-per-slice=3",
        "--resource-quota-sync-period=1s",
    )
    daemon = session_supervisor.km("controller-manager", *flags, f"--root-ca-file={authority}").start()
    yield
    daemon.stop()


def named(name: str, **rest: Any) -> Object:
    return {"metadata": {"name": name, "labels": {"app": "web"}}, **rest}


async def slices(client: KubeClient, namespace: str) -> list[Object]:
    return (await client.list("endpointslices", namespace, label_selector="kubernetes.io/service-name=web")).items


async def held(client: KubeClient, namespace: str) -> dict[str, bool]:
    """Name of each pod in the slices, and whether it is said to be ready."""
    found = [end for one in await slices(client, namespace) for end in one["endpoints"]]
    return {end["targetRef"]["name"]: end["conditions"]["ready"] for end in found}


async def test_slices_hold_the_pods_of_their_service(
    controllers: None, kubectl: Kubectl, client: KubeClient, namespace: str
) -> None:
    inside = ("-n", namespace)
    for number in range(5):
        await client.create("pods", named(f"p{number}", spec={"containers": [{"name": "c", "image": "i"}]}), namespace)
    async with hollow(client, namespace, node="node-a") as kubelet:
        spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        service = await client.create("services", named("web", spec=spec), namespace)

        async def all_are_ready() -> bool:
            return await held(client, namespace) == {f"p{number}": True for number in range(5)}

        await eventually(all_are_ready, what="all pods are in slices")

        async def full_ones() -> list[Object]:
            found = await slices(client, namespace)
            return found if sorted(len(one["endpoints"]) for one in found) == [2, 3] else []

        found = await eventually(full_ones, what="a slice holds three of them, and the empty one is gone")
        labels = {"app": "web", "kubernetes.io/service-name": "web"}
        for one in found:
            assert one["addressType"] == "IPv4"
            assert one["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
            managed = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
            assert one["metadata"]["labels"] == {**labels, **managed}
            assert one["metadata"]["ownerReferences"][0]["uid"] == service["metadata"]["uid"]
            assert one["metadata"]["name"].startswith("web-")
        assert all(end["nodeName"] == "node-a" for one in found for end in one["endpoints"])
        rows = await asyncio.to_thread(kubectl, "get", "endpointslices", *inside, "--no-headers")
        assert [row.split()[1:3] for row in rows.splitlines()] == [["IPv4", "8080"]] * 2

        pod = await client.get("pods", "p0", namespace)
        await kubelet.become(pod, "Running", ready=False)
        await client.delete("pods", "p1", namespace)

        async def both_changes_show() -> bool:
            return await held(client, namespace) == {"p0": False, "p2": True, "p3": True, "p4": True}

        await eventually(both_changes_show, what="the slices follow the pods")
        await asyncio.to_thread(kubectl, "delete", "service", "web", *inside)

        async def gone() -> bool:
            return not await slices(client, namespace)

        await eventually(gone, what="the slices went with their service")


async def test_a_service_without_pods_has_an_empty_slice_and_one_without_selector_none(
    controllers: None, client: KubeClient, namespace: str
) -> None:
    ports = [{"port": 80}]
    await client.create("services", named("outside", spec={"ports": ports}), namespace)
    await client.create("services", named("web", spec={"ports": ports, "selector": {"app": "none"}}), namespace)

    async def there() -> list[Object]:
        return (await client.list("endpointslices", namespace)).items

    (one,) = await eventually(there, what="a slice for the one with a selector")
    assert (one["metadata"]["labels"]["kubernetes.io/service-name"], one.get("endpoints") or []) == ("web", [])


async def test_endpoints_written_by_hand_have_slices_too(controllers: None, client: KubeClient, namespace: str) -> None:
    await client.create("services", named("web", spec={"ports": [{"port": 5432}]}), namespace)
    subset = {"addresses": [{"ip": "192.0.2.7"}], "notReadyAddresses": [{"ip": "192.0.2.8"}], "ports": [{"port": 5432}]}
    await client.create("endpoints", named("web", subsets=[subset]), namespace)

    async def ready() -> dict[str, bool]:
        found = [end for one in await slices(client, namespace) for end in one["endpoints"]]
        return {end["addresses"][0]: end["conditions"]["ready"] for end in found}

    async def mirrored() -> bool:
        return await ready() == {"192.0.2.7": True, "192.0.2.8": False}

    await eventually(mirrored, what="the slices hold what was written")
    (one,) = await slices(client, namespace)
    assert (
        one["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
        == "endpointslicemirroring-controller.k8s.io"
    )
    assert one["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
    await client.patch("endpoints", "web", {"subsets": [{**subset, "notReadyAddresses": None}]}, namespace)

    async def followed() -> bool:
        return await ready() == {"192.0.2.7": True}

    await eventually(followed, what="the slices follow")
    skip = {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}}
    await client.patch("endpoints", "web", skip, namespace)

    async def gone() -> bool:
        return not await slices(client, namespace)

    await eventually(gone, what="what is not to be mirrored is not")
    server = (
        await client.list("endpointslices", "default", label_selector="kubernetes.io/service-name=kubernetes")
    ).items
    assert [end["addresses"] for one in server for end in one["endpoints"]], "the server itself is found by its slice"


async def test_every_namespace_has_the_certificate_and_gets_it_back(
    controllers: None, kubectl: Kubectl, client: KubeClient, namespace: str
) -> None:
    inside = ("-n", namespace)

    async def published() -> bool:
        found = await client.find("configmaps", "kube-root-ca.crt", namespace)
        return found is not None and found["data"] == {"ca.crt": CERTIFICATE}

    await eventually(published, what="the certificate is published")
    for verb in (
        ("delete", "configmap", "kube-root-ca.crt"),
        ("patch", "configmap", "kube-root-ca.crt", "-p", json.dumps({"data": {"ca.crt": "forged", "more": "x"}})),
    ):
        await asyncio.to_thread(kubectl, *verb, *inside)
        await eventually(published, what=f"it is there again after {verb[0]}")


async def test_a_quotas_status_is_put_right(
    controllers: None, client: KubeClient, namespace: str, kube_etcd: Etcd
) -> None:
    hard = {"secrets": "5", "pods": "4", "requests.cpu": "2"}
    await client.create("resourcequotas", named("q", spec={"hard": hard}), namespace)
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "250m"}}}
    for number in range(2):
        await client.create("pods", named(f"p{number}", spec={"containers": [container]}), namespace)
    await client.create("secrets", named("s"), namespace)

    async def used() -> dict[str, str]:
        return dict((await client.get("resourcequotas", "q", namespace))["status"]["used"])

    right = {"secrets": "1", "pods": "2", "requests.cpu": "500m"}
    assert await used() == right
    wrong = {"status": {"hard": hard, "used": {"secrets": "4", "pods": "0", "requests.cpu": "0"}}}
    await client.patch("resourcequotas", "q", wrong, namespace, subresource="status")
    assert await used() != right

    async def put_right() -> bool:
        return await used() == right

    await eventually(put_right, what="what a hand wrote is put right")
    # Past the API server, as no controller sees it: only counting anew finds it.
    key = f"/registry/secrets/{namespace}/s"
    command = ["etcdctl", f"--endpoints={kube_etcd.servers}", "del", key]
    gone = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, env={**os.environ, "ETCDCTL_API": "3"}
    )
    assert gone.stdout.strip() == "1", gone.stderr

    async def counted_anew() -> bool:
        return await used() == {**right, "secrets": "0"}

    await eventually(counted_anew, what="what went past the server is found")


async def test_a_certificate_that_cannot_be_read_is_told_at_the_start(supervisor: Supervisor, api: Api) -> None:
    flags = (f"--master={api.url}", f"--port={free_port()}", "--root-ca-file=/nonexistent/ca.crt")
    daemon = supervisor.km("controller-manager", *flags).start(wait=False)
    assert await daemon.exited() == 2
    assert "--root-ca-file /nonexistent/ca.crt" in daemon.tail()
    assert "Traceback" not in daemon.tail()
