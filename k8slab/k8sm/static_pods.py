"""Pods that run on every minion: read from a directory once, carried to each executor in its description's data.

The data is a gzipped PodList in which every pod says what its file was called; the executor writes them into its
sandbox, where its kubelet finds them. They are part of the executor's identity: other static pods, another executor.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from k8slab.k8sm.resources import Defaults, pod_resources

FILENAME: Final = "k8s.mesosphere.io/staticPodFilename"
DIRECTORY: Final = "static-pods"

_SUFFIXES: Final = (".json", ".yaml", ".yml")


@dataclass(frozen=True)
class StaticPods:
    """``data``: what an executor gets, b"" for no pods; ``cpus``, ``mem``: what all of them take together."""

    data: bytes = b""
    cpus: float = 0.0
    mem: float = 0.0


NONE: Final = StaticPods()


def read(directory: Path, defaults: Defaults) -> StaticPods:
    """All manifests of a directory, one pod each. Raises ValueError, which names the file, and OSError."""
    pods = [_pod(path) for path in sorted(directory.iterdir()) if path.suffix in _SUFFIXES]
    if not pods:
        return NONE
    wanted = [_resources(pod, defaults) for pod in pods]
    listed = orjson.dumps({"kind": "PodList", "apiVersion": "v1", "items": pods}, option=orjson.OPT_SORT_KEYS)
    return StaticPods(
        # The same pods must give the same bytes at each start.
        data=gzip.compress(listed, mtime=0),
        cpus=round(sum(cpus for cpus, _ in wanted), 3),
        mem=round(sum(mem for _, mem in wanted), 3),
    )


def unpack(data: bytes, directory: Path) -> None:
    """Write what ``read`` packed into a directory. Raises ValueError and OSError."""
    pods: Sequence[Mapping[str, Any]] = orjson.loads(gzip.decompress(data))["items"]
    directory.mkdir(parents=True, exist_ok=True)
    for pod in pods:
        # JSON is YAML as well: whatever the file was called, it can be read.
        (directory / Path(pod["metadata"]["annotations"][FILENAME]).name).write_bytes(orjson.dumps(pod))


def _pod(path: Path) -> dict[str, Any]:
    try:
        pod = yaml.safe_load(path.read_text())
        if not isinstance(pod, dict) or pod.get("kind") != "Pod" or not pod["spec"]["containers"]:
            raise ValueError("it holds no pod")
        meta = pod["metadata"]
        annotations = {**(meta.get("annotations") or {}), FILENAME: path.name}
        return {**pod, "metadata": {**meta, "annotations": annotations}}
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"static pod {path}: {' '.join(str(error).split())}") from error


def _resources(pod: Mapping[str, Any], defaults: Defaults) -> tuple[float, float]:
    try:
        found = pod_resources(pod, defaults)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"static pod {pod['metadata']['annotations'][FILENAME]}: {error}") from error
    return found.cpus, found.mem
