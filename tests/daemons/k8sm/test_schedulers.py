"""Schedulers come and go, with other flags or beside one another: pods do not notice, and nodes stay usable."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm.cluster import Cluster, Pod, containers_of_node, finish, pod, running, start
from tests.daemons.processes import Supervisor, eventually


@pytest.fixture(scope="module")
def shared(
    pod_images: None, session_supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """One agent, so that every pod has to do with the same executor."""
    started = start(
        session_supervisor, tmp_path_factory.mktemp("schedulers"), agents=1, scheduler_flags=["--ha"], grace=40
    )
    yield started
    finish(started)


@pytest.fixture
async def api(shared: Cluster) -> AsyncIterator[KubeClient]:
    async with KubeClient(shared.server) as made:
        yield made
        for one in (await made.list("pods", "default")).items:
            await made.delete("pods", one["metadata"]["name"], "default", grace_period_seconds=0)

        async def clean() -> bool:
            return not any(containers_of_node(host) for host in shared.hosts)

        await eventually(clean, what="all containers are gone")


async def steady(cluster: Cluster, client: KubeClient) -> Pod:
    await client.create("pods", pod("steady"))
    return await cluster.until(client, "steady", running)


async def untouched(cluster: Cluster, client: KubeClient, before: Pod) -> None:
    shown = await cluster.until(client, "steady", running)
    assert shown["metadata"]["uid"] == before["metadata"]["uid"]
    assert shown["status"]["containerStatuses"] == before["status"]["containerStatuses"]
    assert len(cluster.containers(shown)) == 2


async def frameworks(cluster: Cluster) -> list[str]:
    async with aiohttp.ClientSession() as http, http.get(f"http://{cluster.leader}/state") as answer:
        return [one["id"] for one in (await answer.json(content_type=None))["frameworks"]]


async def metric(url: str, name: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        return next((line.split()[1] for line in (await answer.text()).splitlines() if line.startswith(name)), "")


@pytest.mark.slow
async def test_a_standby_takes_over_and_no_pod_is_stopped(shared: Cluster, api: KubeClient) -> None:
    before = await steady(shared, api)
    known = await frameworks(shared)
    standby, url = shared.another_scheduler("--ha")
    await standby.start_async()
    assert await metric(url, "k8sm_scheduler_leader") == "0"
    async with aiohttp.ClientSession() as http, http.get(f"{url}/debug/registry/tasks") as answer:
        assert answer.status == 503
    shared.scheduler.kill()
    await api.create("pods", pod("later"))
    await shared.until(api, "later", running, timeout=40)
    assert await metric(url, "k8sm_scheduler_leader") == "1"
    await untouched(shared, api, before)
    assert await frameworks(shared) == known
    await shared.scheduler.start_async()
    assert await metric(shared.scheduler_url, "k8sm_scheduler_leader") == "0"
    # One that ends in good order says so: nobody waits for its lease.
    standby.signal(signal.SIGUSR1)
    assert await standby.exited() == 0

    async def leads() -> bool:
        return await metric(shared.scheduler_url, "k8sm_scheduler_subscribed") == "1"

    await eventually(leads, timeout=5, what="the first scheduler leads again")
    await api.delete("pods", "steady", "default")
    await shared.gone(api, "steady")
    assert shared.containers(before) == {}


@pytest.mark.slow
async def test_a_leader_that_was_frozen_for_too_long_ends(shared: Cluster, api: KubeClient) -> None:
    standby, url = shared.another_scheduler("--ha")
    await standby.start_async()
    shared.scheduler.signal(signal.SIGSTOP)

    async def leads() -> bool:
        return await metric(url, "k8sm_scheduler_subscribed") == "1"

    await eventually(leads, timeout=20, what="the standby leads")
    shared.scheduler.signal(signal.SIGCONT)
    assert await shared.scheduler.exited() == 1
    assert await leads()
    await shared.scheduler.start_async()
    assert standby.stop() == 0


@pytest.mark.slow
async def test_other_flags_bring_other_executors_and_keep_pods_and_nodes(shared: Cluster, api: KubeClient) -> None:
    before = await steady(shared, api)
    (old,) = shared.executors(0)
    shared.scheduler.stop()
    changed, _ = shared.another_scheduler("--ha", "--executor-mem=96", "--executor-suicide-timeout=3s")
    await changed.start_async()
    await api.create("pods", pod("later"))
    later = await shared.until(api, "later", running, timeout=40)

    async def taken_over() -> bool:
        shown = await api.get("pods", "steady", "default")
        executor = "k8s.mesosphere.io/executorId"
        return bool(shown["metadata"]["annotations"][executor] == later["metadata"]["annotations"][executor])

    await eventually(taken_over, what="the pod has a task of the new executor")
    await untouched(shared, api, before)
    (new,) = shared.executors(0)
    assert new != old
    for name in ("steady", "later"):
        await api.delete("pods", name, "default", grace_period_seconds=1)
        await shared.gone(api, name)

    async def nobody() -> bool:
        return shared.executors(0) == []

    # It has nothing to do any more; the node is there all the same, for the next pod.
    await eventually(nobody, timeout=25, what="the executor has ended by itself")
    await api.create("pods", pod("last"))
    await shared.until(api, "last", running)
    await api.delete("pods", "last", "default", grace_period_seconds=1)
    await shared.gone(api, "last")
    assert changed.stop() == 0
    await shared.scheduler.start_async()


async def test_static_pods_run_on_every_minion_for_as_long_as_the_scheduler_has_them(
    shared: Cluster, api: KubeClient, tmp_path: Path
) -> None:
    manifest = pod("logger", container={"resources": {"limits": {"cpu": "100m", "memory": "32Mi"}}})
    manifest["spec"]["terminationGracePeriodSeconds"] = 0
    (tmp_path / "logger.json").write_bytes(orjson.dumps({"kind": "Pod", "apiVersion": "v1", **manifest}))
    shared.scheduler.stop()
    changed, _ = shared.another_scheduler("--ha", f"--static-pods-config={tmp_path}")
    await changed.start_async()
    name = f"logger-{shared.hosts[0]}"
    shown = await shared.until(api, name, running)
    assert shown["metadata"]["annotations"]["k8s.mesosphere.io/staticPodFilename"] == "logger.json"
    # It is the kubelet's, not a task of the framework's.
    assert "k8s.mesosphere.io/taskId" not in shown["metadata"]["annotations"]
    before = await steady(shared, api)
    assert changed.stop() == 0
    await shared.scheduler.start_async()
    await shared.gone(api, name)
    await untouched(shared, api, before)

    async def only_the_other() -> bool:
        return set(containers_of_node(shared.hosts[0])) == {one[:12] for one in shared.containers(before).values()}

    await eventually(only_the_other, what="the static pod's containers are gone")
