"""What goes into an image: the same content gives the same bytes and the same name, other content another."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

import k8slab
from k8slab.errors import BuildFailed, UsageError
from k8slab.lab.images import archive, catalogue, files, python, workshop
from k8slab.lab.images.builder import selected
from k8slab.lab.images.files import Entry
from k8slab.lab.images.recipes import NGINX, PodRecipe, Recipe
from k8slab.lab.images.store import split


def test_a_tar_does_not_depend_on_the_order_of_its_entries() -> None:
    entries = [Entry("/etc/b", b"2"), Entry("/etc/a", b"1", 0o755), Entry("/usr/lib/x/y", b"3")]
    assert files.tar(entries) == files.tar(reversed(entries))
    with tarfile.open(fileobj=io.BytesIO(files.tar(entries))) as tree:
        modes = {info.name: oct(info.mode) for info in tree}
    assert modes["etc/a"] == "0o755"
    assert modes["usr/lib/x"] == "0o755"
    assert modes["etc/b"] == "0o644"


def test_the_digest_sees_content_path_and_mode() -> None:
    entry = Entry("/etc/a", b"1")
    others = [Entry("/etc/b", b"1"), Entry("/etc/a", b"2"), Entry("/etc/a", b"1", 0o755)]
    digests = {files.digest_entries([each]) for each in (entry, *others)}
    assert len(digests) == 4
    assert files.digest_entries([entry]) == files.digest_entries([replace(entry, mtime=99)])


def test_the_project_goes_along_whole_with_programs_and_without_compiled_files() -> None:
    paths = {entry.path: entry for entry in files.project()}
    assert f"{files.APP}/k8slab/daemon.py" in paths
    assert paths[f"{files.APP}/k8slab/__init__.py"].content == Path(k8slab.__file__).read_bytes()
    assert paths["/usr/local/bin/km"].mode == paths["/usr/lib/k8slab/init"].mode == 0o755
    assert not [path for path in paths if path.endswith(".pyc") or "__pycache__" in path or "/rootfs/" in path]


def test_requirements_are_those_of_the_daemons() -> None:
    names = {line.split(">")[0] for line in python.requirements()}
    assert {"aiohttp", "kazoo", "uvloop"} <= names
    assert not names & {"docker", "rich", "typer", "pydantic"}


def test_wheel_platforms_go_from_new_to_old() -> None:
    platforms = python.Target("3.11", "x86_64", "2.36").platforms
    assert platforms[0] == "manylinux_2_36_x86_64"
    assert "manylinux_2_17_x86_64" in platforms
    assert "manylinux2014_x86_64" in platforms
    assert "manylinux_2_37_x86_64" not in platforms


def _layer(**contents: str) -> bytes:
    return files.tar([Entry(f"/{name}", text.encode(), mtime=1700000000) for name, text in contents.items()])


def test_a_pod_image_has_the_id_of_its_content() -> None:
    first = archive.pack(NGINX, archive.settled(_layer(a="1", b="2")), architecture="amd64", content="x")
    again = archive.pack(NGINX, archive.settled(_layer(b="2", a="1")), architecture="amd64", content="x")
    other = archive.pack(NGINX, archive.settled(_layer(a="1", b="3")), architecture="amd64", content="x")
    assert first == again
    assert other.id != first.id
    with tarfile.open(fileobj=io.BytesIO(first.data)) as saved:
        manifest = json.load(saved.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        config = saved.extractfile(manifest["Config"]).read()  # type: ignore[union-attr]
        layer = saved.extractfile(manifest["Layers"][0]).read()  # type: ignore[union-attr]
    assert first.id == f"sha256:{hashlib.sha256(config).hexdigest()}"
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert manifest["RepoTags"] == [NGINX.name]
    assert archive.repack(NGINX.name, first.data) == first


def test_every_recipe_stands_on_earlier_ones() -> None:
    seen: set[str] = set()
    for recipe in catalogue():
        if isinstance(recipe, Recipe):
            assert {recipe.parent, *recipe.pod_images} - {""} <= seen
        seen.add(recipe.name)


CARRIED = ["k8slab/pause:1", "k8slab/nginx:1.22", "k8slab/redis:7", "k8slab/guestbook:1"]


def test_an_image_is_built_with_all_it_stands_on() -> None:
    names = [recipe.name for recipe in selected(catalogue(), ["minion"])]
    assert names == ["k8slab/base", *CARRIED, "k8slab/minion"]
    assert [recipe.name for recipe in selected(catalogue(), ["k8slab/etcd:latest"])] == ["k8slab/base", "k8slab/etcd"]
    assert any(isinstance(recipe, PodRecipe) for recipe in selected(catalogue(), ["nginx"]))


def test_a_wrong_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as raised:
        selected(catalogue(), ["minon"])
    assert "Did you mean minion?" in raised.value.remedy


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("k8slab/etcd", ("k8slab/etcd", "latest")),
        ("k8slab/nginx:1.22", ("k8slab/nginx", "1.22")),
        ("registry.lab:5000/x", ("registry.lab:5000/x", "latest")),
    ],
)
def test_names_are_split_at_the_tag(name: str, parts: tuple[str, str]) -> None:
    assert split(name) == parts


def test_lines_come_whole_whatever_the_pieces() -> None:
    assert list(workshop.lines(iter([b"on", b"e\r\ntw", b"o\n25%\r50%", b"\rlast"]))) == [
        "one",
        "two",
        "25%",
        "50%",
        "last",
    ]


@pytest.mark.parametrize("output", ["dpkg: No space left on device", "write /x: no space left on device"])
def test_a_full_disk_has_its_own_remedy(output: str) -> None:
    error = workshop.failed("k8slab/etcd", "installing etcd", output=output)
    assert isinstance(error, BuildFailed)
    assert "disk is full" in error.what
    assert "docker system df" in error.remedy


def test_a_builder_that_is_no_more_is_told_from_one_at_work() -> None:
    own = workshop.mark()
    pid, started = own.split("-")
    assert not workshop.Workshop._orphan(f"k8slab-build-{own}-1", own)
    gone = f"{pid}-{int(started) - 1}"
    assert workshop.Workshop._orphan(f"k8slab-build-{gone}-1", gone)
    assert not workshop.Workshop._orphan("kubernetes-minion-0", gone)
    assert not workshop.Workshop._orphan("kubernetes-minion-0", "")
