"""What is declared is reached again, whatever is broken: asserted from outside, by the API and the minions' engines.

After each fault the same things must hold: as many pods as were asked for, all ready; on the minions exactly the
containers of these pods, each pod once; none of any other pod.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from declared import IMAGE, container_of, declare, is_ready, pods, settled
from driving import daemons_of, docker, k8slab, status, until


@pytest.fixture
def web(whole: dict[str, Any], tmp_path: Path) -> int:
    """A deployment of four pods, all of them ready, as it was before the first fault."""
    declare(tmp_path, 4)
    settled(4, within=90)
    return 4


def victim() -> dict[str, Any]:
    """One of the pods."""
    return sorted(pods(), key=lambda pod: str(pod["metadata"]["name"]))[0]


def same_pod(before: dict[str, Any], restarts: Callable[[int], bool]) -> Callable[[], bool]:
    def look() -> bool:
        for pod in pods():
            if pod["metadata"]["uid"] == before["metadata"]["uid"]:
                count = pod["status"]["containerStatuses"][0]["restartCount"]
                return is_ready(pod) and restarts(count)
        return False

    return look


def test_a_pods_process_is_killed(web: int) -> None:
    pod = victim()
    k8slab("exec", pod["spec"]["nodeName"], "--", "docker", "kill", "-s", "KILL", container_of(pod, "nginx"))
    until("the same pod, restarted once", same_pod(pod, lambda count: count == 1), within=30)
    settled(web, within=30)


def test_a_pods_pause_container_is_killed(web: int) -> None:
    pod = victim()
    k8slab("exec", pod["spec"]["nodeName"], "--", "docker", "kill", "-s", "KILL", container_of(pod, "POD"))
    until("the same pod runs again", same_pod(pod, lambda count: count >= 1), within=40)
    settled(web, within=30)


def test_the_engine_of_a_minion_is_killed(web: int) -> None:
    pod = victim()
    minion = pod["spec"]["nodeName"]
    before = daemons_of(status())[f"{minion}/docker"]["pid"]
    k8slab("exec", minion, "--", "kill", "-KILL", str(before))
    until(
        "another engine serves", lambda: daemons_of(status())[f"{minion}/docker"]["pid"] not in (0, before), within=30
    )
    settled(web, within=60)


def elsewhere(minion: str, replicas: int) -> Callable[[], bool]:
    return lambda: sum(is_ready(pod) and pod["spec"]["nodeName"] != minion for pod in pods()) == replicas


@pytest.mark.parametrize(
    "fault",
    ["killed", pytest.param("frozen", marks=pytest.mark.long), pytest.param("cut off", marks=pytest.mark.long)],
)
def test_a_minion_is(fault: str, web: int) -> None:
    minion = victim()["spec"]["nodeName"]
    breaking = {
        "killed": lambda: docker("kill", minion),
        "frozen": lambda: k8slab("node", "pause", minion),
        "cut off": lambda: docker("exec", minion, "ip", "link", "set", "eth0", "down"),
    }
    healing = {
        "killed": lambda: docker("start", minion),
        "frozen": lambda: k8slab("node", "unpause", minion),
        "cut off": lambda: k8slab("node", "restart", minion),
    }
    breaking[fault]()
    try:
        until("all pods are ready on the other minions", elsewhere(minion, web), within=60)
    finally:
        healing[fault]()
    settled(web, within=90)


@pytest.mark.long
def test_the_scheduler_is_killed_while_fifty_pods_wait(web: int, tmp_path: Path) -> None:
    declare(tmp_path, 50, cpu="20m")
    until("some are placed", lambda: sum(bool(pod["spec"].get("nodeName")) for pod in pods()) > 6, within=30)
    k8slab("kill", "sd", "--signal", "KILL")
    k8slab("start", "sd")
    settled(50, within=120)


def etcd_leader() -> str:
    found = [name for name, one in daemons_of(status()).items() if one["truth"].get("leader") is True]
    return found[0]


def leading_master() -> str:
    found = [name for name, one in daemons_of(status()).items() if one["truth"].get("leading") is True]
    return found[0]


@pytest.mark.parametrize(
    "who",
    ["apiserver and controller-manager", pytest.param("leading Mesos master", marks=pytest.mark.long), "etcd leader"],
)
def test_a_rollout_goes_on_without(who: str, web: int) -> None:
    targets = {
        "apiserver and controller-manager": lambda: ["api", "cm"],
        "leading Mesos master": lambda: [leading_master()],
        "etcd leader": lambda: [etcd_leader()],
    }[who]()
    turn = who.split()[0]
    k8slab("kubectl", "set", "env", "deployment/web", f"ROUND={turn}")
    until(
        "a new pod is there", lambda: len({p["metadata"]["labels"]["pod-template-hash"] for p in pods()}) > 1, within=20
    )
    k8slab("kill", *targets, "--signal", "KILL")
    threading.Event().wait(1)
    k8slab("start", *targets)
    until(
        "the rollout is done",
        lambda: k8slab("kubectl", "rollout", "status", "deployment/web", "--timeout=5s", check=False).code == 0,
        within=90,
    )
    settled(web, within=60)
    envs = [pod["spec"]["containers"][0].get("env") for pod in pods()]
    assert envs == [[{"name": "ROUND", "value": turn}]] * web


def test_a_rollout_of_a_broken_image_stops_says_why_and_is_undone(web: int, tmp_path: Path) -> None:
    declare(tmp_path, web, image="k8slab/nowhere:1")

    def refused() -> str:
        states = [one["state"] for pod in pods() for one in pod["status"].get("containerStatuses") or ()]
        return next((s["waiting"]["reason"] for s in states if "Image" in s.get("waiting", {}).get("reason", "")), "")

    assert until("the reason shows", refused, within=40) in ("ErrImagePull", "ImagePullBackOff")
    # At least three quarters stay: a fourth of four may be unavailable.
    assert sum(map(is_ready, pods())) >= 3
    described = k8slab("kubectl", "describe", "pods", "-l", "app=web").out
    assert "Failed to pull image" in described
    k8slab("kubectl", "rollout", "undo", "deployment/web")
    settled(web, within=60)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods()} == {IMAGE}


def test_scaling_up_and_down_and_deleting_leaves_what_was_asked(web: int) -> None:
    k8slab("kubectl", "scale", "deployment/web", "--replicas=2")
    settled(2, within=30)
    k8slab("kubectl", "scale", "deployment/web", "--replicas=20")
    settled(20, within=60)
    k8slab("kubectl", "scale", "deployment/web", "--replicas=2")
    settled(2, within=60)
    k8slab("kubectl", "delete", "deployment", "web")
    settled(0, within=60)
