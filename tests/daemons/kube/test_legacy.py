"""The API of the first two years, as its own pages show it with curl."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import aiohttp

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api
from tests.unit.kube.test_legacy import NGINX


def curl(url: str, *words: str) -> Any:
    ran = subprocess.run(["curl", "-sSL", url, *words], capture_output=True, text=True, timeout=20, check=True)
    return json.loads(ran.stdout)


async def test_a_pod_by_curl(api: Api, client: KubeClient, namespace: str, tmp_path: Any) -> None:
    manifest = tmp_path / "pod-nginx.json"
    manifest.write_text(json.dumps(NGINX))
    url = f"{api.url}/api/v1beta1/pods?namespace={namespace}"
    made = await asyncio.to_thread(curl, url, "-XPOST", "-d", f"@{manifest}")
    assert (made["kind"], made["apiVersion"], made["id"]) == ("Pod", "v1beta1", "nginx-id-01")
    assert (made["desiredState"]["status"], made["currentState"]["status"]) == ("Running", "Waiting")
    assert made["desiredState"]["manifest"]["uuid"] == made["uid"]

    listed = await asyncio.to_thread(curl, url)
    assert (listed["kind"], listed["creationTimestamp"], listed["apiVersion"]) == ("PodList", None, "v1beta1")
    assert isinstance(listed["resourceVersion"], int)
    [item] = listed["items"]
    assert (item["id"], "kind" in item) == ("nginx-id-01", False)

    stored = await client.get("pods", "nginx-id-01", namespace)
    assert stored["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "250m"
    third = await asyncio.to_thread(curl, f"{api.url}/api/v1beta3/namespaces/{namespace}/pods/nginx-id-01")
    assert (third["apiVersion"], third["metadata"]["name"]) == ("v1beta3", "nginx-id-01")

    again = await asyncio.to_thread(curl, url, "-XPOST", "-d", f"@{manifest}")
    assert (again["kind"], again["code"], again["reason"]) == ("Status", 409, "AlreadyExists")
    assert again["details"]["id"] == "nginx-id-01"

    place = f"{api.url}/api/v1beta1/pods/nginx-id-01?namespace={namespace}"
    gone = await asyncio.to_thread(curl, place, "-XDELETE")
    assert (gone["kind"], gone["status"]) == ("Status", "Success")
    missing = await asyncio.to_thread(curl, place)
    assert (missing["code"], missing["reason"]) == (404, "NotFound")


async def test_selectors_and_fields_of_then(api: Api, client: KubeClient, namespace: str) -> None:
    url = f"{api.url}/api/v1beta1/pods?namespace={namespace}"
    for name, label in (("a", "foo"), ("b", "bar")):
        body = {**NGINX, "id": name, "labels": {"name": label}}
        await asyncio.to_thread(curl, url, "-XPOST", "-d", json.dumps(body))
    bound = {"kind": "Binding", "apiVersion": "v1beta1", "podID": "a", "host": "n1"}
    told = await asyncio.to_thread(
        curl, f"{api.url}/api/v1beta1/bindings?namespace={namespace}", "-XPOST", "-d", json.dumps(bound)
    )
    assert told["status"] == "Success"
    assert (await client.get("pods", "a", namespace))["spec"]["nodeName"] == "n1"
    for query, names in (("labels=name%3Dbar", ["b"]), ("fields=DesiredState.Host%3Dn1", ["a"])):
        listed = await asyncio.to_thread(curl, f"{url}&{query}")
        assert [item["id"] for item in listed["items"]] == names


async def test_services_minions_and_nonsense(api: Api, client: KubeClient, namespace: str) -> None:
    service = {"id": "web", "kind": "Service", "apiVersion": "v1beta1", "port": 80, "selector": {"name": "foo"}}
    url = f"{api.url}/api/v1beta1/services?namespace={namespace}"
    made = await asyncio.to_thread(curl, url, "-XPOST", "-d", json.dumps(service))
    assert (made["port"], made["portalIP"].startswith("10.0.")) == (80, True)
    changed = {**made, "port": 81}
    place = f"{api.url}/api/v1beta1/services/web?namespace={namespace}"
    put = await asyncio.to_thread(curl, place, "-XPUT", "-d", json.dumps(changed))
    assert put["port"] == 81
    conflict = await asyncio.to_thread(curl, place, "-XPUT", "-d", json.dumps(changed))
    assert conflict["code"] == 409

    await client.create("nodes", {"metadata": {"name": f"minion-{namespace}"}})
    minions = await asyncio.to_thread(curl, f"{api.url}/api/v1beta1/minions")
    assert f"minion-{namespace}" in [one["id"] for one in minions["items"]]
    assert minions["minions"] == minions["items"]
    for body in ("[]", "{", '{"desiredState": 7}', '{"desiredState": {"manifest": {"containers": [7]}}}'):
        told = await asyncio.to_thread(curl, f"{api.url}/api/v1beta1/pods?namespace={namespace}", "-XPOST", "-d", body)
        assert (told["kind"], told["code"]) == ("Status", 400), body


async def test_watching_as_it_was(api: Api, namespace: str) -> None:
    url = f"{api.url}/api/v1beta1/pods?namespace={namespace}"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            version = (await answer.json())["resourceVersion"]
        watching = f"{api.url}/api/v1beta1/watch/pods?namespace={namespace}&resourceVersion={version}"
        async with session.get(watching) as stream:
            async with session.post(url, data=json.dumps(NGINX)) as answer:
                assert answer.status == 201
            async with asyncio.timeout(10):
                event = json.loads(await stream.content.readline())
    assert event["type"] == "ADDED"
    assert (event["object"]["id"], event["object"]["apiVersion"]) == ("nginx-id-01", "v1beta1")
