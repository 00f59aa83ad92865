"""How fast pods are placed and run: real etcd, API server, Mesos master and scheduler; minions without containers.

Usage: pods.py [--minions N] [--pods N] [--through pods|replicasets|deployments] [--keep] [--profile DAEMON].
The last line of stdout is JSON. ``--through``: who makes the pods; other than pods needs the controller manager.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from k8slab.kube.client import KubeClient  # noqa: E402
from tests.daemons.processes import Daemon, Supervisor, eventually, free_port, start_etcd  # noqa: E402

CREATORS = 16
LABELS = {"app": "hollow"}
Json = dict[str, Any]


class Cluster:
    def __init__(self, supervisor: Supervisor, *, controllers: bool, profile: str = "") -> None:
        etcd = start_etcd(supervisor)
        api_port, master_port, scheduler_port, controllers_port = (free_port() for _ in range(4))
        self.server = f"http://127.0.0.1:{api_port}"
        self.master = f"127.0.0.1:{master_port}"
        self.daemons: dict[str, Daemon] = {"etcd": etcd.members[0]}
        self.daemons["apiserver"] = supervisor.km(
            "apiserver",
            "--address=127.0.0.1",
            f"--port={api_port}",
            f"--etcd-servers={etcd.servers}",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--advertise-address=127.0.0.1",
        )
        self.daemons["mesos-master"] = supervisor.module(
            "mesos-master",
            "k8slab.mesos.master.main",
            "--ip=127.0.0.1",
            f"--port={master_port}",
            f"--work_dir={supervisor.directory}/master",
        )
        self.daemons["scheduler"] = supervisor.km(
            "scheduler",
            "--address=127.0.0.1",
            f"--port={scheduler_port}",
            f"--mesos-master={self.master}",
            f"--api-servers={self.server}",
            f"--etcd-servers={etcd.servers}",
            "--km-path=/usr/local/bin/km",
            "--node-monitor-period=60s",
        )
        if controllers:
            self.daemons["controller-manager"] = supervisor.km(
                "controller-manager",
                "--address=127.0.0.1",
                f"--port={controllers_port}",
                f"--master={self.server}",
                "--node-monitor-grace-period=600s",
            )
        if profile:
            daemon = self.daemons[profile]
            output = f"/tmp/k8slab-{profile}.prof"
            daemon.argv = [
                daemon.argv[0],
                "-c",
                f"import cProfile, sys, atexit; p = cProfile.Profile(); p.enable(); "
                f"atexit.register(lambda: (p.disable(), p.dump_stats({output!r}))); {daemon.argv[2]}",
                *daemon.argv[3:],
            ]
        for name, daemon in self.daemons.items():
            if name != "etcd":
                daemon.start()

    def used(self, minions: int) -> dict[str, Json]:
        """Processor seconds until now, and the largest resident size ever, in MB; the load's own processes too."""
        found = {}
        processes = {name: daemon.pid for name, daemon in self.daemons.items()}
        for name, pid in {**processes, "(minions)": minions, "(this client)": os.getpid()}.items():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
            found[name] = {"cpu_s": round(seconds, 2), "peak_mb": round(peak)}
        return found


def hollow_pod(number: int) -> Json:
    return {
        "metadata": {"name": f"hollow-{number}", "namespace": "default", "labels": LABELS},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [
                {"name": "main", "image": "none", "resources": {"limits": {"cpu": "100m", "memory": "32Mi"}}}
            ],
        },
    }


async def nodes_ready(client: KubeClient, count: int) -> None:
    async def listed() -> bool:
        return len((await client.list("nodes")).items) == count

    await eventually(listed, timeout=120, interval=0.2, what="every minion is a node")


async def create(client: KubeClient, count: int) -> float:
    """Seconds in which ``count`` pods were made, many at a time."""
    began = time.perf_counter()
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await client.create("pods", hollow_pod(number))

    await asyncio.gather(*(some() for _ in range(CREATORS)))
    return time.perf_counter() - began


async def create_workload(client: KubeClient, resource: str, count: int) -> float:
    """One object that stands for ``count`` pods."""
    pod = hollow_pod(0)
    template = {"metadata": {"labels": LABELS}, "spec": pod["spec"]}
    spec = {"replicas": count, "selector": {"matchLabels": LABELS}, "template": template}
    began = time.perf_counter()
    await client.create(resource, {"metadata": {"name": "hollow", "namespace": "default"}, "spec": spec})
    return time.perf_counter() - began


async def run_pods(client: KubeClient, count: int, through: str) -> Json:
    version = (await client.list("pods", "default")).resource_version
    created: dict[str, float] = {}
    running: dict[str, float] = {}
    hosts: Counter[str] = Counter()

    async def follow() -> None:
        async for event in client.watch("pods", "default", resource_version=version):
            now, meta = time.perf_counter(), event.object["metadata"]
            created.setdefault(meta["name"], now)
            if event.object["status"].get("phase") == "Running" and meta["name"] not in running:
                running[meta["name"]] = now
                hosts[event.object["spec"]["nodeName"]] += 1
                if len(running) == count:
                    return

    began = time.perf_counter()
    following = asyncio.create_task(follow())
    made = await (create(client, count) if through == "pods" else create_workload(client, through, count))
    await asyncio.wait_for(following, 600)
    seconds = time.perf_counter() - began
    waits = sorted(running[name] - created[name] for name in running)
    return {
        "created_s": round(made if through == "pods" else max(created.values()) - began, 2),
        "all_running_s": round(seconds, 2),
        "pods_per_s": round(count / seconds, 1),
        "created_to_running_p50_s": round(waits[len(waits) // 2], 3),
        "created_to_running_p99_s": round(waits[int(len(waits) * 0.99)], 3),
        "most_on_a_minion": max(hosts.values()),
        "minions_used": len(hosts),
    }


async def delete_pods(client: KubeClient, count: int, through: str) -> float:
    """Seconds until no pod is left after all of them were deleted together."""
    began = time.perf_counter()
    numbers = iter(range(count if through == "pods" else 0))

    async def some() -> None:
        for number in numbers:
            await client.delete("pods", f"hollow-{number}", "default")

    if through != "pods":
        await client.delete(through, "hollow", "default")
    await asyncio.gather(*(some() for _ in range(CREATORS)))

    async def none_left() -> bool:
        return not (await client.list("pods", "default")).items

    await eventually(none_left, timeout=300, interval=0.2, what="no pod is left")
    return round(time.perf_counter() - began, 2)


async def bench(given: argparse.Namespace) -> Json:
    with tempfile.TemporaryDirectory(prefix="k8slab-bench-") as folder:
        supervisor = Supervisor(Path(folder))
        crowd = None
        try:
            cluster = Cluster(supervisor, controllers=given.through != "pods", profile=given.profile)
            crowd = await asyncio.create_subprocess_exec(
                sys.executable,
                str(Path(__file__).with_name("hollow.py")),
                *(cluster.master, cluster.server, str(given.minions)),
                stdout=asyncio.subprocess.PIPE,
                env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            )
            assert crowd.stdout is not None
            await asyncio.wait_for(crowd.stdout.readline(), 300)
            began = time.perf_counter()
            async with KubeClient(cluster.server) as client:
                await nodes_ready(client, given.minions)
                nodes_s = time.perf_counter() - began
                if given.through == "pods":
                    service = {"metadata": {"name": "hollow"}, "spec": {"selector": LABELS, "ports": [{"port": 80}]}}
                    await client.create("services", service, "default")
                    await client.create("serviceaccounts", {"metadata": {"name": "default"}}, "default")
                idle = cluster.used(crowd.pid)
                figures = await run_pods(client, given.pods, given.through)
                used = cluster.used(crowd.pid)
                if not given.keep:
                    figures["deleted_s"] = await delete_pods(client, given.pods, given.through)
        finally:
            if crowd is not None:
                crowd.kill()
                await crowd.wait()
            supervisor.close()
    for name, one in used.items():
        one["cpu_s"] = round(one["cpu_s"] - idle[name]["cpu_s"], 2)
    return {"minions": given.minions, "pods": given.pods, "nodes_s": round(nodes_s, 2), **figures, "daemons": used}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench pods", description=__doc__)
    parser.add_argument("--minions", type=int, default=100)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--through", choices=["pods", "replicasets", "deployments"], default="pods")
    parser.add_argument("--keep", action="store_true", help="do not delete the pods at the end")
    parser.add_argument("--profile", default="", help="write a profile of this daemon below /tmp")
    figures = uvloop.run(bench(parser.parse_args(argv)))
    for name, value in figures.items():
        if name != "daemons":
            print(f"{name:28} {value}")
    for name, used in figures["daemons"].items():
        print(f"{name:28} {used['cpu_s']:.2f} s of a processor, {used['peak_mb']} MB at most")
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
