"""Jobs whose pods fail or vanish, and whose controller does; each with one controller of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from k8slab.kube.client import KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.jobs import JobController
from k8slab.kube.controllers.node_lifecycle import condition
from k8slab.kube.controllers.owned_pods import OwnedPods
from k8slab.kube.events import EventRecorder
from tests.daemons.kube.conftest import Api
from tests.daemons.kube.hollow import Hollow, hollow
from tests.daemons.kube.test_jobs import INDEX, counts, ended, job, pods, until
from tests.daemons.processes import Supervisor, free_port


@pytest.fixture
async def kubelet(client: KubeClient, namespace: str) -> AsyncIterator[Hollow]:
    async with hollow(client, namespace, node="node-a") as kubelet:
        yield kubelet


@pytest.fixture
async def hasty(client: KubeClient) -> AsyncIterator[None]:
    """The controller inside the test, with a short pause after failures: the original's is of ten seconds."""
    informers, recorder = SharedInformers(client), EventRecorder(client, "test")
    controller = JobController(client, informers, OwnedPods(client, informers, recorder), recorder, backoff=0.1)
    running = (informers.run(), recorder.run(), controller.run())
    tasks = [asyncio.create_task(one) for one in running]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_failed_pods_are_replaced_until_one_succeeds(
    hasty: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    seen: list[str] = []

    def fate(pod: Object) -> str:
        if pod["metadata"]["name"] not in seen:
            seen.append(pod["metadata"]["name"])
        return "Failed" if seen.index(pod["metadata"]["name"]) < 3 else "Succeeded"

    kubelet.fate = fate
    await client.create("jobs", job(), namespace)
    shown = await until(client, namespace, ended("Complete"))
    assert counts(shown) == (0, 1, 3)


async def test_a_pod_that_is_deleted_counts_as_failed_and_is_replaced(
    hasty: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    await client.create("jobs", job(), namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 1)
    (first,) = await pods(client, namespace)
    await client.delete("pods", first["metadata"]["name"], namespace)
    shown = await until(client, namespace, lambda found: counts(found) == (1, 0, 1) and found["status"]["ready"] == 1)
    assert json.dumps(shown["status"]["uncountedTerminatedPods"]) == "{}"
    (second,) = await pods(client, namespace)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


@pytest.mark.parametrize(
    ("most", "reason", "all_tried"),
    [(None, "FailedIndexes", True), (0, "MaxFailedIndexesExceeded", False)],
)
async def test_an_index_that_fails_too_often_is_given_up(
    hasty: None, client: KubeClient, namespace: str, kubelet: Hollow, most: int | None, reason: str, all_tried: bool
) -> None:
    """Index 1 fails each time, index 2 the first time."""
    tries: dict[str, list[str]] = {}

    def fate(pod: Object) -> str:
        mine = tries.setdefault(pod["metadata"]["annotations"][INDEX], [])
        if pod["metadata"]["name"] not in mine:
            mine.append(pod["metadata"]["name"])
        index, attempt = pod["metadata"]["annotations"][INDEX], mine.index(pod["metadata"]["name"])
        return "Failed" if index == "1" or (index == "2" and attempt == 0) else "Succeeded"

    kubelet.fate = fate
    limits = {"backoffLimitPerIndex": 1, **({"maxFailedIndexes": most} if most is not None else {})}
    await client.create("jobs", job(parallelism=3, completions=4, completionMode="Indexed", **limits), namespace)
    shown = await until(client, namespace, ended("Failed"))
    assert condition(shown, "Failed")["reason"] == reason
    assert shown["status"]["failedIndexes"] == "1"
    assert len(tries["1"]) == 2
    if all_tried:
        assert shown["status"]["completedIndexes"] == "0,2,3"
        assert counts(shown) == (0, 3, 3)
    assert not [one for one in await pods(client, namespace) if one["metadata"].get("finalizers")]


async def test_a_hundred_pods_that_end_while_the_controller_is_away_are_counted_once_each(
    client: KubeClient, namespace: str, kubelet: Hollow, supervisor: Supervisor, api: Api
) -> None:
    kubelet.fate = lambda pod: "Succeeded"
    await client.create("jobs", job(parallelism=20, completions=100), namespace)
    # One that is killed would leave the next one waiting for its lease.
    flags = (f"--master={api.url}", f"--port={free_port()}", "--leader-elect=false")
    daemon = supervisor.km("controller-manager", *flags).start()
    for least in (10, 40, 70):
        await until(client, namespace, lambda found, least=least: counts(found)[1] >= least, timeout=30)
        daemon.kill()
        await daemon.start_async()
    shown = await until(client, namespace, ended("Complete"), timeout=30)
    assert counts(shown) == (0, 100, 0)
    assert len(await pods(client, namespace)) == 100
