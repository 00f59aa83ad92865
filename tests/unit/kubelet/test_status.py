from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from k8slab.kube.kubelet.observation import CREATED, EXITED, Health, Seen, seen
from k8slab.kube.kubelet.status import (
    Doom,
    Waiting,
    pod_status,
    qos_class,
    refused_status,
    with_foreign_conditions,
)
from tests.unit.kubelet.pods import START, a_container, a_pod, dead, observed, running, sandbox


def status_of(pod: dict[str, Any], *all_seen: Seen, waiting: dict[str, Waiting] | None = None, later: int = 0) -> Any:
    return pod_status(
        pod,
        observed(*all_seen),
        waiting=waiting or {},
        host_ip="172.17.1.8",
        pod_ip="10.1.0.2" if all_seen else "",
        now=START + timedelta(seconds=later),
    )


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["status"] for one in status["conditions"]}


def test_before_anything_runs_it_is_pending_and_creating() -> None:
    status = status_of(a_pod())
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert conditions(status)["Ready"] == "False"
    assert conditions(status)["PodScheduled"] == "True"
    assert "podIP" not in status


def test_a_running_pod_is_ready_and_has_an_address() -> None:
    status = status_of(a_pod(), sandbox(), running())
    assert status["phase"] == "Running"
    assert status["podIP"] == "10.1.0.2"
    assert status["podIPs"] == [{"ip": "10.1.0.2"}]
    assert status["hostIP"] == "172.17.1.8"
    assert conditions(status) == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }
    container = status["containerStatuses"][0]
    assert container["containerID"] == "docker://web0"
    assert container["state"] == {"running": {"startedAt": "2016-01-02T15:04:05Z"}}
    assert container["ready"] is True
    assert container["restartCount"] == 0


def test_a_status_that_names_no_container_tells_nothing() -> None:
    pod = a_pod()
    told = status_of(pod, sandbox())
    pod["status"] = {"containerStatuses": [{}], "initContainerStatuses": [{"ready": True}]}
    assert status_of(pod, sandbox())["containerStatuses"] == told["containerStatuses"]


def test_one_container_of_two_running_is_not_ready() -> None:
    status = status_of(a_pod(a_container("a"), a_container("b")), sandbox(), running("a"))
    assert status["phase"] == "Pending"
    ready = next(one for one in status["conditions"] if one["type"] == "Ready")
    assert ready["message"] == "containers with unready status: [b]"


def test_a_crash_loop_shows_why_it_waits_and_what_happened() -> None:
    waiting = {"web": Waiting("CrashLoopBackOff", "back-off 10s")}
    status = status_of(a_pod(), sandbox(), dead(attempt=2, code=3, message="bye"), waiting=waiting)
    container = status["containerStatuses"][0]
    assert status["phase"] == "Running"
    assert container["state"]["waiting"] == {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert container["lastState"]["terminated"]["message"] == "bye"
    assert container["restartCount"] == 2


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 1), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (0, 1), "Running"),
        ("Always", (0, 0), "Running"),
    ],
)
def test_the_phase_of_dead_containers(policy: str, codes: tuple[int, int], phase: str) -> None:
    pod = a_pod(a_container("a"), a_container("b"), restartPolicy=policy)
    status = status_of(pod, sandbox(), dead("a", code=codes[0]), dead("b", code=codes[1]))
    assert status["phase"] == phase


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        (dead(code=0), "Completed"),
        (dead(code=1), "Error"),
        (dead(code=137, oom_killed=True), "OOMKilled"),
        (dead(code=127, started=None, error="no such file"), "ContainerCannotRun"),
    ],
)
def test_why_a_container_ended(container: Seen, reason: str) -> None:
    status = status_of(a_pod(restartPolicy="Never"), sandbox(), container)
    assert status["containerStatuses"][0]["state"]["terminated"]["reason"] == reason


def test_times_of_unchanged_conditions_stay() -> None:
    pod = a_pod()
    pod["status"] = status_of(pod, sandbox(), running())
    again = status_of(pod, sandbox(), running(), later=60)
    assert again == pod["status"]
    crashed = status_of(pod, sandbox(), dead(code=1), later=60)
    times = {one["type"]: one["lastTransitionTime"] for one in crashed["conditions"]}
    assert times["Ready"] == "2016-01-02T15:05:05Z"
    assert times["PodScheduled"] == "2016-01-02T15:04:05Z"


def test_a_refused_pod_has_failed_and_says_why() -> None:
    status = refused_status(a_pod(), reason="UnsupportedPodSpec", message="no probes", host_ip="1.2.3.4", now=START)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "UnsupportedPodSpec", "no probes")


def test_the_engine_is_read() -> None:
    shown: dict[str, Any] = {
        "Id": "abc",
        "Image": "sha256:1",
        "Created": "2016-01-02T15:04:00.123456789Z",
        "Config": {
            "Image": "x:1",
            "Labels": {"io.kubernetes.container.name": "web", "io.kubernetes.container.restartCount": "2"},
        },
        "State": {
            "Status": "exited",
            "ExitCode": 3,
            "OOMKilled": False,
            "Error": "",
            "StartedAt": "2016-01-02T15:04:05.5Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "NetworkSettings": {"IPAddress": "10.1.0.2"},
    }
    read = seen(shown)
    assert (read.container, read.attempt, read.state, read.exit_code) == ("web", 2, "exited", 3)
    assert read.started == START + timedelta(milliseconds=500)
    assert read.finished is None
    assert seen({**shown, "State": {**shown["State"], "Status": "created"}}).state == CREATED
    failed = seen({**shown, "State": {**shown["State"], "Status": "created", "Error": "no such file"}})
    assert failed.state == "exited"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "100m"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "64Mi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1000m"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: dict[str, Any], expected: str) -> None:
    assert qos_class(a_pod(a_container(resources=resources))) == expected


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in status["conditions"] if one["type"] == kind)
    return found


def with_init(*init: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return a_pod(initContainers=list(init), **spec)


def test_while_init_containers_run_the_pod_is_pending() -> None:
    pod = with_init(a_container("one"), a_container("two"))
    status = status_of(pod, sandbox(), dead("one"), running("two"))
    assert status["phase"] == "Pending"
    first, second = status["initContainerStatuses"]
    assert (first["ready"], first["state"]["terminated"]["reason"]) == (True, "Completed")
    assert (second["ready"], "running" in second["state"]) == (False, True)
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    shown = condition(status, "Initialized")
    assert (shown["status"], shown["reason"]) == ("False", "ContainersNotInitialized")
    assert shown["message"] == "containers with incomplete status: [two]"


def test_an_init_container_that_is_tried_again_shows_why_it_waits() -> None:
    waiting = {"one": Waiting("CrashLoopBackOff", "back-off 10s")}
    status = status_of(with_init(a_container("one")), sandbox(), dead("one", code=2), waiting=waiting)
    (shown,) = status["initContainerStatuses"]
    assert shown["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert shown["lastState"]["terminated"]["exitCode"] == 2
    assert status["phase"] == "Pending"


def test_an_init_container_that_has_failed_for_good_fails_the_pod() -> None:
    status = status_of(with_init(a_container("one"), restartPolicy="Never"), sandbox(), dead("one", code=2))
    assert status["phase"] == "Failed"


def test_a_sidecar_counts_for_the_pods_readiness() -> None:
    pod = with_init(a_container("side", restartPolicy="Always"))
    unready = running("side", health=Health(ready=False))
    status = status_of(pod, sandbox(), unready, running())
    assert conditions(status)["Initialized"] == "True"
    assert condition(status, "ContainersReady")["message"] == "containers with unready status: [side]"
    assert status_of(pod, sandbox(), running("side"), running())["initContainerStatuses"][0]["ready"] is True


@pytest.mark.parametrize(
    ("health", "started", "ready"),
    [
        (Health(), True, True),
        (Health(ready=False), True, False),
        (Health(started=False), False, False),
    ],
)
def test_probes_decide_on_readiness(health: Health, started: bool, ready: bool) -> None:
    status = status_of(a_pod(), sandbox(), running(health=health))
    shown = status["containerStatuses"][0]
    assert (shown["started"], shown["ready"]) == (started, ready)
    assert conditions(status)["Ready"] == str(ready)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, 'corresponding condition of pod readiness gate "x/y" does not exist.'),
        ("False", 'the status of pod readiness gate "x/y" is not "True", but False'),
        ("True", None),
    ],
)
def test_readiness_gates(given: str | None, message: str | None) -> None:
    pod = a_pod(readinessGates=[{"conditionType": "x/y"}])
    foreign = [{"type": "x/y", "status": given}] if given else []
    pod["status"] = with_foreign_conditions({}, {"conditions": [*foreign, {"type": "Ready", "status": "True"}]})
    status = status_of(pod, sandbox(), running())
    shown = condition(status, "Ready")
    assert shown.get("message") == message
    assert shown.get("reason") == ("ReadinessGatesNotReady" if message else None)
    assert conditions(status)["ContainersReady"] == "True"
    assert [one for one in status["conditions"] if one["type"] == "x/y"] == foreign


def test_a_pod_that_the_node_has_ended_has_failed() -> None:
    doom = Doom("DeadlineExceeded", "too long")
    pod = a_pod()
    status = pod_status(
        pod, observed(sandbox(), dead(code=0)), waiting={}, host_ip="1", pod_ip="2", now=START, doom=doom
    )
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "too long")
    assert condition(status, "Ready")["reason"] == "PodFailed"


@pytest.mark.parametrize(("codes", "phase"), [((0, 0), "Succeeded"), ((0, 137), "Failed")])
def test_a_pod_whose_containers_are_ended_for_good(codes: tuple[int, int], phase: str) -> None:
    seen = observed(sandbox(), dead("a", code=codes[0]), dead("b", code=codes[1]))
    pod = a_pod(a_container("a"), a_container("b"))
    status = pod_status(pod, seen, waiting={}, host_ip="1", pod_ip="2", now=START, ending=True)
    assert status["phase"] == phase


def test_a_pod_has_not_ended_before_its_sidecars_have() -> None:
    pod = with_init(a_container("side", restartPolicy="Always"), restartPolicy="Never")
    assert status_of(pod, sandbox(), running("side"), dead())["phase"] == "Running"
    assert status_of(pod, dead("side"), dead())["phase"] == "Succeeded"


def test_an_engine_that_has_lost_everything_has_not_the_last_word() -> None:
    pod = a_pod()
    before = dead(attempt=1, code=3)
    pod["status"] = status_of(pod, sandbox(), before, running(attempt=2))
    (shown,) = status_of(pod)["containerStatuses"]
    assert (shown["restartCount"], shown["lastState"]["terminated"]["exitCode"]) == (2, 3)
    assert shown["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_without_its_sandbox_a_pod_cannot_start_containers() -> None:
    assert conditions(status_of(a_pod(), sandbox(), dead(code=1)))["PodReadyToStartContainers"] == "True"
    assert conditions(status_of(a_pod(), sandbox(state=EXITED), dead()))["PodReadyToStartContainers"] == "False"
