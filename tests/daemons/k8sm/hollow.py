"""A cluster whose minions are simulated: etcd, API, master and scheduler are real, pods only say that they run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm.cluster import REPOSITORY, master_daemon
from tests.daemons.processes import Daemon, Supervisor, free_port, start_etcd


@dataclass
class Hollow:
    """``master``: host:port."""

    scheduler: Daemon
    client: KubeClient
    master: str


@asynccontextmanager
async def hollow_cluster(
    supervisor: Supervisor,
    directory: Path,
    *,
    minions: int,
    master_flags: Sequence[str] = (),
    scheduler_flags: Sequence[str] = (),
) -> AsyncIterator[Hollow]:
    """All of it, the minions registered."""
    etcd = start_etcd(supervisor)
    api_port, master_port = free_port(), free_port()
    server, master = f"http://127.0.0.1:{api_port}", f"127.0.0.1:{master_port}"
    flags = ["--address=127.0.0.1", f"--port={api_port}", f"--etcd-servers={etcd.servers}"]
    supervisor.km("apiserver", *flags, "--service-cluster-ip-range=10.0.0.0/16").start()
    master_daemon(supervisor, directory, master_port, list(master_flags)).start()
    scheduler = supervisor.km(
        "scheduler",
        "--address=127.0.0.1",
        f"--port={free_port()}",
        f"--mesos-master={master}",
        f"--api-servers={server}",
        f"--etcd-servers={etcd.servers}",
        "--km-path=/usr/local/bin/km",
        *scheduler_flags,
    ).start()
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, str(REPOSITORY / "scripts/bench_parts/hollow.py"), master, server, str(minions)),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
    )
    try:
        assert crowd.stdout is not None
        await asyncio.wait_for(crowd.stdout.readline(), 30)
        async with KubeClient(server) as client:
            await client.create("serviceaccounts", {"metadata": {"name": "default"}}, "default")
            yield Hollow(scheduler, client, master)
    finally:
        crowd.kill()
        await crowd.wait()


def hollow_pod(name: str) -> dict[str, Any]:
    limits = {"cpu": "100m", "memory": "32Mi"}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": "none", "resources": {"limits": limits}}],
        },
    }
