"""Of several controller-managers one works, and another when that one is gone."""

from __future__ import annotations

import asyncio
import signal
import time

from k8slab.kube.client import KubeClient, Object
from tests.daemons.kube.conftest import Api, Kubectl
from tests.daemons.processes import Daemon, Supervisor, eventually, free_port

LEASE = 3
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}


def candidate(supervisor: Supervisor, api: Api, lock: str) -> Daemon:
    return supervisor.km(
        "controller-manager",
        f"--master={api.url}",
        f"--port={free_port()}",
        "--leader-elect=true",
        f"--leader-elect-resource-name={lock}",
        f"--leader-elect-lease-duration={LEASE}s",
        "--leader-elect-renew-deadline=2s",
        "--leader-elect-retry-period=200ms",
    ).start()


async def lease_of(client: KubeClient, lock: str) -> Object:
    found = await client.find("leases", lock, "kube-system")
    return found["spec"] if found else {}


async def has_pod(client: KubeClient, namespace: str, name: str) -> None:
    """Whether somebody controls shows in what is made."""
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": TEMPLATE}
    spec = {**spec, "template": {**TEMPLATE, "metadata": {"labels": {"app": name}}}}
    await client.create("replicasets", {"metadata": {"name": name}, "spec": spec}, namespace)

    async def probe() -> bool:
        return bool((await client.list("pods", namespace, label_selector=f"app={name}")).items)

    await eventually(probe, what=f"replica set {name} has its pod")


async def test_another_takes_over(
    api: Api, client: KubeClient, newest_kubectl: Kubectl, namespace: str, supervisor: Supervisor
) -> None:
    lock = namespace
    first, second = candidate(supervisor, api, lock), candidate(supervisor, api, lock)
    await has_pod(client, namespace, "one")
    held = await lease_of(client, lock)
    assert (held["leaseDurationSeconds"], held["leaseTransitions"]) == (LEASE, 0)
    leader, other = (first, second) if "leads" in first.log.read_text().split("standing by")[0] else (second, first)

    killed = time.monotonic()
    leader.kill()
    await has_pod(client, namespace, "two")
    assert time.monotonic() - killed >= LEASE - 1, "not while the one that died might be about"
    taken = await lease_of(client, lock)
    assert taken["holderIdentity"] != held["holderIdentity"]
    assert taken["leaseTransitions"] == 1

    await asyncio.to_thread(candidate, supervisor, api, lock)
    assert await asyncio.to_thread(other.stop) == 0
    left = await lease_of(client, lock)
    assert left["holderIdentity"] != taken["holderIdentity"], "one that goes in peace gives up its lease"
    await has_pod(client, namespace, "three")

    async def told() -> bool:
        said = await asyncio.to_thread(newest_kubectl, "get", "events", "-n", "kube-system")
        return said.count(f"lease/{lock}") >= 4 and "became leader" in said and "stopped leading" in said

    await eventually(told, what="events about who leads")


async def test_a_leader_that_was_stopped_for_a_while_does_not_go_on_as_one(
    api: Api, client: KubeClient, namespace: str, supervisor: Supervisor
) -> None:
    lock = namespace
    first = candidate(supervisor, api, lock)
    await has_pod(client, namespace, "one")
    first.signal(signal.SIGSTOP)
    second = await asyncio.to_thread(candidate, supervisor, api, lock)
    await has_pod(client, namespace, "two")
    first.signal(signal.SIGCONT)

    async def gave_up() -> bool:
        return "leader election lost" in first.log.read_text()

    await eventually(gave_up, what="the first one notices that it leads no more")
    assert await asyncio.to_thread(second.stop) == 0
    await has_pod(client, namespace, "three")
    assert first.returncode is None, "it stood by, and leads again"
