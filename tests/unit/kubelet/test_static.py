"""Pods that are files, and how the API is shown them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k8slab.kube.client import ApiError, Object
from k8slab.kube.kubelet.manifests import HASH, MIRROR, ManifestError, mirror_of, mirrors, pod_in, stamps
from k8slab.kube.kubelet.static import StaticPods

NODE = {"metadata": {"name": "node-0", "uid": "n-1"}}
WEB = "metadata: {name: web, labels: {app: web}}\nspec: {containers: [{name: c, image: 'i:%d'}]}\n"


def written(directory: Path, text: str, name: str = "web.yaml") -> Path:
    (directory / name).write_text(text)
    return directory / name


def test_a_file_is_a_pod_of_its_node(tmp_path: Path) -> None:
    path = written(tmp_path, WEB % 1)
    pod = pod_in(path, "node-0")
    meta = pod["metadata"]
    assert (meta["name"], meta["namespace"], meta["labels"]) == ("web-node-0", "default", {"app": "web"})
    assert meta["annotations"][HASH] == meta["uid"]
    assert len(meta["uid"]) == 32
    assert pod["spec"]["nodeName"] == "node-0"
    assert {"operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"


def test_the_same_file_is_the_same_pod_and_a_changed_one_another(tmp_path: Path) -> None:
    path = written(tmp_path, WEB % 1)
    before = pod_in(path, "node-0")["metadata"]["uid"]
    assert pod_in(path, "node-0")["metadata"]["uid"] == before
    assert pod_in(path, "node-1")["metadata"]["uid"] != before
    assert pod_in(written(tmp_path, WEB % 1, "other.yaml"), "node-0")["metadata"]["uid"] != before
    assert pod_in(written(tmp_path, WEB % 2), "node-0")["metadata"]["uid"] != before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "expected"),
        ("just words", "it holds no object"),
        ("metadata: {name: x, creationTimestamp: 2020-13-45}", "month must be in 1..12"),
        ('metadata: {name: x}\nspec: {containers: [{name: c, image: "\\ud800"}]}', "surrogates not allowed"),
        ("kind: Service\nmetadata: {name: x}\n", "cannot be handled as a Pod"),
        ("spec: {containers: [{name: c, image: i}]}", "metadata.name: Required value"),
        ("metadata: {name: x}\nspec: {containers: nothing}\n", "cannot unmarshal string"),
        ("metadata: {name: x}\nspec: {containers: []}\n", "spec.containers"),
        (
            "metadata: {name: x}\nspec: {serviceAccountName: a, containers: [{name: c, image: i}]}",
            "a static pod may not reference objects of the API (serviceAccountName)",
        ),
        (
            "metadata: {name: x}\nspec: {containers: [{name: c, image: i}], volumes: [{name: v, secret: {}}]}",
            "a static pod may not reference objects of the API (volume v)",
        ),
    ],
)
def test_a_file_that_is_no_pod_says_why(tmp_path: Path, text: str, why: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ManifestError) as refused:
        pod_in(path, "node-0")
    assert str(refused.value).startswith(f"{path}: ")
    assert why in str(refused.value)


def test_a_file_that_goes_while_it_is_looked_at_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, going = written(tmp_path, WEB % 1), written(tmp_path, WEB % 1, "going.yaml")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    look = Path.stat

    def stat(path: Path, **how: Any) -> Any:
        shown = look(path, **how)
        if path == going:
            path.unlink()
        return shown

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        assert kept in stamps(tmp_path)
    assert set(stamps(tmp_path)) == {kept}


def test_a_mirror_shows_its_pod_and_goes_with_its_node(tmp_path: Path) -> None:
    pod = pod_in(written(tmp_path, WEB % 1), "node-0")
    shown = mirror_of(pod, NODE)
    assert "uid" not in shown["metadata"]
    (owner,) = shown["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("Node", "node-0", "n-1", True)
    assert mirrors(shown, pod)
    assert not mirrors(shown, pod_in(written(tmp_path, WEB % 2), "node-0"))


class Kubelet:
    node = "node-0"

    def __init__(self) -> None:
        self.workers: dict[str, Object] = {}
        self.said: list[tuple[str, str]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.mirrors: dict[str, str] = {}

    def add(self, pod: Object) -> None:
        self.said.append(("add", pod["spec"]["containers"][0]["image"]))
        self.workers[pod["metadata"]["uid"]] = pod

    async def kill(self, uid: str, grace: int) -> None:
        await self.may_end.wait()
        self.said.append(("kill", self.workers.pop(uid)["spec"]["containers"][0]["image"]))

    def mirrored(self, pod: Object, shown: Object) -> None:
        self.mirrors[pod["metadata"]["uid"]] = shown["metadata"]["uid"]


class Api:
    """Client and informer in one: what is written is seen at once."""

    def __init__(self) -> None:
        self.cache: dict[str, Object] = {}
        self.callbacks: list[Callable[[str, Object, Object | None], None]] = []
        self.made = 0

    async def synced(self) -> None:
        pass

    def subscribe(self, callback: Callable[[str, Object, Object | None], None]) -> None:
        self.callbacks.append(callback)

    def put(self, kind: str, pod: Object) -> None:
        key = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if kind == "DELETED":
            del self.cache[key]
        else:
            self.cache[key] = pod
        for callback in self.callbacks:
            callback(kind, pod, None)

    async def get(self, resource: str, name: str) -> Object:
        return NODE

    async def create(self, resource: str, pod: Object) -> None:
        if f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" in self.cache:
            raise ApiError(409, "AlreadyExists", "there")
        self.made += 1
        self.put("ADDED", {**pod, "metadata": {**pod["metadata"], "uid": f"m-{self.made}"}})

    async def delete(self, resource: str, name: str, namespace: str, *, grace_period_seconds: int, uid: str) -> None:
        pod = self.cache[f"{namespace}/{name}"]
        assert (grace_period_seconds, uid) == (0, pod["metadata"]["uid"])
        self.put("DELETED", pod)

    @property
    def shown(self) -> list[str]:
        return [
            pod["spec"]["containers"][0]["image"]
            for pod in self.cache.values()
            if MIRROR in pod["metadata"]["annotations"]
        ]


class Node:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubelet = Kubelet()
        self.api = Api()
        kubelet: Any = self.kubelet
        api: Any = self.api
        self.static = StaticPods(kubelet, api, directory, api)
        self.running = asyncio.create_task(self.static.run())

    async def settled(self) -> None:
        """Everybody has done what there was to do."""
        self.static.read()
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def node(tmp_path: Path) -> Any:
    made = Node(tmp_path)
    yield made
    made.running.cancel()
    await asyncio.wait([made.running])


async def test_files_run_and_are_shown(node: Node) -> None:
    written(node.directory, WEB % 1)
    written(node.directory, WEB % 9, ".hidden.yaml")
    await node.settled()
    assert node.kubelet.said == [("add", "i:1")]
    assert node.api.shown == ["i:1"]
    assert list(node.kubelet.mirrors.values()) == ["m-1"]
    assert node.static.any


@pytest.mark.parametrize("deleted", ["at once", "with grace", "replaced"])
async def test_a_mirror_comes_back(node: Node, deleted: str) -> None:
    written(node.directory, WEB % 1)
    await node.settled()
    (shown,) = node.api.cache.values()
    meta = shown["metadata"]
    if deleted == "at once":
        node.api.put("DELETED", shown)
    elif deleted == "with grace":
        node.api.put("MODIFIED", {**shown, "metadata": {**meta, "deletionTimestamp": "now"}})
    else:
        node.api.put("MODIFIED", {**shown, "metadata": {**meta, "annotations": {MIRROR: "another"}}})
    await node.settled()
    (again,) = node.api.cache.values()
    assert again["metadata"]["uid"] == "m-2"
    assert "deletionTimestamp" not in again["metadata"]
    assert node.kubelet.said == [("add", "i:1")]
    assert list(node.kubelet.mirrors.values()) == ["m-2"]


async def test_a_changed_file_takes_the_place_of_what_ran_when_that_has_ended(node: Node) -> None:
    path = written(node.directory, WEB % 1)
    await node.settled()
    node.kubelet.may_end.clear()
    written(node.directory, WEB % 2 + "\n")
    await node.settled()
    assert node.kubelet.said == [("add", "i:1")]
    node.kubelet.may_end.set()
    await node.settled()
    assert node.kubelet.said == [("add", "i:1"), ("kill", "i:1"), ("add", "i:2")]
    assert node.api.shown == ["i:2"]
    path.unlink()
    await node.settled()
    assert node.kubelet.said[3:] == [("kill", "i:2")]
    assert node.api.shown == []
    assert not node.static.any


async def test_a_slip_in_an_editor_ends_nothing(node: Node) -> None:
    written(node.directory, WEB % 1)
    await node.settled()
    written(node.directory, "metadata: {name: web")
    await node.settled()
    assert node.kubelet.said == [("add", "i:1")]
    assert node.api.shown == ["i:1"]


async def test_mirrors_of_an_earlier_life_go_and_other_pods_stay(node: Node) -> None:
    other = {"metadata": {"name": "other", "namespace": "default", "annotations": {}, "uid": "o"}, "spec": {}}
    lost = {"metadata": {"name": "lost", "namespace": "default", "annotations": {MIRROR: "x"}, "uid": "l"}, "spec": {}}
    node.api.put("ADDED", other)
    node.api.put("ADDED", lost)
    await node.settled()
    assert list(node.api.cache) == ["default/other"]
