"""Every kind through unmodified kubectls: created, listed, described, changed where it may be, deleted."""

from __future__ import annotations

import json
import re

import pytest

from tests.daemons.kube.conftest import Kubectl
from tests.daemons.kube.manifests import CLUSTER, NAMESPACED, Manifest

KINDS = {one.kind: one for one in (*NAMESPACED, *CLUSTER)}


def minor(kubectl: Kubectl) -> int:
    found = re.search(r"GitVersion:\"v1\.(\d+)|gitVersion: v1\.(\d+)", kubectl("version", "--client", "-o", "yaml"))
    assert found is not None
    return int(found[1] or found[2])


def cells(row: str) -> str:
    """A printed row without its name, with what differs from run to run by a word."""
    text = " ".join(row.split()[1:])
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "DATE", text)
    text = re.sub(r"batch.kubernetes.io/controller-uid=\S+", "ANY", text)
    return re.sub(r"(?<=[ ])\d+s(?= |$)|^\d+s(?= |$)", "AGE", text)


@pytest.mark.parametrize("name", KINDS)
def test_create_get_describe_and_delete_of_every_kind(kubectl: Kubectl, namespace: str, name: str) -> None:
    one = KINDS[name]
    inside = ("-n", namespace) if one in NAMESPACED else ()
    if one.kind == "ResourceQuota":
        kubectl("create", "configmap", "first", *inside)
    done = kubectl("create", *inside, "-f", "-", stdin=one.yaml)
    assert re.fullmatch(r"[a-z.0-9]+/x1 created\n", done)
    try:
        row = kubectl("get", one.resource, "x1", *inside, "-o", "wide", "--no-headers")
        assert re.fullmatch(re.escape(one.row).replace("ANY", r"\S*"), cells(row)) or cells(row) == one.row, row
        stored = json.loads(kubectl("get", one.resource, "x1", *inside, "-o", "json"))
        assert stored["apiVersion"].rpartition("/")[0] == one.api_version.rpartition("/")[0]
        assert stored["metadata"]["uid"]
        assert kubectl("apply", *inside, "-f", "-", stdin=one.yaml).endswith(" configured\n"), "apply leaves its mark"
        version = kubectl("get", one.resource, "x1", *inside, "-o", "jsonpath={.metadata.resourceVersion}")
        # Some lists are replaced as a whole and sent each time, which must not change anything either.
        kubectl("apply", *inside, "-f", "-", stdin=one.yaml)
        assert kubectl("get", one.resource, "x1", *inside, "-o", "jsonpath={.metadata.resourceVersion}") == version
        if minor(kubectl) >= one.since:
            described = kubectl("describe", one.resource, "x1", *inside)
            assert re.search(r"^Name: +x1$", described, re.M)
        if one in NAMESPACED:
            assert "x1" in kubectl("get", one.resource, "-A", "-o", "name")
    finally:
        gone = kubectl("delete", one.resource, "x1", *inside)
    assert '"x1"' in gone
    assert "NotFound" in kubectl.fails("get", one.resource, "x1", *inside)


def test_every_manifest_is_of_its_own_kind() -> None:
    assert len(KINDS) == len(NAMESPACED) + len(CLUSTER)
    assert all(isinstance(one, Manifest) for one in KINDS.values())
