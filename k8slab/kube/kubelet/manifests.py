"""Pods that are files on the node: one pod each, as JSON or YAML, found again under the same uid while unchanged."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from k8slab.kube.api import bodies
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.client import Object
from k8slab.kube.clock import rfc3339

HASH: Final = "kubernetes.io/config.hash"
SOURCE: Final = "kubernetes.io/config.source"
SEEN: Final = "kubernetes.io/config.seen"
MIRROR: Final = "kubernetes.io/config.mirror"


class ManifestError(Exception):
    """A file that is no pod; one sentence."""


@dataclass(frozen=True)
class Stamp:
    """By which a change of a file is seen."""

    modified: int
    size: int
    inode: int


def stamps(directory: Path) -> dict[Path, Stamp]:
    """All files that may be pods; none while the directory is not there."""
    found: dict[Path, Stamp] = {}
    for path in sorted(directory.glob("*")):
        if path.name.startswith("."):
            continue
        try:
            shown = path.stat()
        except OSError:
            # Editors make files and rename them while nobody looks.
            continue
        if stat.S_ISREG(shown.st_mode):
            found[path] = Stamp(shown.st_mtime_ns, shown.st_size, shown.st_ino)
    return found


def pod_in(path: Path, node: str) -> Object:
    """The pod in a file, complete and placed on the node. Raises ManifestError."""
    try:
        # A file that is being written is not valid yet: it is read again when it has changed.
        loaded = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError) as error:
        # A date such as 2020-13-45 is a mere ValueError.
        raise ManifestError(f"{path}: {error}") from error
    if not isinstance(loaded, dict):
        raise ManifestError(f"{path}: it holds no object")
    try:
        pod, _ = bodies.decoded(POD, {"apiVersion": "v1", "kind": "Pod", **loaded})
        meta = pod.setdefault("metadata", {})
        if not meta.get("name"):
            raise ManifestError(f"{path}: metadata.name: Required value")
        _place(pod, path, node)
        POD.default(pod)
        problems = [*POD.validate(pod, None), *_references(pod)]
    except ApiFailure as error:
        raise ManifestError(f"{path}: {error.message}") from error
    except TypeError as error:
        # Half of a surrogate pair is text in YAML, and in no JSON.
        raise ManifestError(f"{path}: {error}") from error
    if problems:
        raise ManifestError(f"{path}: {'; '.join(str(problem) for problem in problems)}")
    return pod


def mirror_of(pod: Object, node: Mapping[str, Any]) -> Object:
    """The pod as the API is shown it: it goes with its node, and whoever deletes it finds it again."""
    meta = pod["metadata"]
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": node["metadata"]["name"],
        "uid": node["metadata"]["uid"],
        "controller": True,
    }
    shown = {key: meta[key] for key in ("name", "namespace", "labels") if key in meta}
    annotations = {**meta["annotations"], MIRROR: meta["annotations"][HASH]}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {**shown, "annotations": annotations, "ownerReferences": [owner]},
        "spec": pod["spec"],
    }


def is_mirror(pod: Mapping[str, Any]) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})


def mirrors(shown: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether the API's pod shows this very static pod, and not an earlier form of it."""
    return bool((shown["metadata"].get("annotations") or {}).get(MIRROR) == pod["metadata"]["annotations"][HASH])


def _place(pod: Object, path: Path, node: str) -> None:
    meta, spec = pod["metadata"], pod.setdefault("spec", {})
    written = orjson.dumps(pod, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.md5(b"\0".join((node.encode(), str(path).encode(), written)), usedforsecurity=False).hexdigest()
    meta["name"] = f"{meta['name']}-{node}"
    meta["namespace"] = meta.get("namespace") or "default"
    meta["uid"] = digest
    seen = rfc3339()
    meta["annotations"] = {**(meta.get("annotations") or {}), HASH: digest, SOURCE: "file", SEEN: seen}
    meta["creationTimestamp"] = seen
    spec["nodeName"] = node
    # Nothing that befalls its node drives it away.
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    pod["status"] = {}


def _references(pod: Object) -> list[str]:
    """What it may not refer to: it must run while no API is there."""
    spec = pod["spec"]
    found = ["serviceAccountName"] if spec.get("serviceAccountName") else []
    volumes = spec.get("volumes") or ()
    found += [f"volume {one['name']}" for one in volumes if {"configMap", "secret", "projected"} & one.keys()]
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            sources = [variable.get("valueFrom") or {} for variable in container.get("env") or ()]
            named = any({"configMapKeyRef", "secretKeyRef"} & source.keys() for source in sources)
            if named or container.get("envFrom"):
                found.append(f"variables of container {container['name']}")
    return [f"a static pod may not reference objects of the API ({where})" for where in found]
