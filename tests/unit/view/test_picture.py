from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from k8slab.snapshot import Snapshot, as_json
from k8slab.view.picture import from_json, svg


def test_a_status_survives_its_json_form(healthy: Snapshot) -> None:
    assert from_json(json.loads(json.dumps(as_json(healthy)))) == healthy


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema 1"):
        from_json({"schema": 2, "nodes": []})


def test_the_picture_shows_the_table_and_is_the_same_each_time(healthy: Snapshot) -> None:
    picture = svg(healthy, width=112, command="k8slab status")
    text = "".join(ElementTree.fromstring(picture).itertext()).replace("\xa0", " ")
    assert "k8slab status" in text
    assert "kubernetes-minion-3" in text
    assert picture == svg(healthy, width=112, command="k8slab status")
