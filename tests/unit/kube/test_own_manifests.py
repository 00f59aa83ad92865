"""What the project itself hands to an API server is taken by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8slab.kube.api import bodies
from k8slab.kube.api.kinds import KINDS

ROOT = Path(__file__).parents[3]
# Those of elder versions are for clients of their own.
SERVED = {(one.api_version, one.kind): one for one in KINDS}


def manifests() -> Iterator[Any]:
    for folder in ("examples", "topologies"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".yaml", ".json"):
                for number, one in enumerate(yaml.safe_load_all(path.read_text())):
                    if isinstance(one, dict) and (one.get("apiVersion"), one.get("kind")) in SERVED:
                        yield pytest.param(one, id=f"{path.relative_to(ROOT)}:{number}")


FOUND = list(manifests())


def test_there_are_some() -> None:
    assert len(FOUND) > 8


@pytest.mark.parametrize("manifest", FOUND)
def test_a_manifest_is_taken(manifest: dict[str, Any]) -> None:
    kind = SERVED[manifest["apiVersion"], manifest["kind"]]
    obj, unknown = bodies.decoded(kind, manifest)
    assert unknown == []
    obj["metadata"]["uid"] = "u"
    kind.default(obj)
    kind.prepare(obj, None)
    assert [str(one) for one in kind.validate(obj, None)] == []
