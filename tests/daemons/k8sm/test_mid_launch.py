"""A scheduler that dies while it launches many pods: every pod runs once. The minions are simulated."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm.cluster import REPOSITORY, master_daemon
from tests.daemons.processes import Daemon, Supervisor, eventually, free_port, start_etcd

PODS = 150
MINIONS = 5


def hollow_pod(number: int) -> dict[str, Any]:
    limits = {"cpu": "100m", "memory": "32Mi"}
    return {
        "metadata": {"name": f"hollow-{number}", "namespace": "default"},
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}],
        },
    }


@pytest.fixture
async def hollow(supervisor: Supervisor, tmp_path: Path) -> AsyncIterator[tuple[Daemon, str, str]]:
    """The scheduler, the API's address and the master's, with minions that have no containers."""
    etcd = start_etcd(supervisor)
    api_port, master_port = free_port(), free_port()
    server, master = f"http://127.0.0.1:{api_port}", f"127.0.0.1:{master_port}"
    flags = ["--address=127.0.0.1", f"--port={api_port}", f"--etcd-servers={etcd.servers}"]
    supervisor.km("apiserver", *flags, "--service-cluster-ip-range=10.0.0.0/16").start()
    master_daemon(supervisor, tmp_path, master_port, []).start()
    scheduler = supervisor.km(
        "scheduler",
        "--address=127.0.0.1",
        f"--port={free_port()}",
        f"--mesos-master={master}",
        f"--api-servers={server}",
        f"--etcd-servers={etcd.servers}",
        "--km-path=/usr/local/bin/km",
    ).start()
    minions = await asyncio.create_subprocess_exec(
        *(sys.executable, str(REPOSITORY / "scripts/bench_parts/hollow.py"), master, server, str(MINIONS)),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
    )
    try:
        assert minions.stdout is not None
        await asyncio.wait_for(minions.stdout.readline(), 30)
        yield scheduler, server, master
    finally:
        minions.kill()
        await minions.wait()


async def test_a_scheduler_killed_while_it_launches_runs_every_pod_once(hollow: tuple[Daemon, str, str]) -> None:
    scheduler, server, master = hollow
    async with KubeClient(server) as client, aiohttp.ClientSession() as http:
        await client.create("serviceaccounts", {"metadata": {"name": "default"}}, "default")

        async def phases() -> Counter[str]:
            return Counter(one["status"]["phase"] for one in (await client.list("pods", "default")).items)

        async def some_run() -> bool:
            return (await phases())["Running"] > 0

        async def all_run() -> bool:
            return await phases() == {"Running": PODS}

        async def tasks() -> list[dict[str, Any]]:
            async with http.get(f"http://{master}/tasks?limit=1000") as answer:
                return [
                    one for one in (await answer.json(content_type=None))["tasks"] if one["state"] == "TASK_RUNNING"
                ]

        creating = [asyncio.create_task(client.create("pods", hollow_pod(number))) for number in range(PODS)]
        await eventually(some_run, interval=0.01, what="the first pods run")
        scheduler.kill()
        await asyncio.gather(*creating)
        assert not await all_run()
        await scheduler.start_async()
        await eventually(all_run, timeout=30, what="all pods run")

        async def each_has_one_task() -> bool:
            running = Counter(one["name"] for one in await tasks())
            return len(running) == PODS and set(running.values()) == {1}

        await eventually(each_has_one_task, what="every pod has one task in Mesos")
        for pod in (await client.list("pods", "default")).items:
            await client.delete("pods", pod["metadata"]["name"], "default")

        async def nothing_left() -> bool:
            return not await phases() and not await tasks()

        await eventually(nothing_left, timeout=30, what="no pod and no task is left")
