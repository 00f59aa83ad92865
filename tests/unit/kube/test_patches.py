from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.patches import json_patch, merge, strategic

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        (["a"], {"a": "c"}, {"a": "c"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result


@given(JSON, JSON)
def test_a_merge_patch_applied_twice_is_applied_once(target: Any, patch: Any) -> None:
    once = merge(target, patch)
    assert merge(once, patch) == once


def test_json_patch() -> None:
    target = {"a": [1, 2], "b": {"c/d": 1}}
    operations = [
        {"op": "test", "path": "/a/0", "value": 1},
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "add", "path": "/a/0", "value": 0},
        {"op": "replace", "path": "/b/c~1d", "value": 2},
        {"op": "copy", "from": "/b", "path": "/e"},
        {"op": "move", "from": "/b", "path": "/f"},
        {"op": "remove", "path": "/a/1"},
    ]
    assert json_patch(target, operations) == {"a": [0, 2, 3], "e": {"c/d": 2}, "f": {"c/d": 2}}
    assert target == {"a": [1, 2], "b": {"c/d": 1}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/a/b", "value": 1},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "a", "value": 1},
    ],
)
def test_a_json_patch_that_does_not_fit(operation: dict[str, Any]) -> None:
    with pytest.raises(ApiFailure) as failure:
        json_patch({"a": 1}, [operation])
    assert failure.value.code == 422


def test_containers_merge_by_name_and_ports_by_number() -> None:
    pod = {"spec": {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}, {"name": "b"}]}}
    patch = {"spec": {"containers": [{"name": "a", "image": "y", "ports": [{"containerPort": 81}]}]}}
    patched = strategic(pod, patch, "Pod")
    first, second = patched["spec"]["containers"]
    assert first == {"name": "a", "image": "y", "ports": [{"containerPort": 80}, {"containerPort": 81}]}
    assert second == {"name": "b"}


def test_strategic_directives() -> None:
    spec = {
        "containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "x"}],
        "nodeSelector": {"rack": "1", "disk": "ssd"},
    }
    patch = {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "containers": [{"name": "b", "$patch": "delete"}],
        "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}],
        "tolerations": [{"key": "y"}],
        "nodeSelector": {"$patch": "replace", "zone": "z"},
    }
    assert strategic(spec, patch, "PodSpec") == {
        "containers": [{"name": "c"}, {"name": "a"}],
        "volumes": [{"name": "v", "hostPath": {"path": "/x"}}],
        "tolerations": [{"key": "y"}],
        "nodeSelector": {"zone": "z"},
    }
    meta = {"finalizers": ["a", "b"]}
    gone = {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}
    assert strategic(meta, gone, "ObjectMeta") == {"finalizers": ["b", "c"]}


def test_conditions_merge_by_type() -> None:
    status = {"conditions": [{"type": "Ready", "status": "False"}, {"type": "MemoryPressure", "status": "False"}]}
    patched = strategic(status, {"conditions": [{"type": "Ready", "status": "True"}]}, "NodeStatus")
    assert [one["status"] for one in patched["conditions"]] == ["True", "False"]
