"""Two hundred pods on four minions for ten minutes, with something being broken all the time."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from declared import MINIONS, container_of, declare, pods, settled
from driving import daemons_of, docker, k8slab, status

PODS = 200
SECONDS = float(os.environ.get("K8SLAB_SOAK_SECONDS", "600"))
# Of ours, not of the programs that we did not write.
OURS = ("apiserver", "controller-manager", "scheduler", "mesos-master", "mesos-slave")
GROWTH = 1.2


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[None]:
    """The default lab. Its logs and states, as they were at the end, stay beside what pytest keeps of the test."""
    os.environ.setdefault("K8SLAB_SET", "egress=false")
    k8slab("rm", "--lab", "k8s-mesos")
    try:
        k8slab("run")
        yield
    finally:
        k8slab("export", str(tmp_path / "export"), check=False)
        k8slab("rm", "--lab", "k8s-mesos")


def resident() -> dict[str, int]:
    """Megabytes by "node/daemon"."""
    found = {}
    for name, one in daemons_of(status()).items():
        node, _, daemon = name.partition("/")
        if daemon in OURS and one["pid"]:
            lines = docker("exec", node, "cat", f"/proc/{one['pid']}/status").splitlines()
            found[name] = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024
    return found


def a_leader(truth: str) -> str:
    found = [name for name, one in daemons_of(status()).items() if one["truth"].get(truth) is True]
    return found[0] if found else ""


def kill_container(chance: random.Random) -> None:
    running = [pod for pod in pods() if pod["status"].get("phase") == "Running"]
    pod = chance.choice(running)
    name = chance.choice(["nginx", "POD"])
    try:
        ident = container_of(pod, name)
    except StopIteration:
        return
    k8slab("exec", pod["spec"]["nodeName"], "--", "docker", "kill", "-s", "KILL", ident, check=False)


def kill_and_start(target: str) -> None:
    if target:
        k8slab("kill", target, "--signal", "KILL")
        threading.Event().wait(2)
        k8slab("start", target)


def freeze(minion: str) -> None:
    k8slab("node", "pause", minion)
    threading.Event().wait(3)
    k8slab("node", "unpause", minion)


def delete_pod(chance: random.Random) -> None:
    name = chance.choice(pods())["metadata"]["name"]
    k8slab("kubectl", "delete", "pod", "--wait=false", name, check=False)


def faults(chance: random.Random) -> list[tuple[str, Callable[[], object]]]:
    return [
        ("a container is killed", lambda: kill_container(chance)),
        ("a container is killed", lambda: kill_container(chance)),
        ("a pod is deleted", lambda: delete_pod(chance)),
        ("scheduler", lambda: kill_and_start("sd")),
        ("controller manager", lambda: kill_and_start("cm")),
        ("API server", lambda: kill_and_start("api")),
        ("etcd's leader", lambda: kill_and_start(a_leader("leader"))),
        ("the leading master", lambda: kill_and_start(a_leader("leading"))),
        ("an agent", lambda: kill_and_start(f"{chance.choice(MINIONS)}/ms")),
        ("an engine", lambda: kill_and_start(f"{chance.choice(MINIONS)}/docker")),
        ("a minion is frozen", lambda: freeze(chance.choice(MINIONS))),
        ("a minion is started anew", lambda: k8slab("node", "restart", chance.choice(MINIONS))),
    ]


@pytest.mark.timeout(3600)
def test_two_hundred_pods_outlive_ten_minutes_of_faults(lab: None, tmp_path: Path) -> None:
    seed = int(os.environ.get("K8SLAB_SOAK_SEED", time.time()))
    print(f"K8SLAB_SOAK_SEED={seed}")
    chance = random.Random(seed)
    declare(tmp_path, PODS, cpu="10m")
    settled(PODS, within=300)
    before = resident()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        name, fault = chance.choice(faults(chance))
        print(time.strftime("%H:%M:%S", time.gmtime()), name)
        fault()
        threading.Event().wait(chance.uniform(2, 8))
    k8slab("run")
    settled(PODS, within=300)
    after = resident()
    print("resident before and after, MB:", {name: (before[name], after[name]) for name in before})
    grown = {name: (before[name], after[name]) for name in before if after[name] > before[name] * GROWTH}
    assert not grown
