from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from k8slab.k8sm import static_pods
from k8slab.k8sm.resources import Defaults
from k8slab.k8sm.scheduler.settings import settings
from tests.unit.k8sm.samples import a_pod

FLAGS = ["--api-servers=a", "--address=1.2.3.4", "--km-path=/km"]


def manifest(directory: Path, name: str, text: str = "") -> None:
    one = a_pod(name.partition(".")[0], limits={"cpu": "500m", "memory": "64Mi"})
    (directory / name).write_text(text or yaml.safe_dump(one))


def test_static_pods_reach_the_executor_and_are_counted_with_it(tmp_path: Path) -> None:
    manifest(tmp_path, "logger.yaml")
    manifest(tmp_path, "beacon.json")
    (tmp_path / "README").write_text("not one")
    flags = settings([*FLAGS, f"--static-pods-config={tmp_path}"])
    assert (flags.executor.cpus, flags.executor.mem) == (1.25, 256)
    there = tmp_path / "sandbox" / static_pods.DIRECTORY
    static_pods.unpack(base64.b64decode(flags.executor.info()["data"]), there)
    assert sorted(path.name for path in there.iterdir()) == ["beacon.json", "logger.yaml"]
    read = yaml.safe_load((there / "logger.yaml").read_text())
    assert read["metadata"]["annotations"]["k8s.mesosphere.io/staticPodFilename"] == "logger.yaml"
    assert read["spec"]["containers"][0]["name"] == "web"


def test_other_static_pods_make_another_executor_and_the_same_ones_do_not(tmp_path: Path) -> None:
    plain = settings(FLAGS).executor
    manifest(tmp_path, "logger.yaml")
    flags = [*FLAGS, f"--static-pods-config={tmp_path}"]
    first = settings(flags).executor
    assert first == settings(flags).executor
    assert first.id != plain.id
    manifest(tmp_path, "beacon.yaml")
    assert settings(flags).executor.id != first.id


def test_a_directory_without_manifests_changes_nothing(tmp_path: Path) -> None:
    assert static_pods.read(tmp_path, Defaults()) == static_pods.NONE
    assert settings([*FLAGS, f"--static-pods-config={tmp_path}"]).executor == settings(FLAGS).executor


@pytest.mark.parametrize("text", ["kind: Service", "{", "- a", "kind: Pod\nspec: {containers: []}"])
def test_a_file_that_holds_no_pod_is_named(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    manifest(tmp_path, "broken.yaml", text)
    with pytest.raises(SystemExit):
        settings([*FLAGS, f"--static-pods-config={tmp_path}"])
    said = capsys.readouterr().err
    assert "broken.yaml" in said
    assert len(said.strip().splitlines()) == 1
