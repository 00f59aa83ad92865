"""Jobs by kubectl, with real servers and the real controller; what becomes of pods is said by a hollow kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from k8slab.kube.client import KubeClient, Object
from k8slab.kube.controllers.node_lifecycle import condition
from tests.daemons.kube.conftest import Api, Kubectl, kubectls
from tests.daemons.kube.hollow import Hollow, hollow
from tests.daemons.processes import Supervisor, eventually, free_port

INDEX = "batch.kubernetes.io/job-completion-index"
TRACKED = "batch.kubernetes.io/job-tracking"


@pytest.fixture(scope="module")
def controllers(session_supervisor: Supervisor, api: Api) -> Iterator[None]:
    daemon = session_supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()
    yield
    daemon.stop()


@pytest.fixture
def kubectl(api: Api, tmp_path: Any) -> Kubectl:
    """One is enough: what is shown here is the controller."""
    found = kubectls()
    return Kubectl(found.get("1.32") or next(iter(found.values())), api.url, tmp_path)


@pytest.fixture
async def kubelet(client: KubeClient, namespace: str) -> AsyncIterator[Hollow]:
    async with hollow(client, namespace, node="node-a") as kubelet:
        yield kubelet


def job(name: str = "j", *, restart: str = "Never", **spec: Any) -> Object:
    container = {"name": "c", "image": "busybox", "command": ["true"]}
    template = {"spec": {"restartPolicy": restart, "containers": [container]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template, **spec}}


async def until(
    client: KubeClient, namespace: str, holds: Callable[[Object], Any], *, name: str = "j", timeout: float = 20.0
) -> Object:
    async def probe() -> Object | None:
        found = await client.get("jobs", name, namespace)
        return found if holds(found) else None

    found = await eventually(probe, timeout=timeout, what=f"job {name}")
    assert found is not None
    return found


def ended(kind: str) -> Callable[[Object], bool]:
    return lambda found: condition(found, kind).get("status") == "True"


def counts(found: Object) -> tuple[int, int, int]:
    """Active, succeeded, failed."""
    status = found["status"]
    return status.get("active", 0), status.get("succeeded", 0), status.get("failed", 0)


async def pods(client: KubeClient, namespace: str) -> list[Object]:
    return (await client.list("pods", namespace)).items


async def reasons(client: KubeClient, namespace: str) -> dict[str, str]:
    """Reason → message, of the events about jobs."""
    events = (await client.list("events", namespace)).items
    return {one["reason"]: one["message"] for one in events if one["involvedObject"]["kind"] == "Job"}


async def test_a_job_runs_so_many_pods_at_once_until_enough_have_succeeded(
    controllers: None, kubectl: Kubectl, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    most = 0

    def watch_most(kind: str, pod: Object, old: Object | None) -> None:
        nonlocal most
        at_work = [one for one in kubelet.pods.cache.values() if one["status"].get("phase") in ("Pending", "Running")]
        most = max(most, len(at_work))

    kubelet.pods.subscribe(watch_most)
    await client.create("jobs", job(parallelism=2, completions=5), namespace)
    shown = await until(client, namespace, lambda found: counts(found) == (2, 0, 0) and found["status"]["ready"] == 2)
    assert shown["status"]["startTime"]
    kubelet.fate = lambda pod: "Succeeded"
    kubelet.look_again()
    shown = await until(client, namespace, ended("Complete"))
    assert counts(shown) == (0, 5, 0)
    assert shown["status"]["uncountedTerminatedPods"] == {}
    assert condition(shown, "SuccessCriteriaMet")["status"] == "True"
    assert shown["status"]["completionTime"] >= shown["status"]["startTime"]
    found = await pods(client, namespace)
    assert len(found) == 5
    assert most == 2
    assert not [one for one in found if TRACKED in one["metadata"].get("finalizers", [])]
    row = await asyncio.to_thread(kubectl, "get", "job", "j", "-n", namespace, "--no-headers")
    assert row.split()[1:3] == ["Complete", "5/5"]
    await asyncio.to_thread(kubectl, "wait", "--for=condition=complete", "job/j", "-n", namespace, "--timeout=5s")

    async def said() -> bool:
        return (await reasons(client, namespace)).get("Completed") == "Job completed"

    await eventually(said, what="it is told as an event")
    await asyncio.to_thread(kubectl, "delete", "job", "j", "-n", namespace, "--timeout=15s")

    async def gone() -> bool:
        return not await pods(client, namespace)

    await eventually(gone, what="its pods went with it")


async def test_what_kubectl_makes_and_describes(
    controllers: None, kubectl: Kubectl, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    kubelet.fate = lambda pod: "Succeeded"
    await asyncio.to_thread(kubectl, "create", "job", "j", "--image=busybox", "-n", namespace, "--", "date")
    await until(client, namespace, ended("Complete"))
    described = await asyncio.to_thread(kubectl, "describe", "job", "j", "-n", namespace)
    assert "0 Active (0 Ready) / 1 Succeeded / 0 Failed" in described


async def test_too_many_failures_end_it(controllers: None, client: KubeClient, namespace: str, kubelet: Hollow) -> None:
    """Of two pods one fails: the other is stopped, and counts as failed."""
    await client.create("jobs", job(parallelism=2, completions=2, backoffLimit=0), namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 2)
    first = min(one["metadata"]["name"] for one in await pods(client, namespace))
    kubelet.fate = lambda pod: "Failed" if pod["metadata"]["name"] == first else "Running"
    kubelet.look_again()
    shown = await until(client, namespace, ended("Failed"))
    assert counts(shown) == (0, 0, 2)
    failed = condition(shown, "Failed")
    assert (failed["reason"], failed["message"]) == (
        "BackoffLimitExceeded",
        "Job has reached the specified backoff limit",
    )
    assert condition(shown, "FailureTarget")["status"] == "True"
    assert "completionTime" not in shown["status"]

    async def said() -> bool:
        return "BackoffLimitExceeded" in await reasons(client, namespace)

    await eventually(said, what="it is told as an event")


async def test_restarts_of_containers_count_as_failures_too(
    controllers: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    await client.create("jobs", job(restart="OnFailure", backoffLimit=2), namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 1)
    (pod,) = await pods(client, namespace)
    status = pod["status"]["containerStatuses"][0]
    for count in (1, 2):
        patch = {"status": {"containerStatuses": [{**status, "restartCount": count}]}}
        await client.patch("pods", pod["metadata"]["name"], patch, namespace, subresource="status")
        if count == 1:
            assert not ended("Failed")(await client.get("jobs", "j", namespace))
    shown = await until(client, namespace, ended("Failed"))
    assert condition(shown, "Failed")["reason"] == "BackoffLimitExceeded"


async def test_a_job_that_takes_too_long_is_stopped(
    controllers: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    await client.create("jobs", job(activeDeadlineSeconds=1), namespace)
    shown = await until(client, namespace, ended("Failed"))
    assert condition(shown, "Failed")["reason"] == "DeadlineExceeded"
    assert not [one for one in await pods(client, namespace) if not one["metadata"].get("deletionTimestamp")]


async def test_a_suspended_job_has_no_pods_and_goes_on_when_it_is_resumed(
    controllers: None, kubectl: Kubectl, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    await client.create("jobs", job(suspend=True, parallelism=2, completions=2), namespace)
    shown = await until(client, namespace, ended("Suspended"))
    assert "startTime" not in shown["status"]
    assert await pods(client, namespace) == []
    patch = ("patch", "job", "j", "-n", namespace, "-p")
    await asyncio.to_thread(kubectl, *patch, '{"spec":{"suspend":false}}')
    shown = await until(client, namespace, lambda found: found["status"].get("ready") == 2)
    assert condition(shown, "Suspended")["reason"] == "JobResumed"
    assert shown["status"]["startTime"]
    await asyncio.to_thread(kubectl, *patch, '{"spec":{"suspend":true}}')

    async def none_left() -> bool:
        return not await pods(client, namespace)

    await eventually(none_left, what="the pods are gone")
    shown = await until(client, namespace, lambda found: ended("Suspended")(found) and counts(found)[0] == 0)
    assert counts(shown) == (0, 0, 0), "who is stopped did not fail"
    assert {"Suspended", "Resumed"} <= (await reasons(client, namespace)).keys()


async def test_a_job_goes_when_its_time_to_live_is_over(
    controllers: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    kubelet.fate = lambda pod: "Succeeded"
    await client.create("jobs", job(ttlSecondsAfterFinished=1), namespace)
    await until(client, namespace, ended("Complete"))

    async def gone() -> bool:
        return await client.find("jobs", "j", namespace) is None and not await pods(client, namespace)

    await eventually(gone, what="the job and its pod are gone")


async def test_each_index_is_done_once(controllers: None, client: KubeClient, namespace: str, kubelet: Hollow) -> None:
    await client.create("jobs", job(parallelism=4, completions=4, completionMode="Indexed"), namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 4)
    found = await pods(client, namespace)
    assert sorted(one["metadata"]["annotations"][INDEX] for one in found) == ["0", "1", "2", "3"]
    second = next(one for one in found if one["metadata"]["annotations"][INDEX] == "1")
    assert second["metadata"]["name"].startswith("j-1-")
    assert second["spec"]["hostname"] == "j-1"
    (variable,) = second["spec"]["containers"][0]["env"]
    assert variable["name"] == "JOB_COMPLETION_INDEX"
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.labels['{INDEX}']"
    kubelet.fate = lambda pod: "Running" if pod["metadata"]["annotations"][INDEX] == "2" else "Succeeded"
    kubelet.look_again()
    await until(client, namespace, lambda shown: shown["status"].get("completedIndexes") == "0,1,3")
    kubelet.fate = lambda pod: "Succeeded"
    kubelet.look_again()
    shown = await until(client, namespace, ended("Complete"))
    assert (counts(shown), shown["status"]["completedIndexes"]) == ((0, 4, 0), "0-3")


async def test_the_success_policy_needs_no_more_than_it_says(
    controllers: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    policy = {"rules": [{"succeededIndexes": "1"}]}
    made = job(parallelism=3, completions=3, completionMode="Indexed", successPolicy=policy)
    await client.create("jobs", made, namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 3)
    kubelet.fate = lambda pod: "Succeeded" if pod["metadata"]["annotations"][INDEX] == "1" else "Running"
    kubelet.look_again()
    shown = await until(client, namespace, ended("Complete"))
    assert condition(shown, "Complete")["reason"] == "SuccessPolicy"
    assert shown["status"]["completedIndexes"] == "1"
    assert len([one for one in await pods(client, namespace) if not one["metadata"].get("deletionTimestamp")]) == 1


async def test_the_failure_policy_judges_exit_codes(
    controllers: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [1]}}
    await client.create("jobs", job(backoffLimit=9, podFailurePolicy={"rules": [rule]}), namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 1)
    kubelet.fate = lambda pod: "Failed"
    kubelet.look_again()
    shown = await until(client, namespace, ended("Failed"))
    failed = condition(shown, "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert failed["message"].startswith("Container c for pod ")
    assert failed["message"].endswith(" failed with exit code 1 matching FailJob rule at index 0")


async def test_without_completions_the_first_success_is_enough(
    controllers: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    spec = job(parallelism=3)
    await client.create("jobs", spec, namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 3)
    first = min(one["metadata"]["name"] for one in await pods(client, namespace))
    kubelet.fate = lambda pod: "Succeeded" if pod["metadata"]["name"] == first else "Running"
    kubelet.look_again()
    shown = await until(client, namespace, lambda found: counts(found) == (2, 1, 0))
    assert not ended("Complete")(shown), "the others may still be at work"
    kubelet.fate = lambda pod: "Succeeded"
    kubelet.look_again()
    assert counts(await until(client, namespace, ended("Complete"))) == (0, 3, 0)


async def test_pods_of_a_job_that_was_left_behind_are_let_go(
    controllers: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    await client.create("jobs", job(), namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 1)
    await client.delete("jobs", "j", namespace, propagation="Orphan")

    async def untied() -> bool:
        (pod,) = await pods(client, namespace)
        return not pod["metadata"].get("finalizers") and not pod["metadata"].get("ownerReferences")

    await eventually(untied, what="the pod is free")


async def test_a_namespace_goes_with_a_job_that_is_at_work(
    controllers: None, client: KubeClient, namespace: str, kubelet: Hollow
) -> None:
    await client.create("jobs", job(parallelism=3, completions=3), namespace)
    await until(client, namespace, lambda found: found["status"].get("ready") == 3)
    await client.delete("namespaces", namespace)

    async def gone() -> bool:
        return await client.find("namespaces", namespace) is None

    await eventually(gone, what="the namespace is gone, with all that waits to be counted in it")
