"""The API server on real etcd, and every kubectl that is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.processes import Daemon, Etcd, Supervisor, free_port

CLOUD_SDK = Path("/usr/lib/google-cloud-sdk/bin")
WITHOUT_ACCOUNTS = "--disable-admission-plugins=ServiceAccount"
MODULE = "k8slab.kube.api.main"


@dataclass
class Api:
    daemon: Daemon
    url: str


@dataclass(frozen=True)
class Kubectl:
    """One real kubectl, with a home of its own so that nothing of the host's is read or cached."""

    binary: str
    server: str
    home: Path

    def run(self, *words: str, stdin: str | None = None, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        return subprocess.run(
            [self.binary, "--server", self.server, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env,
            check=False,
        )

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        """The standard output of a command that must succeed."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *words: str, stdin: str | None = None) -> str:
        """The standard error of a command that must fail."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode != 0, f"kubectl {' '.join(words)} should have failed\n{done.stdout}"
        return done.stderr


def kubectls() -> dict[str, str]:
    """Version → binary of all that are at hand: the Cloud SDK's, and one of 1.20 (Debian's) named by KUBECTL_1_20."""
    found = {}
    if CLOUD_SDK.is_dir():
        found = {path.name.removeprefix("kubectl."): str(path) for path in sorted(CLOUD_SDK.glob("kubectl.1.*"))}
    old = os.environ.get("KUBECTL_1_20", "")
    if old and Path(old).exists():
        found["1.20"] = old
    if not found and (own := shutil.which("kubectl")):
        found["own"] = own
    return found


def chosen_kubectls() -> list[str]:
    """All of them when ALL_KUBECTLS is set, as in long runs; else the oldest, and 1.32 or else the newest."""
    found = sorted(kubectls(), key=lambda version: [int(part) for part in version.split(".") if part.isdigit()])
    if os.environ.get("ALL_KUBECTLS"):
        return found
    return sorted({found[0], "1.32" if "1.32" in found else found[-1]}, key=found.index) if found else []


def start_api(supervisor: Supervisor, etcd: Etcd, *flags: str) -> Api:
    port = free_port()
    # Nobody makes service accounts here: that is the controllers' work.
    own = (f"--port={port}", f"--etcd-servers={etcd.servers}", "--portal_net=10.0.0.0/16", WITHOUT_ACCOUNTS)
    daemon = supervisor.module("apiserver", MODULE, *own, *flags)
    daemon.start()
    return Api(daemon, f"http://127.0.0.1:{port}")


@pytest.fixture(scope="session")
def kube_etcd(session_supervisor: Supervisor) -> Etcd:
    """An etcd of these tests' own: the registry has one place in it."""
    from tests.daemons.processes import start_etcd

    return start_etcd(session_supervisor)


@pytest.fixture(scope="session")
def api(session_supervisor: Supervisor, kube_etcd: Etcd) -> Api:
    """One server for the whole session: use a namespace of your own in it."""
    return start_api(session_supervisor, kube_etcd)


@pytest.fixture
async def client(api: Api) -> AsyncIterator[KubeClient]:
    async with KubeClient(api.url) as client:
        yield client


@pytest.fixture
async def namespace(client: KubeClient, request: pytest.FixtureRequest) -> str:
    created = await client.create("namespaces", {"metadata": {"generateName": "test-"}})
    return str(created["metadata"]["name"])


@pytest.fixture(params=chosen_kubectls())
def kubectl(request: pytest.FixtureRequest, api: Api, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectls()[request.param], api.url, tmp_path)


@pytest.fixture
def newest_kubectl(api: Api, tmp_path: Path) -> Kubectl:
    """For what no version of kubectl has a part in."""
    return Kubectl(kubectls()[chosen_kubectls()[-1]], api.url, tmp_path)


@pytest.fixture
def apis(supervisor: Supervisor) -> Iterator[Callable[..., Api]]:
    """``apis(etcd, *flags)`` starts a server that belongs to this test alone."""
    yield lambda etcd, *flags: start_api(supervisor, etcd, *flags)
