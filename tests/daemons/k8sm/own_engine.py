"""An engine of a test's own, which may be killed: in a network of its own, with its own data, keeping what it runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from k8slab.kube.client import KubeClient
from k8slab.kube.kubelet import mounts
from k8slab.kube.kubelet.engine import Engine
from k8slab.kube.kubelet.kubelet import Kubelet
from tests.daemons.k8sm import images
from tests.daemons.processes import Daemon, Supervisor


class OwnEngine:
    def __init__(self, supervisor: Supervisor, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        # Sockets lie below it, whose paths may be no longer than a hundred letters, and a test's folder is deep.
        self._run = Path(tempfile.mkdtemp(prefix="k8slab-"))
        self.endpoint = f"unix://{self._run / 'docker.sock'}"
        self._daemon: Daemon = supervisor.daemon(
            "dockerd",
            [
                *("unshare", "--net", "dockerd", "--log-level=warn", "--live-restore", "--storage-driver=vfs"),
                *(f"--data-root={directory / 'data'}", f"--exec-root={self._run / 'exec'}"),
                *(f"--pidfile={directory / 'pid'}", f"--host={self.endpoint}"),
            ],
            ready=self._answers,
        )

    def docker(self, *words: str) -> str:
        command = ["docker", "--host", self.endpoint, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def containers(self) -> dict[str, str]:
        """Name → id, dead ones too."""
        listed = self.docker("ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}")
        return dict(line.split() for line in listed.splitlines())

    def start(self) -> None:
        self._daemon.start()

    def load_images(self) -> None:
        saved = subprocess.run(["docker", "save", images.PAUSE, images.SHELL], check=True, capture_output=True).stdout
        subprocess.run(["docker", "--host", self.endpoint, "load"], input=saved, check=True, capture_output=True)

    def kill(self, *, with_containers: bool = False) -> None:
        """As a crash ends it, and with it, when that is wanted, everything that it runs."""
        pids = self.docker("ps", "-q").split() if with_containers else []
        processes = [int(self.docker("inspect", "-f", "{{.State.Pid}}", one)) for one in pids]
        self._daemon.kill()
        for process in processes:
            os.kill(process, signal.SIGKILL)
        # Its containerd has ended with it. Where nobody reaps orphans, its number still looks like one that runs.
        (self._run / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        if self._daemon.returncode is not None:
            self.start()
        if left := self.containers():
            self.docker("rm", "-f", *left.values())
        self._daemon.stop()
        for folder in (self._directory, self._run):
            for path in mounts.below(folder):
                mounts.unmount(path)
        shutil.rmtree(self._run)

    def _answers(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return bool(self.docker("version"))
        return False


@asynccontextmanager
async def own_kubelet(client: KubeClient, endpoint: str, node: str, root: Path) -> AsyncIterator[Kubelet]:
    """A kubelet without any Mesos."""
    engine = Engine(endpoint)
    kubelet = Kubelet(
        client,
        engine,
        node=node,
        address="127.0.0.1",
        image_store=root / "images",
        infra_image=images.PAUSE,
        root=root,
    )
    running = asyncio.create_task(kubelet.run())
    try:
        yield kubelet
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await engine.close()
