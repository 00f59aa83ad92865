"""The kubelet and the engine: images from the node's store, logs, and what an earlier kubelet left behind."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest
from aiodocker.containers import DockerContainer

from k8slab.kube.client import KubeClient
from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.engine import Engine, EngineUnavailable
from k8slab.kube.kubelet.images import ImageError, Images
from k8slab.kube.kubelet.kubelet import Kubelet
from k8slab.kube.kubelet.probes import Result, Target, probe
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import Cluster, pod, running
from tests.daemons.processes import eventually

STORED = f"k8sm-test/stored:{images.TAG}"


def docker(*argv: str) -> str:
    return subprocess.run(["docker", *argv], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
async def engine(pod_images: None) -> AsyncIterator[Engine]:
    made = Engine("unix:///var/run/docker.sock")
    yield made
    await made.close()


@pytest.fixture
def store(pod_images: None, tmp_path: Path) -> Iterator[Path]:
    """A store with one image, which the engine does not have."""
    with_note = docker("create", "--label", "note=stored", images.SHELL)
    identity = docker("commit", "--change", "LABEL note=stored", with_note, STORED)
    docker("rm", with_note)
    docker("save", "-o", str(tmp_path / "stored.tar"), STORED)
    docker("rmi", "-f", identity)
    (tmp_path / "index.json").write_bytes(orjson.dumps({STORED: {"id": identity, "file": "stored.tar"}}))
    yield tmp_path
    subprocess.run(["docker", "rmi", "-f", STORED], check=False, capture_output=True)


async def test_an_engine_is_asked_for_a_few_starts_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0
    start = DockerContainer.start

    async def counted(container: DockerContainer) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await start(container)
        finally:
            under_way -= 1

    monkeypatch.setattr(DockerContainer, "start", counted)
    names = [f"k8sm-test-start-{random.getrandbits(32):08x}" for _ in range(10)]
    config = {"Image": images.SHELL, "Cmd": ["sleep", "60"], "HostConfig": {"NetworkMode": "none"}}
    try:
        made = await asyncio.gather(*(engine.create(name, config) for name in names))
        await asyncio.gather(*map(engine.start, made))
        assert [(await engine.inspect(one) or {})["State"]["Running"] for one in made] == [True] * len(made)
        assert most == 4
    finally:
        await asyncio.gather(*map(engine.remove, names))


async def test_an_image_of_the_store_is_loaded_once(engine: Engine, store: Path) -> None:
    wanted = orjson.loads((store / "index.json").read_bytes())[STORED]["id"]
    made = Images(engine, store)
    first = await made.ensure(STORED, "IfNotPresent")
    assert first.id == wanted
    assert "loaded" in first.how
    (store / "stored.tar").unlink()
    again = await made.ensure(STORED, "IfNotPresent")
    assert (again.id, "already present" in again.how) == (wanted, True)


async def test_an_older_image_gives_way_to_the_stores(engine: Engine, store: Path) -> None:
    docker("tag", images.SHELL, STORED)
    wanted = orjson.loads((store / "index.json").read_bytes())[STORED]["id"]
    assert (await Images(engine, store).ensure(STORED, "IfNotPresent")).id == wanted
    assert await engine.image_id(STORED) == wanted


async def test_without_a_store_the_engines_own_image_does(engine: Engine, tmp_path: Path) -> None:
    found = await Images(engine, tmp_path / "none").ensure(images.SHELL, "Never")
    assert found.id == await engine.image_id(images.SHELL)


async def test_an_image_nobody_has(engine: Engine, tmp_path: Path) -> None:
    made = Images(engine, tmp_path)
    with pytest.raises(ImageError) as never:
        await made.ensure("k8sm-test/none:1", "Never")
    assert never.value.reason == "ErrImageNeverPull"
    with pytest.raises(ImageError) as first:
        await made.ensure("127.0.0.1:9/none:1", "IfNotPresent")
    assert first.value.reason == "ErrImagePull"
    with pytest.raises(ImageError) as second:
        await made.ensure("127.0.0.1:9/none:1", "IfNotPresent")
    assert second.value.reason == "ImagePullBackOff"
    assert second.value.retry > 5


async def test_an_engine_that_is_away_is_told_apart_from_one_that_refuses(tmp_path: Path) -> None:
    away = Engine(f"unix://{tmp_path / 'none.sock'}")
    with pytest.raises(EngineUnavailable):
        await away.containers({})
    await away.close()


async def test_containers_of_pods_that_are_no_more_are_collected(engine: Engine, tmp_path: Path) -> None:
    node = f"k8sm-test-{random.randrange(16**6):06x}"

    def leave(uid: str, owner: str) -> str:
        labels = [f"{naming.LABEL_NODE}={owner}", f"{naming.LABEL_UID}={uid}"]
        return docker("run", "-d", *(word for one in labels for word in ("--label", one)), images.SHELL)

    gone, wanted, foreign = leave("u-gone", node), leave("u-wanted", node), leave("u-gone", f"{node}-other")
    try:
        kubelet = Kubelet(
            KubeClient("http://127.0.0.1:9"),
            engine,
            node=node,
            address="127.0.0.1",
            image_store=tmp_path,
            root=tmp_path,
        )
        for uid in ("u-gone", "u-wanted", "u-nothing-but-this"):
            (tmp_path / "pods" / uid / "volumes").mkdir(parents=True)
        await kubelet.collect({"u-wanted"})
        # A container of u-gone is still there, and may use its directory.
        assert {entry.name for entry in (tmp_path / "pods").iterdir()} == {"u-gone", "u-wanted"}
        assert await engine.inspect(gone) is None
        assert await engine.inspect(wanted) is not None
        assert await engine.inspect(foreign) is not None
    finally:
        docker("rm", "-f", wanted, foreign)


async def test_a_probe_that_takes_too_long_leaves_no_process(engine: Engine) -> None:
    container = docker("run", "-d", images.SHELL)
    try:
        target = Target(engine, container, {"name": "main"}, "")
        command = ["/bin/sh", "-c", "sleep 601 & sleep 602; exit 0"]
        result = await probe(target, {"exec": {"command": command}, "timeoutSeconds": 1})
        assert result == Result(False, 'command "/bin/sh -c sleep 601 & sleep 602; exit 0" timed out')

        async def alone() -> bool:
            (_, *shown) = docker("top", container, "-o", "pid,args").splitlines()
            return [line.split(None, 1)[1] for line in shown] == ["sleep 3600"]

        await eventually(alone, what="nothing but the container's own process runs")
        well = await probe(target, {"exec": {"command": ["/bin/sh", "-c", "echo yes"]}})
        assert well == Result(True, "yes\n")
    finally:
        docker("rm", "-f", container)


async def test_logs_can_be_followed_cut_and_looked_back_at(cluster: Cluster, client: KubeClient) -> None:
    command = "if [ -e /once/x ]; then echo second; exec sleep 1000; fi; : > /once/x; echo first; echo more; exit 1"
    mount = {"volumeMounts": [{"name": "once", "mountPath": "/once"}]}
    await client.create("pods", pod("talks", command, container=mount, volumes=[{"name": "once", "emptyDir": {}}]))

    def second_run(one: dict[str, object]) -> bool:
        return running(one) and one["status"]["containerStatuses"][0]["restartCount"] == 1  # type: ignore[index]

    await cluster.until(client, "talks", second_run)
    assert cluster.kubectl("logs", "talks") == "second\n"
    assert cluster.kubectl("logs", "talks", "--previous") == "first\nmore\n"
    assert cluster.kubectl("logs", "talks", "--previous", "--tail=1") == "more\n"
    assert cluster.kubectl("logs", "talks", "--limit-bytes=3") == "sec"

    follower = await asyncio.create_subprocess_exec(
        "kubectl", f"--server={cluster.server}", "logs", "-f", "talks", stdout=asyncio.subprocess.PIPE
    )
    assert follower.stdout is not None
    assert await asyncio.wait_for(follower.stdout.readline(), 20) == b"second\n"
    await client.delete("pods", "talks", "default", grace_period_seconds=0)
    assert await asyncio.wait_for(follower.wait(), 20) == 0


async def test_limits_are_in_the_engine(cluster: Cluster, client: KubeClient) -> None:
    limits = {"resources": {"limits": {"cpu": "250m", "memory": "48Mi"}}}
    await client.create("pods", pod("limited", container=limits))
    shown = await cluster.until(client, "limited", running)
    assert shown["status"]["qosClass"] == "Guaranteed"
    identity = shown["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")
    host = orjson.loads(docker("inspect", identity))[0]["HostConfig"]
    assert (host["CpuQuota"], host["CpuPeriod"], host["Memory"]) == (25_000, 100_000, 48 * 1024 * 1024)

    async def counted() -> bool:
        node = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{shown['spec']['nodeName']}")
        return bool(orjson.loads(node)["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("docker://"))

    await eventually(counted, what="the node names its engine")
