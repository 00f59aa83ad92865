"""Kubernetes on Mesos as processes on loopback: etcd, apiserver, controller-manager, master, agents, scheduler.

The executors that the agents start run their pods in this machine's Docker Engine; nodes have random names, so that
nothing of anybody else is ever touched.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k8slab.kube.client import KubeClient
from k8slab.kube.kubelet import mounts
from tests.daemons.k8sm import images
from tests.daemons.processes import Daemon, Etcd, Supervisor, ZooKeeper, eventually, free_port, start_etcd

REPOSITORY = Path(__file__).parents[3]
# Nobody answers there: it is only written into the pods' files.
CLUSTER_DNS = "10.0.0.10"
# Seconds for which a node may be silent.
GRACE = 12

Pod = dict[str, Any]


@dataclass
class Cluster:
    supervisor: Supervisor
    directory: Path
    etcd: Etcd
    addresses: list[str]
    hosts: list[str]
    api: Daemon
    masters: list[Daemon]
    scheduler: Daemon
    controllers: Daemon
    agents: list[Daemon]
    server: str
    secure_server: str
    leader: str
    scheduler_url: str
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def master(self) -> Daemon:
        """The first one."""
        return self.masters[0]

    def another_scheduler(self, *flags: str) -> tuple[Daemon, str]:
        """One more scheduler of this cluster, not started, and its address."""
        port = free_port()
        more = _kept_in(self.etcd, flags)
        daemon = scheduler_daemon(self.supervisor, self.directory, self.server, self.leader, port, *more)
        return daemon, f"http://127.0.0.1:{port}"

    def kubectl(self, *argv: str, stdin: str = "") -> str:
        """What kubectl prints; fails the test when kubectl does."""
        done = subprocess.run(
            ["kubectl", f"--server={self.server}", "--cache-dir", str(self.directory / "kubectl"), *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "KUBECONFIG": "/dev/null"},
        )
        assert done.returncode == 0, f"kubectl {' '.join(argv)}: {done.stderr}"
        return done.stdout

    def containers(self, pod: Pod, *, alive_only: bool = False) -> dict[str, str]:
        """Name → id of the pod's containers in the engine, dead ones too."""
        command = ["docker", "ps", "--no-trunc", "--format", "{{.Names}} {{.ID}}"]
        command += ["--filter", f"label=io.kubernetes.pod.uid={pod['metadata']['uid']}"]
        listed = subprocess.run(command + ([] if alive_only else ["-a"]), check=True, capture_output=True, text=True)
        return dict(line.split() for line in listed.stdout.splitlines())

    def kill_container(self, pod: Pod, container: str) -> None:
        (found,) = [one for name, one in self.containers(pod).items() if name.startswith(f"k8s_{container}_")]
        subprocess.run(["docker", "kill", found], check=True, capture_output=True)

    def executors(self, agent: int) -> list[int]:
        """Process ids of the executors below an agent's work directory."""
        home = str(self.directory / f"agent-{agent}")
        found = []
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            try:
                if (
                    str((process / "cwd").readlink()).startswith(home)
                    and b"executor" in (process / "cmdline").read_bytes()
                ):
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def agent_of(self, pod: Pod) -> int:
        return self.hosts.index(pod["spec"]["nodeName"])

    async def get(self, client: KubeClient, name: str) -> Pod | None:
        return await client.find("pods", name, "default")

    async def until(
        self, client: KubeClient, name: str, holds: Callable[[Pod], Any], *, timeout: float = 30.0, what: str = ""
    ) -> Pod:
        """The pod as soon as ``holds(pod)``."""

        async def probe() -> Pod | None:
            pod = await self.get(client, name)
            return pod if pod is not None and holds(pod) else None

        found = await eventually(probe, timeout=timeout, interval=0.1, what=what or f"pod {name}")
        assert found is not None
        return found

    async def gone(self, client: KubeClient, name: str, *, timeout: float = 30.0) -> None:
        async def probe() -> bool:
            return await self.get(client, name) is None

        await eventually(probe, timeout=timeout, interval=0.1, what=f"pod {name} is gone")


def start(
    supervisor: Supervisor,
    directory: Path,
    *,
    agents: int = 2,
    zookeeper: ZooKeeper | None = None,
    grace: int = GRACE,
    scheduler_flags: Sequence[str] = (),
) -> Cluster:
    """A whole cluster, every daemon ready: one master, or three when there is a ZooKeeper for them to elect by.

    ``grace``: seconds that a node may be silent for. Node names and loopback addresses are random.
    """
    net = f"127.{random.randint(20, 250)}.{random.randint(1, 250)}"
    addresses = [f"{net}.{index + 10}" for index in range(agents)]
    tag = f"k8sm-test-{random.randrange(16**6):06x}"
    hosts = [f"{tag}-{index}" for index in range(agents)]
    km = directory / "km"
    km.parent.mkdir(parents=True, exist_ok=True)
    km.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m k8slab.k8sm.km "$@"\n')
    km.chmod(0o755)
    etcd = start_etcd(supervisor)
    api_port, secure_port, scheduler_port, controllers_port = (free_port() for _ in range(4))
    server = f"http://127.0.0.1:{api_port}"
    api = supervisor.km(
        "apiserver",
        "--address=127.0.0.1",
        f"--port={api_port}",
        f"--secure-port={secure_port}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={directory / 'pki'}",
        f"--etcd-servers={etcd.servers}",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--advertise-address=127.0.0.1",
    ).start()
    ports = [free_port() for _ in range(3 if zookeeper else 1)]
    election = [f"--zk={zookeeper.url(tag)}", "--quorum=2", "--zk_session_timeout=3secs"] if zookeeper else []
    masters = [master_daemon(supervisor, directory, port, election) for port in ports]
    leader = zookeeper.url(tag) if zookeeper else f"127.0.0.1:{ports[0]}"
    started = [
        agent_daemon(supervisor, directory, index, address=addresses[index], host=hosts[index], master=leader)
        for index in range(agents)
    ]
    scheduler = scheduler_daemon(
        supervisor, directory, server, leader, scheduler_port, *_kept_in(etcd, scheduler_flags)
    )
    controllers = supervisor.km(
        "controller-manager",
        "--address=127.0.0.1",
        f"--port={controllers_port}",
        f"--master={server}",
        "--cloud-provider=mesos",
        f"--root-ca-file={directory / 'pki' / 'ca.crt'}",
        f"--node-monitor-grace-period={grace}s",
        "--node-monitor-period=1s",
    )
    for daemon in (*masters, *started, scheduler, controllers):
        daemon.start()
    return Cluster(
        supervisor=supervisor,
        directory=directory,
        etcd=etcd,
        addresses=addresses,
        hosts=hosts,
        api=api,
        masters=masters,
        scheduler=scheduler,
        controllers=controllers,
        agents=started,
        server=server,
        secure_server=f"https://127.0.0.1:{secure_port}",
        leader=leader,
        scheduler_url=f"http://127.0.0.1:{scheduler_port}",
        seconds={daemon.name: daemon.seconds_to_ready for daemon in (api, *masters, *started, scheduler, controllers)},
    )


def _kept_in(etcd: Etcd, flags: Sequence[str]) -> list[str]:
    """The flags with etcd named where it is needed; elsewhere the framework id is kept by the API."""
    return [*flags, f"--etcd-servers={etcd.servers}"] if "--ha" in flags else list(flags)


def finish(cluster: Cluster) -> None:
    """End what the agents started, and remove every container of the cluster's nodes."""
    for daemon in (cluster.scheduler, *cluster.agents):
        daemon.stop()
    for agent in range(len(cluster.agents)):
        for pid in cluster.executors(agent):
            os.kill(pid, signal.SIGKILL)
    for host in cluster.hosts:
        if left := containers_of_node(host):
            subprocess.run(["docker", "rm", "-f", *left], check=True, capture_output=True)
    for path in mounts.below(cluster.directory / "kubelet"):
        mounts.unmount(path)


def containers_of_node(host: str) -> list[str]:
    command = ["docker", "ps", "-aq", "--filter", f"label=io.kubernetes.node.name={host}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def master_daemon(supervisor: Supervisor, directory: Path, port: int, election: list[str]) -> Daemon:
    return supervisor.module(
        "mesos-master",
        "k8slab.mesos.master.main",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--hostname=localhost",
        f"--work_dir={directory / f'master-{port}'}",
        "--agent_ping_timeout=1secs",
        "--max_agent_ping_timeouts=3",
        *election,
    )


def agent_daemon(
    supervisor: Supervisor, directory: Path, index: int, *, address: str, host: str, master: str
) -> Daemon:
    return supervisor.module(
        "mesos-slave",
        "k8slab.mesos.agent.main",
        f"--master={master}",
        f"--ip={address}",
        "--port=5051",
        f"--hostname={host}",
        f"--work_dir={directory / f'agent-{index}'}",
        "--resources=cpus:2;mem:1024;disk:1000;ports:[31000-31100]",
        f"--attributes=rack:r{index}",
    )


def scheduler_daemon(
    supervisor: Supervisor, directory: Path, server: str, master: str, port: int, *more: str
) -> Daemon:
    return supervisor.km(
        "scheduler",
        "--address=127.0.0.1",
        f"--port={port}",
        f"--mesos-master={master}",
        f"--api-servers={server}",
        f"--km-path={directory / 'km'}",
        f"--kubelet-root-dir={directory / 'kubelet'}",
        f"--kubelet-pod-infra-container-image={images.PAUSE}",
        f"--cluster-dns={CLUSTER_DNS}",
        "--node-monitor-period=3s",
        # Its rules would be this machine's own.
        "--run-proxy=false",
        "-v=2",
        *more,
    )


def pod(name: str, command: str = "exec sleep 3600", *, container: Mapping[str, Any] | None = None, **spec: Any) -> Pod:
    main = {"name": "main", "image": images.SHELL, "command": ["/bin/sh", "-c", command], **(container or {})}
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": [main], "terminationGracePeriodSeconds": 2, **spec},
    }


def running(one: Pod) -> bool:
    return bool((one.get("status") or {}).get("phase") == "Running") and ready(one)


def ready(one: Pod) -> bool:
    conditions = (one.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def state(one: Pod) -> dict[str, Any]:
    """The state of the pod's first container."""
    statuses = (one.get("status") or {}).get("containerStatuses") or [{}]
    return dict(statuses[0].get("state") or {})
