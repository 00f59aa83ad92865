from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.patches import json_patch, merge
from k8slab.kube.api.strategic import strategic

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3),
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
    assert first == {"name": "a", "image": "y", "ports": [{"containerPort": 81}, {"containerPort": 80}]}
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
    assert strategic(meta, gone, "ObjectMeta") == {"finalizers": ["c", "b"]}


def test_conditions_merge_by_type() -> None:
    status = {"conditions": [{"type": "Ready", "status": "False"}, {"type": "MemoryPressure", "status": "False"}]}
    patched = strategic(status, {"conditions": [{"type": "Ready", "status": "True"}]}, "NodeStatus")
    assert [one["status"] for one in patched["conditions"]] == ["True", "False"]


@pytest.mark.parametrize(
    ("there", "patch", "result"),
    [
        ("abc", {"containers": [{"name": "n"}]}, "nabc"),
        ("abc", {"containers": [{"name": "c"}, {"name": "a"}]}, "bca"),
        ("abc", {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}, "bca"),
        (
            "ab",
            {"$setElementOrder/containers": [{"name": n} for n in "abn"], "containers": [{"name": "n"}]},
            "abn",
        ),
        ("abc", {"containers": [{"name": "b", "$patch": "delete"}, {"name": "a"}]}, "ac"),
        ("abc", {"containers": [{"$patch": "replace"}, {"name": "n"}]}, "n"),
        ("abc", {"containers": None}, ""),
    ],
)
def test_the_order_of_merged_lists(there: str, patch: dict[str, Any], result: str) -> None:
    patched = strategic({"containers": [{"name": name} for name in there]}, patch, "PodSpec")
    assert "".join(one["name"] for one in patched.get("containers", ())) == result


def test_what_is_replaced_as_a_whole_and_what_is_kept() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert strategic({"strategy": strategy}, patch, "DeploymentSpec") == {"strategy": {"type": "Recreate"}}
    budget = {"selector": {"matchLabels": {"a": "1"}}}
    other = {"selector": {"matchLabels": {"b": "2"}}}
    assert strategic(budget, other, "PodDisruptionBudgetSpec") == other
    assert strategic({"a": {"b": 1}}, {"a": {"$patch": "delete"}}, "ConfigMap") == {"a": {}}


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"$patch": "shuffle"}, "unknown patch type: shuffle"),
        ({"containers": [{"image": "x"}]}, "does not contain declared merge key: name"),
        ({"containers": ["x"]}, "expected a map"),
        ({"containers": [{"name": "x", "$patch": "merge"}]}, "merging lists cannot yet be specified"),
        ({"$retainKeys": ["a"], "hostname": "x"}, "invalid patch format of retainKeys"),
        ({"$setElementOrder/containers": {}}, "invalid patch format of setElementOrder list"),
        (
            {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]},
            "doesn't match $setElementOrder/containers list",
        ),
    ],
)
def test_a_strategic_patch_that_says_nothing_sensible(patch: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiFailure) as failure:
        strategic({"containers": [{"name": "a"}]}, patch, "PodSpec")
    assert failure.value.code == 400
    assert said in failure.value.message


NAMES = st.lists(st.sampled_from("abcdef"), unique=True)


@given(NAMES, NAMES, NAMES)
def test_a_list_patch_merges_deletes_and_orders(there: list[str], named: list[str], gone: list[str]) -> None:
    wanted = [name for name in named if name not in gone]
    changes = [{"name": name, "image": "new"} for name in wanted]
    patch = {"containers": [*changes, *({"name": name, "$patch": "delete"} for name in gone)]}
    spec = {"containers": [{"name": name, "image": "old"} for name in there]}
    patched = strategic(spec, patch, "PodSpec")["containers"]
    names = [one["name"] for one in patched]
    assert set(names) == (set(there) | set(wanted)) - set(gone)
    assert len(names) == len(set(names))
    assert [name for name in names if name in wanted] == wanted
    kept = [name for name in there if name not in wanted and name not in gone]
    assert [name for name in names if name not in wanted] == kept
    assert all(one["image"] == ("new" if one["name"] in wanted else "old") for one in patched)
    assert strategic({"containers": patched}, patch, "PodSpec")["containers"] == patched


@given(JSON, JSON)
def test_a_json_patch_makes_of_one_what_the_other_is(one: Any, other: Any) -> None:
    operations = [{"op": "test", "path": "", "value": one}, {"op": "replace", "path": "", "value": other}]
    assert json_patch(one, operations) == other


@given(st.dictionaries(st.text(max_size=3), JSON, min_size=1, max_size=4), st.data())
def test_what_is_added_can_be_moved_tested_and_removed(target: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(target)))
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    fresh = path + "+"
    assert json_patch(target, [{"op": "remove", "path": path}]) == {k: v for k, v in target.items() if k != key}
    there = [
        {"op": "copy", "from": path, "path": fresh},
        {"op": "test", "path": fresh, "value": target[key]},
        {"op": "move", "from": fresh, "path": path},
    ]
    if f"{key}+" not in target:
        assert json_patch(target, there) == target


@pytest.mark.parametrize(("one", "other"), [(True, 1), (0, False), ([1], [True]), ({"a": 1}, {"a": True}), ("1", 1)])
def test_a_test_tells_types_apart(one: Any, other: Any) -> None:
    with pytest.raises(ApiFailure):
        json_patch({"x": one}, [{"op": "test", "path": "/x", "value": other}])
    assert json_patch({"x": 1}, [{"op": "test", "path": "/x", "value": 1.0}]) == {"x": 1}


@pytest.mark.parametrize("index", ["01", "-1", "²", "1.0", "", "9" * 12])
def test_an_index_that_is_none(index: str) -> None:
    for op in ("add", "replace", "remove"):
        with pytest.raises(ApiFailure) as failure:
            json_patch({"a": [1, 2]}, [{"op": op, "path": f"/a/{index}", "value": 1}])
        assert failure.value.code == 422


def test_a_value_cannot_be_moved_into_itself_nor_grow_without_bounds() -> None:
    with pytest.raises(ApiFailure):
        json_patch({"a": {"b": {}}}, [{"op": "move", "from": "/a", "path": "/a/b/c"}])
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 60
    with pytest.raises(ApiFailure):
        json_patch({"a": ["x" * 1000]}, doubling)
    with pytest.raises(ApiFailure) as failure:
        json_patch({}, [{"op": "test", "path": "/a", "value": None}] * 10_001)
    assert failure.value.code == 413


@given(
    JSON,
    st.lists(
        st.dictionaries(
            st.sampled_from(["op", "path", "from", "value"]),
            JSON | st.sampled_from(["add", "move", "copy", "remove", "replace", "test", "/", "/a", ""]),
            max_size=4,
        ),
        max_size=3,
    ),
)
def test_any_json_patch_is_applied_or_refused(target: Any, operations: list[dict[str, Any]]) -> None:
    try:
        json_patch(target, operations)
    except ApiFailure as failure:
        assert failure.code in (400, 422)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "$patch", "$retainKeys", "$setElementOrder/x"]), JSON))
def test_any_strategic_patch_is_applied_or_refused(patch: dict[str, Any]) -> None:
    try:
        strategic({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c"}]}}, patch, "Pod")
    except ApiFailure as failure:
        assert failure.code == 400
