"""What the framework makes of events from Mesos and from the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from k8slab.k8sm import mapping
from k8slab.k8sm.resources import Defaults
from k8slab.k8sm.scheduler.framework import Framework
from k8slab.k8sm.scheduler.pods import PodStore
from k8slab.k8sm.scheduler.settings import Settings
from k8slab.kube.client import ApiUnavailable, ObjectList
from k8slab.mesos.client import MesosError
from tests.unit.k8sm.samples import EXECUTOR, a_pod, an_offer

Object = dict[str, Any]


class Master:
    """Hears everything but what is meant for executors."""

    subscribed = True
    framework_id = "F0"

    def __init__(self) -> None:
        self.declined: list[str] = []
        self.killed: list[str] = []
        self.deaf = False

    async def kill(self, task: str, agent: str | None) -> None:
        if self.deaf:
            raise MesosError(0, "it hears nothing")
        self.killed.append(task)

    async def decline(self, offers: list[str], *, refuse_seconds: float) -> None:
        self.declined += offers

    async def message(self, agent: str, executor: str, data: bytes) -> None:
        raise MesosError(0, "it got lost")


class Api:
    def __init__(self) -> None:
        self.deleted: list[str] = []
        self.pods: list[Object] = []
        self.lists = 0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def list(self, resource: str) -> ObjectList:
        self.lists += 1
        listed = list(self.pods)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return ObjectList(listed, "1")

    async def delete(self, resource: str, name: str, namespace: str, **how: Any) -> None:
        self.deleted.append(name)


class Recorder:
    def say(self, *what: Any) -> None: ...


class Nodes:
    def __init__(self) -> None:
        self.agents: dict[str, Any] = {}

    def noticed(self, agent: str) -> None: ...


class Stage:
    def __init__(self) -> None:
        settings = Settings(
            address="",
            port=0,
            advertised_address="",
            master="",
            user="root",
            api_servers="",
            framework_name="Kubernetes",
            failover_timeout=1.0,
            checkpoint=True,
            role="*",
            hostname="",
            defaults=Defaults(),
            executor=EXECUTOR,
            node_monitor_period=1.0,
            reconcile_interval=1.0,
            verbosity=0,
        )
        self.master, self.api = Master(), Api()
        self.pods = PodStore(self.api, Recorder())  # type: ignore[arg-type]
        self.framework = Framework(
            settings,
            self.master,  # type: ignore[arg-type]
            self.pods,
            Nodes(),  # type: ignore[arg-type]
            on_subscribed=lambda _: None,
        )

    def shows(self, pod: Object, kind: str = "MODIFIED") -> None:
        """The API tells of a pod."""
        self.pods._pod_event(kind, pod, None)

    async def says(self, task: str, state: str = "TASK_KILLED", **status: Any) -> None:
        told = {"task_id": {"value": task}, "state": state, "source": "SOURCE_EXECUTOR", **status}
        await self.framework._handle({"type": "UPDATE", "update": {"status": told}})


@pytest.fixture
async def stage() -> Stage:
    return Stage()


def bound(task: str, **meta: Any) -> Object:
    pod = a_pod("web", nodeName="minion-0", annotations={mapping.TASK_ID: task, mapping.SLAVE_ID: "S0"})
    return {**pod, "metadata": {**pod["metadata"], **meta}}


async def test_a_pod_whose_containers_have_ended_gets_no_task_while_its_object_is_still_there(stage: Stage) -> None:
    pod = bound("T0", deletionTimestamp="2026-11-27T12:00:00Z", finalizers=["example.com/wait"])
    stage.shows(pod)
    await stage.says("T0")
    # The executor's last status, or somebody's finalizer that has not let go.
    stage.shows(pod)
    await asyncio.sleep(0)
    assert stage.api.deleted == ["web"]
    assert len(stage.framework.queue) == 0
    stage.shows(pod, "DELETED")
    assert not stage.pods.is_going("uid-web")


async def test_a_lost_task_is_not_replaced_while_another_one_of_its_pod_goes_on(stage: Stage) -> None:
    stage.shows(bound("T0"))
    stage.shows(bound("T1"))
    await stage.says("T1", "TASK_RUNNING")
    await stage.says("T0", "TASK_LOST", source="SOURCE_AGENT")
    assert [(task.id, task.state) for task in stage.framework.tasks] == [("T1", "TASK_RUNNING")]
    assert len(stage.framework.queue) == 0


async def test_offers_that_came_beside_one_of_another_executor_are_not_lost(stage: Stage) -> None:
    foreign, own = an_offer(0, executors=("other_k8sm-executor",)), an_offer(1, agent=1)
    with pytest.raises(MesosError):
        await stage.framework._handle({"type": "OFFERS", "offers": {"offers": [foreign, own]}})
    assert stage.master.declined == ["O0"]
    assert [offer.id for offer in stage.framework.offers] == ["O1"]


async def test_a_pod_of_another_scheduler_gets_its_task_once_that_one_has_bound_it(stage: Stage) -> None:
    stage.shows(a_pod("web", schedulerName="my-scheduler"), "ADDED")
    assert len(stage.framework.queue) == 0
    stage.shows(a_pod("web", schedulerName="my-scheduler", nodeName="minion-0"))
    assert "uid-web" in stage.framework.queue


async def unknown(stage: Stage, *tasks: str) -> None:
    for task in tasks:
        await stage.says(task, "TASK_RUNNING", agent_id={"value": "S0"})


async def test_one_list_of_pods_tells_whose_all_unknown_tasks_are(stage: Stage) -> None:
    stage.api.pods = [bound(f"T{number}", uid=f"uid-{number}", name=f"web-{number}") for number in range(50)]
    await unknown(stage, *(f"T{number}" for number in range(100)))
    await stage.framework._strangers._ask()
    assert stage.api.lists == 1
    assert {task.id for task in stage.framework.tasks} == {f"T{number}" for number in range(50)}
    assert {task.state for task in stage.framework.tasks} == {"TASK_RUNNING"}
    assert stage.master.killed == [f"T{number}" for number in range(50, 100)]
    await stage.framework._strangers._ask()
    assert stage.api.lists == 1


async def test_who_comes_while_pods_are_listed_waits_for_the_next_list(stage: Stage) -> None:
    await unknown(stage, "T0")
    stage.api.meanwhile = lambda: unknown(stage, "T1")
    await stage.framework._strangers._ask()
    assert (stage.api.lists, stage.master.killed) == (1, ["T0"])
    stage.api.pods = [bound("T1")]
    await stage.framework._strangers._ask()
    assert (stage.api.lists, stage.master.killed) == (2, ["T0"])
    assert [task.id for task in stage.framework.tasks] == ["T1"]


async def test_an_unknown_task_that_ends_or_whose_pod_shows_itself_is_asked_about_no_more(stage: Stage) -> None:
    async def news() -> None:
        await stage.says("T0")
        stage.shows(bound("T1"))

    await unknown(stage, "T0", "T1")
    stage.api.meanwhile = news
    await stage.framework._strangers._ask()
    assert stage.master.killed == []
    assert [(task.id, task.state) for task in stage.framework.tasks] == [("T1", "TASK_RUNNING")]


async def test_while_nobody_can_tell_whose_tasks_they_are_none_is_killed(stage: Stage) -> None:
    async def away() -> None:
        raise ApiUnavailable("nobody is there")

    await unknown(stage, "T0")
    stage.api.meanwhile = away
    await stage.framework._strangers._ask()
    assert stage.master.killed == []
    await stage.framework._strangers._ask()
    assert stage.api.lists == 1


async def test_a_kill_that_was_not_heard_is_told_again(stage: Stage) -> None:
    await unknown(stage, "T0", "T1")
    stage.master.deaf = True
    with pytest.raises(MesosError):
        await stage.framework._strangers._ask()
    stage.master.deaf = False
    await stage.framework._strangers._ask()
    assert stage.master.killed == ["T0", "T1"]
