"""Files that change all at once, and places in volumes."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from k8slab.kube.client import ApiUnavailable, Object
from k8slab.kube.kubelet import atomic
from k8slab.kube.kubelet.atomic import File
from k8slab.kube.kubelet.payload import VolumeError
from k8slab.kube.kubelet.volumes import PodDirectory
from tests.unit.kubelet.pods import Shelf, a_config_map, a_container, a_pod


def shown(directory: Path) -> dict[str, str]:
    """What a reader finds: visible path → content."""
    return {
        str(path.relative_to(directory)): path.read_text()
        for name in directory.iterdir()
        if not name.name.startswith("..")
        for path in ([name] if name.is_file() else name.rglob("*"))
        if path.is_file()
    }


def test_a_change_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    assert atomic.write(tmp_path, {"a": File(b"1", 0o644), "d/x": File(b"old", 0o400), "gone": File(b"", 0o644)})
    data = tmp_path / "..data"
    before = data.readlink()
    reader = (tmp_path / "d").resolve()
    assert atomic.write(tmp_path, {"a": File(b"2", 0o644), "d/x": File(b"new", 0o400), "e": File(b"3", 0o600)})
    assert shown(tmp_path) == {"a": "2", "d/x": "new", "e": "3"}
    assert data.readlink() != before
    assert not reader.exists()
    assert (tmp_path / "a").readlink() == Path("..data/a")
    assert stat.S_IMODE((tmp_path / "e").stat().st_mode) == 0o600


def test_what_is_the_same_is_not_written_again(tmp_path: Path) -> None:
    files = {"a": File(b"1", 0o644)}
    assert atomic.write(tmp_path, files)
    before = (tmp_path / "..data").readlink()
    assert not atomic.write(tmp_path, files)
    assert (tmp_path / "..data").readlink() == before
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("..2")] == [str(before)]


def test_an_interrupted_change_is_finished_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "..2026_01_01_00_00_00.half").mkdir()
    (tmp_path / "..data_tmp").symlink_to("..2026_01_01_00_00_00.half")
    atomic.write(tmp_path, {"a": File(b"1", 0o644)})
    assert sorted(one.name[:3] for one in tmp_path.iterdir()) == ["..2", "..d", "a"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_files_are_given_to_the_pods_group(tmp_path: Path) -> None:
    atomic.write(tmp_path, {"a": File(b"1", 0o600, owner=5)}, group=77)
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (5, 77, 0o640)


class Api(Shelf):
    away = False

    async def find(self, pod: Any, resource: str, name: str) -> Object | None:
        if self.away:
            raise ApiUnavailable("the API is away")
        return await super().find(pod, resource, name)


async def test_what_holds_more_than_it_may_is_told_when_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("k8slab.kube.kubelet.volumes.time.monotonic", lambda: now[0])
    pod = a_pod(volumes=[{"name": "free", "emptyDir": {}}, {"name": "v", "emptyDir": {"sizeLimit": "16Ki"}}])
    directory = PodDirectory(tmp_path, "u-1", Shelf())
    assert directory.measures(pod)
    found = await directory.prepare(pod)
    for path in found.values():
        (path / "deep").mkdir()
        (path / "deep/file").write_bytes(b"x" * 12_000)
    assert await directory.overfull(pod) == ""
    (found["v"] / "more").write_bytes(b"x" * 12_000)
    now[0] = 9.0
    assert await directory.overfull(pod) == ""
    now[0] = 10.0
    assert await directory.overfull(pod) == 'Usage of EmptyDir volume "v" exceeds the limit "16Ki". '
    assert not directory.measures(a_pod(volumes=[{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1"}}]))


MOUNT = {"name": "conf", "mountPath": "/c"}
POD = a_pod(a_container(volumeMounts=[MOUNT]), volumes=[{"name": "conf", "configMap": {"name": "conf"}}])


async def test_files_follow_their_object_while_they_are_in_use(tmp_path: Path) -> None:
    api = Api(a_config_map("conf", {"a": "1"}))
    directory = PodDirectory(tmp_path, "u-1", api)
    await directory.refresh(POD)
    assert not (tmp_path / "pods").exists()
    path = (await directory.prepare(POD))["conf"]
    api.objects["configmaps", "conf"] = a_config_map("conf", {"a": "2", "b": "3"})
    await directory.refresh(POD)
    assert shown(path) == {"a": "2", "b": "3"}
    del api.objects["configmaps", "conf"]
    with pytest.raises(VolumeError, match=r'MountVolume\.SetUp failed for volume "conf" : configmap "conf" not found'):
        await directory.refresh(POD)
    assert shown(path) == {"a": "2", "b": "3"}


async def test_nobody_else_on_the_node_sees_what_pods_have(tmp_path: Path) -> None:
    directory = PodDirectory(tmp_path, "u-1", Shelf())
    await directory.prepare(a_pod(volumes=[{"name": "v", "emptyDir": {}}]))
    for path in (tmp_path / "pods", tmp_path / "pods" / "u-1" / "volumes"):
        assert path.is_dir()
    assert stat.S_IMODE((tmp_path / "pods").stat().st_mode) == 0o750


async def test_another_kubelet_goes_on_with_the_files_while_the_api_is_away(tmp_path: Path) -> None:
    api = Api(a_config_map("conf", {"a": "1"}))
    path = (await PodDirectory(tmp_path, "u-1", api).prepare(POD))["conf"]
    api.away = True
    assert (await PodDirectory(tmp_path, "u-1", api).prepare(POD))["conf"] == path
    with pytest.raises(VolumeError, match="the API is away"):
        await PodDirectory(tmp_path, "u-2", api).prepare(POD)


class Places:
    """What a container with one mount finds at a path in its volume ``v``."""

    def __init__(self, root: Path) -> None:
        self._directory = PodDirectory(root, "u-1", Shelf())
        self.volume = root / "v"
        self.volume.mkdir()

    def find(self, path: str, **options: str) -> Path:
        container = a_container(volumeMounts=[{**MOUNT, **options}])
        (found,) = self._directory.sources(container, {"conf": self.volume}, [path])
        return found

    async def close(self) -> None:
        await self._directory.remove()


@pytest.fixture
async def places(tmp_path: Path) -> AsyncIterator[Places]:
    made = Places(tmp_path)
    yield made
    await made.close()
    assert not (tmp_path / "pods" / "u-1").exists()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")


@needs_root
async def test_a_place_in_a_volume_is_made_with_the_volumes_own_rights(places: Places) -> None:
    places.volume.chmod(0o777)
    found = places.find("a/b")
    assert found.samefile(places.volume / "a/b")
    assert stat.S_IMODE(found.stat().st_mode) == 0o777
    assert stat.S_IMODE((places.volume / "a").stat().st_mode) == 0o777


@needs_root
async def test_a_place_in_a_volume_stays_what_it_is_whatever_becomes_of_its_path(places: Places) -> None:
    (places.volume / "data").mkdir()
    (places.volume / "data/own").write_text("mine")
    (places.volume / "link").symlink_to("data")
    found = places.find("link")
    (places.volume / "data").rename(places.volume / "moved")
    (places.volume / "data").symlink_to("/etc")
    assert [one.name for one in found.iterdir()] == ["own"]
    # The container's next attempt, which finds a file.
    (places.volume / "link").unlink()
    (places.volume / "link").write_text("a file")
    assert places.find("link").read_text() == "a file"
    await places.close()
    assert (places.volume / "moved/own").read_text() == "mine"


@needs_root
async def test_what_becomes_a_link_while_it_is_looked_at_is_not_followed(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places.volume / "a").symlink_to("/etc")
    # As it was a moment ago.
    monkeypatch.setattr(os.path, "realpath", str)
    with pytest.raises(VolumeError, match="'a' leads out of its volume"):
        places.find("a")


@needs_root
async def test_what_is_held_by_a_mount_outlives_its_pod(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "alias").symlink_to("root")
    places = Places(tmp_path / "alias")
    (places.find("a") / "kept").touch()
    await places.close()
    assert (places.volume / "a/kept").exists()
    assert not (tmp_path / "root/pods/u-1").exists()


@needs_root
async def test_no_name_in_a_volume_means_something_else_to_the_engine(places: Places) -> None:
    (places.volume / "x").symlink_to("/")
    (places.volume / "x:").mkdir()
    assert ":" not in str(places.find("x:/etc"))


async def test_the_place_itself_is_for_pods_whose_mounts_the_node_sees(places: Places) -> None:
    assert places.find("a", mountPropagation="Bidirectional") == places.volume / "a"


@pytest.mark.parametrize("path", ["../x", "/etc", "link/passwd", "a/../../x"])
async def test_no_place_is_outside_of_its_volume(places: Places, path: str) -> None:
    (places.volume / "link").symlink_to("/etc")
    with pytest.raises(VolumeError, match="failed to prepare subPath"):
        places.find(path)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("Directory", "is not a directory"),
        ("File", "is not a file"),
        ("Socket", "is not a socket file"),
        ("CharDevice", "is not a character device"),
        ("BlockDevice", "is not a block device"),
    ],
)
async def test_a_place_on_the_node_must_be_what_it_is_said_to_be(tmp_path: Path, kind: str, why: str) -> None:
    path = tmp_path / "thing"
    volume = {"name": "host", "hostPath": {"path": str(path), "type": kind}}
    directory = PodDirectory(tmp_path, "u-1", Shelf())
    with pytest.raises(VolumeError, match=f'volume "host" : hostPath type check failed: {path} {why}'):
        await directory.prepare(a_pod(volumes=[volume]))
    something_else = path.touch if kind == "Directory" else path.mkdir
    something_else()
    with pytest.raises(VolumeError, match=f'volume "host" : hostPath type check failed: {path} {why}'):
        await directory.prepare(a_pod(volumes=[volume]))


async def test_a_place_on_the_node_is_made_when_asked_for(tmp_path: Path) -> None:
    volumes = [
        {"name": "d", "hostPath": {"path": str(tmp_path / "d/e"), "type": "DirectoryOrCreate"}},
        {"name": "f", "hostPath": {"path": str(tmp_path / "f"), "type": "FileOrCreate"}},
    ]
    found = await PodDirectory(tmp_path, "u-1", Shelf()).prepare(a_pod(volumes=volumes))
    assert found["d"].is_dir()
    assert found["f"].is_file()
