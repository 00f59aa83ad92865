"""Cron jobs against real servers; the clock of the controller is the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.clock import parse
from k8slab.kube.controllers.cronjobs import CronJobController
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.jobs import JobController
from k8slab.kube.controllers.owned import Owned
from k8slab.kube.controllers.owned_pods import OwnedPods
from k8slab.kube.events import EventRecorder
from tests.daemons.kube.conftest import Api, Kubectl, kubectls
from tests.daemons.kube.hollow import Hollow, hollow
from tests.daemons.processes import Supervisor, eventually, free_port

TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}


class Cron:
    """The cron job and job controllers, with a clock that moves when told to."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        # The first minute after the cron jobs were made, so that nothing was due before.
        self.now = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)

    async def run(self) -> None:
        informers, recorder = SharedInformers(self.client), EventRecorder(self.client, "test")
        pods, jobs = OwnedPods(self.client, informers, recorder), Owned(self.client, informers, "jobs")
        cron = CronJobController(self.client, informers, jobs, recorder, now=lambda: self.now)
        controller = JobController(self.client, informers, pods, recorder, backoff=0.1)
        await asyncio.gather(informers.run(), recorder.run(), cron.run(), controller.run())

    async def make(self, **spec: Any) -> None:
        body = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": TEMPLATE, "backoffLimit": 0}}, **spec}
        await self.client.create("cronjobs", {"metadata": {"name": "c"}, "spec": body}, self.namespace)

    async def move_to(self, moment: datetime) -> None:
        """Any change of the cron job makes its controller look at the clock."""
        self.now = moment
        mark = {"metadata": {"annotations": {"moment": moment.isoformat()}}}
        await self.client.patch("cronjobs", "c", mark, self.namespace)

    async def tick(self, minutes: int = 1) -> None:
        await self.move_to(self.now + timedelta(minutes=minutes))

    async def jobs(self) -> list[Object]:
        found = (await self.client.list("jobs", self.namespace)).items
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    async def until_jobs(self, *moments: datetime) -> list[Object]:
        """The jobs, when they are those of these moments and no others."""
        names = [f"c-{int(moment.timestamp()) // 60}" for moment in moments]

        async def there() -> list[Object]:
            found = await self.jobs()
            return found if [one["metadata"]["name"] for one in found] == names else []

        return await eventually(there, what=f"jobs {names}") if names else await self.jobs()

    async def status(self) -> Object:
        return dict((await self.client.get("cronjobs", "c", self.namespace)).get("status") or {})

    async def until_active(self, count: int) -> None:
        async def so_many() -> bool:
            return len((await self.status()).get("active") or ()) == count

        await eventually(so_many, what=f"{count} active jobs in the status")

    async def until_over(self) -> None:
        """The job of this moment was made, and has ended."""

        async def over() -> bool:
            status = await self.status()
            return (
                parse(status.get("lastScheduleTime") or "1970-01-01T00:00:00Z") == self.now and "active" not in status
            )

        await eventually(over, what="the job of this moment has ended")

    async def until_said(self, reason: str) -> str:
        async def said() -> str:
            events = (await self.client.list("events", self.namespace)).items
            found = [one for one in events if one["involvedObject"]["kind"] == "CronJob" and one["reason"] == reason]
            return str(found[-1]["message"]) if found else ""

        return await eventually(said, what=f"event {reason}")


@pytest.fixture
async def cron(client: KubeClient, namespace: str) -> AsyncIterator[Cron]:
    cron = Cron(client, namespace)
    task = asyncio.create_task(cron.run())
    yield cron
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError), outcome


@pytest.fixture
async def kubelet(client: KubeClient, namespace: str) -> AsyncIterator[Hollow]:
    async with hollow(client, namespace, node="node-a") as kubelet:
        yield kubelet


@pytest.fixture
def kubectl(api: Api, tmp_path: Any) -> Kubectl:
    """One is enough: what is shown here is the controller."""
    found = kubectls()
    return Kubectl(found.get("1.32") or next(iter(found.values())), api.url, tmp_path)


async def test_a_job_each_minute_of_which_the_last_few_are_kept(
    cron: Cron, kubelet: Hollow, kubectl: Kubectl, namespace: str
) -> None:
    kubelet.fate = lambda pod: "Succeeded"
    await cron.make(successfulJobsHistoryLimit=2)
    first = cron.now
    await cron.move_to(first)
    (job,) = await cron.until_jobs(first)
    assert parse(job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]) == first
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("CronJob", "c", True)
    await cron.until_over()
    for _ in range(3):
        await cron.tick()
        await cron.until_over()
    await cron.until_jobs(cron.now - timedelta(minutes=1), cron.now)
    shown = await cron.status()
    assert parse(shown["lastScheduleTime"]) == cron.now
    assert shown["lastSuccessfulTime"]
    assert (await cron.until_said("SawCompletedJob")).endswith("condition: Complete")
    row = await asyncio.to_thread(kubectl, "get", "cronjob", "c", "-n", namespace, "--no-headers")
    assert row.split()[:8] == ["c", "*", "*", "*", "*", "*", "<none>", "False"]


@pytest.mark.parametrize(("policy", "left"), [("Allow", (0, 1)), ("Forbid", (0,)), ("Replace", (1,))])
async def test_what_becomes_of_a_job_that_still_runs(
    cron: Cron, kubelet: Hollow, policy: str, left: tuple[int, ...]
) -> None:
    await cron.make(concurrencyPolicy=policy)
    moments = [cron.now, cron.now + timedelta(minutes=1)]
    await cron.move_to(moments[0])
    await cron.until_jobs(moments[0])
    await cron.until_active(1)
    await cron.move_to(moments[1])
    if policy == "Forbid":
        await cron.until_said("JobAlreadyActive")
    await cron.until_jobs(*(moments[place] for place in left))
    await cron.until_active(len(left))
    if policy == "Forbid":
        kubelet.fate = lambda pod: "Succeeded"
        kubelet.look_again()
        await cron.until_jobs(*moments)


async def test_what_was_missed_is_made_up_for_once_unless_it_is_too_late(cron: Cron, kubelet: Hollow) -> None:
    await cron.make(schedule="*/10 * * * *", startingDeadlineSeconds=120)
    due = cron.now.replace(minute=0) + timedelta(hours=2)
    await cron.move_to(due + timedelta(minutes=5))
    await cron.move_to(due + timedelta(minutes=11))
    await cron.until_jobs(due + timedelta(minutes=10))


async def test_a_suspended_cron_job_makes_none(cron: Cron, kubelet: Hollow) -> None:
    await cron.make(suspend=True)
    await cron.tick(3)
    resumed = cron.now
    await cron.client.patch("cronjobs", "c", {"spec": {"suspend": False}}, cron.namespace)
    await cron.until_jobs(resumed)


async def test_a_zone_of_time_is_heeded(cron: Cron, kubelet: Hollow) -> None:
    await cron.make(schedule="30 6 * * *", timeZone="Asia/Kolkata")
    midnight = cron.now.replace(hour=1, minute=0) + timedelta(days=1)
    await cron.move_to(midnight)
    (job,) = await cron.until_jobs(midnight)
    told = job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
    assert told.endswith("T06:30:00+05:30")


async def test_a_failed_job_is_kept_for_whoever_asks_why(cron: Cron, kubelet: Hollow) -> None:
    kubelet.fate = lambda pod: "Failed"
    await cron.make()
    for _ in range(2):
        await cron.tick()
        await cron.until_over()

    async def one_is_left() -> bool:
        found = await cron.jobs()
        return [one["metadata"]["name"] for one in found] == [f"c-{int(cron.now.timestamp()) // 60}"]

    await eventually(one_is_left, what="the last failure")


async def test_a_job_from_a_cron_job_by_hand(
    cron: Cron, kubelet: Hollow, kubectl: Kubectl, client: KubeClient, namespace: str
) -> None:
    await cron.make(schedule="0 0 1 1 *")
    inside = ("-n", namespace)
    assert "job.batch/now created" in await asyncio.to_thread(
        kubectl, "create", "job", "now", "--from=cronjob/c", *inside
    )
    assert (await cron.until_said("UnexpectedJob")).endswith("forgot: now")
    kubelet.fate = lambda pod: "Succeeded"
    kubelet.look_again()
    await asyncio.to_thread(kubectl, "wait", "--for=condition=complete", "job/now", *inside, "--timeout=15s")


async def test_the_controller_manager_runs_them_by_the_real_clock(
    supervisor: Supervisor, api: Api, kubectl: Kubectl, client: KubeClient, namespace: str
) -> None:
    supervisor.km("controller-manager", f"--master={api.url}", f"--port={free_port()}").start()
    inside = ("-n", namespace)
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {"schedule": "@every 1s", "jobTemplate": {"spec": {"template": TEMPLATE}}},
    }
    await asyncio.to_thread(kubectl, "create", "-f", "-", *inside, stdin=json.dumps(body))

    async def made() -> bool:
        return bool((await client.list("pods", namespace)).items)

    await eventually(made, what="a pod of a job of the cron job")
    await asyncio.to_thread(kubectl, "delete", "cronjob", "c", *inside, "--timeout=15s")

    async def gone() -> bool:
        try:
            left = await client.list("jobs", namespace)
        except ApiError:
            return False
        return not left.items and not (await client.list("pods", namespace)).items

    await eventually(gone, what="its jobs and pods went with it")
