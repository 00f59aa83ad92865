"""What the daemons' tests do twice, done ten times in a row, and on the machines of a lab."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.mesos.cluster import Cluster
from tests.daemons.mesos.keeper import Keeper
from tests.daemons.mesos.test_faults import survive_leaders
from tests.daemons.processes import ZooKeeper, eventually

K8SLAB = Path(sys.executable).with_name("k8slab")
ROOT = Path(__file__).resolve().parents[2]
LAB = os.environ.get("K8SLAB_LONG_LAB", "k8s-mesos")
KILLS = 10
AGENTS = 4


@pytest.mark.timeout(900)
async def test_tasks_outlive_ten_leaders(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url("/mesos-ten-leaders")
    await survive_leaders(cluster, KILLS)


async def k8slab(*words: str) -> str:
    environment = {**os.environ, "K8SLAB_SET": os.environ.get("K8SLAB_SET", "egress=false")}
    ran = await asyncio.to_thread(
        subprocess.run, [str(K8SLAB), *words], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300
    )
    assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
    return ran.stdout


async def mesos(kind: str) -> list[dict[str, Any]]:
    shown = json.loads(await k8slab("mesos", kind, "--lab", LAB, "-o", "json"))
    return list(shown[kind])


async def leading() -> str:
    return next((master["name"] for master in await mesos("masters") if master["state"] == "leading"), "")


async def starts() -> list[str]:
    """Of the executors on all minions."""
    find = (
        "find /var/lib/mesos/slaves -path '*/executors/lifetimes/*' -name starts -not -path '*/latest/*' -exec cat {} +"
    )
    nodes = [agent["hostname"] for agent in await mesos("agents")]
    return [line for node in nodes for line in (await k8slab("exec", "--lab", LAB, node, "sh", "-c", find)).split()]


@pytest.mark.timeout(2400)
async def test_tasks_of_a_lab_outlive_ten_leaders_and_zookeepers_quorum() -> None:
    await k8slab("run", "k8s-mesos", "--lab", LAB)
    try:
        environment = json.loads(await k8slab("env", "--lab", LAB, "-o", "json"))["environment"]
        async with Keeper(environment["MESOS_MASTER"], python="python3") as kept:
            await kept.full()
            for _ in range(KILLS):
                before, killed = kept.subscriptions, await eventually(leading, timeout=60, what="a leader")
                await k8slab("kill", "--lab", LAB, f"{killed}/mm", "--signal", "KILL")
                await kept.until(lambda before=before: kept.subscriptions > before, what="another leader")
                await k8slab("start", "--lab", LAB, f"{killed}/mm")
                await kept.full()
            eternal = set(kept.eternal)
            await k8slab("kill", "--lab", LAB, "mesos-master-0/zk", "mesos-master-1/zk", "--signal", "KILL")
            await eventually(nobody_leads, timeout=60, what="all masters step down")
            before = kept.subscriptions
            await k8slab("start", "--lab", LAB, "zk", "mm")
            await kept.until(lambda: kept.subscriptions > before, what="a leader again")
            await kept.full()
            kept.count = 0
            await kept.until(lambda: kept.live == kept.eternal, what="those with an end have come to it")
            assert kept.eternal == eternal
            kept.audit(await starts())
            await kept.client.teardown()
    finally:
        await k8slab("rm", "--lab", LAB)


async def nobody_leads() -> bool:
    return not any(master["state"] == "leading" for master in await mesos("masters"))
