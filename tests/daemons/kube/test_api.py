"""The API's semantics on real etcd: versions, watches, pages, deletion, allocation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import ApiError, KubeClient
from k8slab.kube.informer import Informer
from tests.daemons.kube.conftest import Api
from tests.daemons.processes import Etcd, eventually

Object = dict[str, Any]


def pod(name: str, **spec: Any) -> Object:
    container = {"name": "c", "image": "k8slab/pause:1"}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [container], **spec}}


async def raw(api: Api, method: str, path: str, **more: Any) -> tuple[int, dict[str, str], Any]:
    if more.get("data"):
        more["headers"] = {"Content-Type": "application/json", **more.get("headers", {})}
    async with aiohttp.ClientSession() as session, session.request(method, api.url + path, **more) as answer:
        body = await answer.read()
        is_json = answer.content_type == "application/json"
        return answer.status, dict(answer.headers), (await answer.json() if is_json else body)


async def test_an_update_of_what_has_changed_is_a_conflict(client: KubeClient, namespace: str) -> None:
    first = await client.create("configmaps", {"metadata": {"name": "c"}, "data": {"k": "1"}}, namespace)
    second = await client.update("configmaps", {**first, "data": {"k": "2"}})
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    with pytest.raises(ApiError) as failure:
        await client.update("configmaps", {**first, "data": {"k": "3"}})
    assert failure.value.is_conflict
    assert "the object has been modified; please apply your changes to the latest version" in failure.value.message
    same = await client.update("configmaps", second)
    assert same["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_concurrent_patches_are_all_applied(client: KubeClient, namespace: str) -> None:
    await client.create("configmaps", {"metadata": {"name": "c"}}, namespace)
    await asyncio.gather(*(client.patch("configmaps", "c", {"data": {f"k{n}": "x"}}, namespace) for n in range(5)))
    assert len((await client.get("configmaps", "c", namespace))["data"]) == 5


async def test_status_and_spec_are_written_apart(client: KubeClient, namespace: str) -> None:
    made = await client.create("pods", {**pod("p"), "status": {"phase": "Running"}}, namespace)
    assert made["status"]["phase"] == "Pending"
    made["status"]["phase"] = "Running"
    assert (await client.update("pods", made))["status"]["phase"] == "Pending"
    changed = await client.patch(
        "pods", "p", {"status": {"phase": "Running"}, "spec": {"nodeName": "x"}}, namespace, subresource="status"
    )
    assert changed["status"]["phase"] == "Running"
    assert "nodeName" not in changed["spec"]


async def test_binding(client: KubeClient, namespace: str) -> None:
    await client.create("pods", pod("p"), namespace)
    await client.bind(namespace, "p", "minion-0", {"mesos/task": "t1"})
    bound = await client.get("pods", "p", namespace)
    assert bound["spec"]["nodeName"] == "minion-0"
    assert bound["metadata"]["annotations"] == {"mesos/task": "t1"}
    assert [(one["type"], one["status"]) for one in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    with pytest.raises(ApiError) as failure:
        await client.bind(namespace, "p", "minion-1")
    assert failure.value.code == 409
    assert 'pod p is already assigned to node "minion-0"' in failure.value.message


async def test_a_pod_on_a_node_goes_when_its_kubelet_says_so(client: KubeClient, namespace: str) -> None:
    made = await client.create("pods", pod("p", nodeName="minion-0"), namespace)
    marked = await client.delete("pods", "p", namespace)
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    with pytest.raises(ApiError) as failure:
        await client.delete("pods", "p", namespace, grace_period_seconds=0, uid="another")
    assert failure.value.is_conflict
    await client.delete("pods", "p", namespace, grace_period_seconds=0, uid=made["metadata"]["uid"])
    with pytest.raises(ApiError) as failure:
        await client.get("pods", "p", namespace)
    assert failure.value.is_not_found


async def test_a_finalizer_holds_an_object(client: KubeClient, namespace: str) -> None:
    held = {"metadata": {"name": "c", "finalizers": ["lab/hold"]}}
    await client.create("configmaps", held, namespace)
    marked = await client.delete("configmaps", "c", namespace)
    assert marked["metadata"]["deletionTimestamp"]
    await client.patch("configmaps", "c", {"metadata": {"finalizers": None}}, namespace)
    with pytest.raises(ApiError) as failure:
        await client.get("configmaps", "c", namespace)
    assert failure.value.is_not_found


async def test_a_namespace_goes_when_it_is_finalized(api: Api, client: KubeClient, namespace: str) -> None:
    marked = await client.delete("namespaces", namespace)
    assert marked["status"]["phase"] == "Terminating"
    with pytest.raises(ApiError) as failure:
        await client.create("configmaps", {"metadata": {"name": "late"}}, namespace)
    assert failure.value.code == 403
    assert "because it is being terminated" in failure.value.message
    body = {**marked, "spec": {"finalizers": []}}
    code, _, _ = await raw(api, "PUT", f"/api/v1/namespaces/{namespace}/finalize", json=body)
    assert code == 200
    with pytest.raises(ApiError):
        await client.get("namespaces", namespace)


async def test_a_selective_watch_shows_objects_come_and_go(client: KubeClient, namespace: str) -> None:
    start = (await client.list("configmaps", namespace)).resource_version
    await client.create("configmaps", {"metadata": {"name": "c"}}, namespace)
    await client.patch("configmaps", "c", {"metadata": {"labels": {"in": "1"}}}, namespace)
    await client.patch("configmaps", "c", {"data": {"k": "v"}}, namespace)
    left = await client.patch("configmaps", "c", {"metadata": {"labels": None}}, namespace)
    seen = []
    async for event in client.watch(
        "configmaps", namespace, resource_version=start, label_selector="in", timeout_seconds=1
    ):
        seen.append((event.type, event.object["metadata"].get("labels"), event.object["metadata"]["resourceVersion"]))
    assert [kind for kind, _, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[-1][1:] == ({"in": "1"}, left["metadata"]["resourceVersion"])


async def test_a_watch_that_ends_in_time_ends_with_a_bookmark(client: KubeClient, namespace: str) -> None:
    start = (await client.list("pods", namespace)).resource_version
    await client.create("configmaps", {"metadata": {"name": "c"}}, namespace)
    events = client.watch("pods", namespace, resource_version=start, timeout_seconds=1, bookmarks=True)
    seen = [event async for event in events]
    assert [event.type for event in seen] == ["BOOKMARK"]
    assert int(seen[0].object["metadata"]["resourceVersion"]) > int(start)


async def test_too_old_a_version_is_told_in_the_stream(kube_etcd: Etcd, apis: Callable[..., Api], api: Api) -> None:
    """A server knows no changes from before its start."""
    later = apis(kube_etcd)
    async with KubeClient(later.url) as client:
        with pytest.raises(ApiError) as failure:
            async for _ in client.watch("pods", "default", resource_version="1", timeout_seconds=5):
                pass
    assert failure.value.is_expired
    assert failure.value.message.startswith("too old resource version: 1 (")


async def test_pages_are_of_one_moment(api: Api, client: KubeClient, namespace: str) -> None:
    for index in range(7):
        await client.create("configmaps", {"metadata": {"name": f"c{index}"}}, namespace)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    _, _, page = await raw(api, "GET", f"{path}?limit=3")
    names = [item["metadata"]["name"] for item in page["items"]]
    assert page["metadata"]["remainingItemCount"] == 4
    await client.delete("configmaps", "c5", namespace)
    while token := page["metadata"].get("continue"):
        _, _, page = await raw(api, "GET", path, params={"limit": "3", "continue": token})
        names += [item["metadata"]["name"] for item in page["items"]]
    assert names == [f"c{index}" for index in range(7)]
    code, _, status = await raw(api, "GET", path, params={"continue": "nonsense"})
    assert (code, status["reason"]) == (400, "BadRequest")
    _, _, cached = await raw(api, "GET", f"{path}?resourceVersion=0")
    assert "kind" not in cached["items"][0]


async def test_two_servers_never_give_an_address_twice(kube_etcd: Etcd, api: Api, apis: Callable[..., Api]) -> None:
    other = apis(kube_etcd)
    async with KubeClient(api.url) as one, KubeClient(other.url) as two:
        service = {"spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        made = await asyncio.gather(
            *(
                client.create("services", {"metadata": {"generateName": "s-"}, **service}, "default")
                for client in (one, two)
                for _ in range(20)
            )
        )
        assert len({one["spec"]["clusterIP"] for one in made}) == 40
        assert len({one["spec"]["ports"][0]["nodePort"] for one in made}) == 40
        taken = made[0]["spec"]["clusterIP"]
        wish = {"metadata": {"name": "wish"}, "spec": {"clusterIP": taken, "ports": [{"port": 80}]}}
        with pytest.raises(ApiError) as failure:
            await two.create("services", wish, "default")
        assert "provided IP is already allocated" in failure.value.message
        for created in made:
            await one.delete("services", created["metadata"]["name"], "default")
        await two.create("services", wish, "default")
        await two.delete("services", "wish", "default")


async def test_what_one_server_writes_the_other_watches(kube_etcd: Etcd, api: Api, apis: Callable[..., Api]) -> None:
    other = apis(kube_etcd)
    async with KubeClient(api.url) as one, KubeClient(other.url) as two:
        informer = Informer(two, "configmaps", namespace="default")
        running = asyncio.create_task(informer.run())
        await informer.synced()
        made = await one.create("configmaps", {"metadata": {"generateName": "c-"}}, "default")
        key = f"default/{made['metadata']['name']}"

        async def there() -> bool:
            return key in informer.cache

        await eventually(there)
        await one.delete("configmaps", made["metadata"]["name"], "default")

        async def gone() -> bool:
            return key not in informer.cache

        await eventually(gone)
        running.cancel()


async def test_deletecollection_honours_selectors(api: Api, client: KubeClient, namespace: str) -> None:
    for name, tier in (("a", "x"), ("b", "x"), ("c", "y")):
        await client.create("configmaps", {"metadata": {"name": name, "labels": {"tier": tier}}}, namespace)
    code, _, deleted = await raw(api, "DELETE", f"/api/v1/namespaces/{namespace}/configmaps?labelSelector=tier%3Dx")
    assert code == 200
    assert deleted["kind"] == "ConfigMapList"
    assert {item["metadata"]["name"] for item in deleted["items"]} == {"a", "b"}
    assert [item["metadata"]["name"] for item in (await client.list("configmaps", namespace)).items] == ["c"]


async def test_dry_run_stores_nothing(api: Api, client: KubeClient, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    code, _, made = await raw(api, "POST", f"{path}?dryRun=All", json={"metadata": {"generateName": "c-"}})
    assert code == 201
    assert made["metadata"]["name"].startswith("c-")
    assert (await client.list("configmaps", namespace)).items == []
    code, _, status = await raw(api, "POST", f"{path}?dryRun=Bad", json={"metadata": {"name": "c"}})
    assert (code, status["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "code", "reason"),
    [
        ("GET", "/api/v1/pots", {}, b"", 404, "NotFound"),
        ("GET", "/apis/apps/v9/x", {}, b"", 404, None),
        ("GET", "/nothing", {}, b"", 404, None),
        ("POST", "/api/v1/namespaces/default/pods", {}, b"{", 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", {}, b"[]", 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", {}, b'{"kind":"Service","apiVersion":"v1"}', 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", {}, b'{"metadata":{"labels":3}}', 400, "BadRequest"),
        ("POST", "/api/v1/namespaces/default/pods", {"Content-Type": "text/csv"}, b"a,b", 415, "UnsupportedMediaType"),
        ("GET", "/api/v1/pods", {"Accept": "text/csv"}, b"", 406, "NotAcceptable"),
        ("PATCH", "/api/v1/namespaces/default/pods/x", {"Content-Type": "text/csv"}, b"a", 415, "UnsupportedMediaType"),
        ("TRACE", "/api/v1/pods", {}, b"", 405, "MethodNotAllowed"),
        ("POST", "/api/v1/namespaces/default/configmaps", {}, b" " * 4_000_000, 413, "RequestEntityTooLarge"),
        ("DELETE", "/api/v1/namespaces", {}, b"", 405, "MethodNotAllowed"),
    ],
)
async def test_bad_requests(
    api: Api, method: str, path: str, headers: dict[str, str], body: bytes, code: int, reason: str | None
) -> None:
    status, _, answer = await raw(api, method, path, headers=headers, data=body)
    assert status == code
    if reason is not None:
        assert answer["kind"] == "Status"
        assert answer["reason"] == reason
    else:
        assert answer == b"404 page not found\n"


async def test_yaml_both_ways_and_no_content_type(api: Api, client: KubeClient, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    text = b"metadata:\n  name: y\ndata:\n  day: '2026-01-01'\n"
    code, _, _ = await raw(api, "POST", path, data=text, headers={"Content-Type": "application/yaml"})
    assert code == 201
    code, headers, body = await raw(api, "GET", f"{path}/y", headers={"Accept": "application/yaml"})
    assert (code, headers["Content-Type"]) == (200, "application/yaml")
    assert b"day: '2026-01-01'" in body
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
        session.post(api.url + path, data=b'{"metadata":{"name":"z"}}') as answer,
    ):
        assert answer.status == 201


async def test_junk_in_etcd_is_passed_over(kube_etcd: Etcd, client: KubeClient, namespace: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "etcdctl",
        f"--endpoints={kube_etcd.servers}",
        "put",
        f"/registry/configmaps/{namespace}/junk",
        "not json",
        env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
    )
    assert await process.wait() == 0
    await client.create("configmaps", {"metadata": {"name": "c"}}, namespace)
    assert [item["metadata"]["name"] for item in (await client.list("configmaps", namespace)).items] == ["c"]
    with pytest.raises(ApiError) as failure:
        await client.get("configmaps", "junk", namespace)
    assert failure.value.is_not_found


async def test_a_restarted_server_has_everything(kube_etcd: Etcd, apis: Callable[..., Api]) -> None:
    first = apis(kube_etcd)
    async with KubeClient(first.url) as client:
        made = await client.create("configmaps", {"metadata": {"generateName": "c-"}}, "default")
    first.daemon.kill()
    second = apis(kube_etcd)
    async with KubeClient(second.url) as client:
        assert await client.get("configmaps", made["metadata"]["name"], "default") == made


def test_flags(supervisor: Any) -> None:
    from tests.daemons.kube.conftest import MODULE

    for flags, said in (
        (["--bogus=1", "--storage=memory"], "unrecognized arguments: --bogus=1"),
        (["--storage=stone"], "--storage is etcd or memory"),
        ([], "--etcd-servers is required"),
        (["--storage=memory", "--portal_net=10.0.0.0/33"], "--service-cluster-ip-range: '33' is not a valid netmask"),
    ):
        daemon = supervisor.module("apiserver", MODULE, *flags)
        daemon.ready = lambda: True
        daemon.start(wait=False)
        assert daemon.process.wait(20) == 2
        assert said in daemon.log.read_text()


async def test_a_watcher_that_leaves_is_no_trouble_of_the_servers(api: Api, client: KubeClient, namespace: str) -> None:
    made = await client.create("configmaps", {"metadata": {"name": "c"}}, namespace)
    _, leaving = await watch_connection(api, made)
    staying, stays = await watch_connection(api, made)
    leaving.transport.abort()
    await client.patch("configmaps", "c", {"data": {"k": "v"}}, namespace)
    # Events reach watchers in the order in which they came: the one that left has been written to before this one.
    assert b'"MODIFIED"' in await asyncio.wait_for(staying.readuntil(b"}\n"), 10)
    stays.close()
    assert "Traceback" not in api.daemon.log.read_text()


async def watch_connection(api: Api, obj: Object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    namespace, version = obj["metadata"]["namespace"], obj["metadata"]["resourceVersion"]
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1&resourceVersion={version}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: api\r\n\r\n".encode())
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_what_raises_a_generation(client: KubeClient, namespace: str) -> None:
    """The spec; a deployment's annotations, which go to its replica sets; and being deleted."""
    container = {"name": "c", "image": "i"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    body = {"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    told = []
    for resource, finalizers in (("deployments", ["test/held"]), ("replicasets", ["test/held"])):
        await client.create(resource, body, namespace)
        changes: tuple[dict[str, Any], ...] = (
            {"spec": {"replicas": 2}},
            {"metadata": {"annotations": {"a": "b"}}},
            {"metadata": {"annotations": {"a": None}}},
            {"metadata": {"labels": {"a": "b"}, "finalizers": finalizers}},
        )
        for change in changes:
            done = await client.patch(resource, "w", change, namespace)
            told.append(done["metadata"]["generation"])
        told.append((await client.delete(resource, "w", namespace))["metadata"]["generation"])
        await client.patch(resource, "w", {"metadata": {"finalizers": None}}, namespace)
    assert told == [2, 3, 4, 4, 5, 2, 2, 2, 2, 3]
