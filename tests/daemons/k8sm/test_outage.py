"""The store of the API is away for longer than a node may be silent."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm.cluster import Pod, finish, pod, running, start
from tests.daemons.processes import Supervisor, eventually

GRACE = 6
OUTAGE = 10.0


def restarted(one: Pod) -> bool:
    return running(one) and one["status"]["containerStatuses"][0]["restartCount"] == 1


@pytest.mark.slow
async def test_an_outage_longer_than_the_grace_is_nobodys_silence(
    pod_images: None, supervisor: Supervisor, tmp_path: Path
) -> None:
    cluster = start(supervisor, tmp_path, agents=1, grace=GRACE)
    (etcd,) = cluster.etcd.members
    try:
        async with KubeClient(cluster.server) as client:
            await client.create("pods", pod("steady"))
            await client.create("pods", pod("crashing"))
            await client.create("pods", pod("ending", "trap '' TERM; while :; do sleep 1; done"))
            steady = await cluster.until(client, "steady", running)
            crashing = await cluster.until(client, "crashing", running)
            ending = await cluster.until(client, "ending", running)
            before = cluster.containers(steady)
            (node,) = cluster.hosts
            heartbeat = await heart(client, node)

            await client.delete("pods", "ending", "default", grace_period_seconds=4)
            etcd.kill()
            cluster.kill_container(crashing, "main")
            await asyncio.sleep(OUTAGE)
            await etcd.start_async()
            back = time.monotonic()

            await cluster.until(client, "crashing", restarted, timeout=10)
            await cluster.gone(client, "ending", timeout=15)
            assert cluster.containers(ending) == {}

            async def beats() -> bool:
                return await heart(client, node) != heartbeat and time.monotonic() - back > GRACE + 2

            await eventually(beats, what="the node's heart beats after the outage")
            assert "NodeNotReady" not in {one["reason"] for one in (await client.list("events")).items}
            shown = await cluster.until(client, "steady", running, timeout=1)
            assert shown["status"] == steady["status"]
            assert cluster.containers(steady) == before
    finally:
        finish(cluster)


async def heart(client: KubeClient, node: str) -> str:
    """When the node was heard of last; fails when it is not known to be ready."""
    conditions = (await client.get("nodes", node))["status"]["conditions"]
    (ready,) = [one for one in conditions if one["type"] == "Ready"]
    assert ready["status"] == "True"
    return str(ready["lastHeartbeatTime"])
