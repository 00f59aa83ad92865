from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.kube.api.apply import applying, fieldsets, managed
from k8slab.kube.api.apply.managed import Writer
from k8slab.kube.api.apply.typed import compare, field_set, merge, shape_of
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.pod import POD

DEPLOYMENT = Kind(kind="Deployment", plural="deployments", singular="deployment", group="apps", status=True)
STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}'])
PATHS = st.frozensets(st.lists(STEPS, min_size=1, max_size=3).map(tuple), max_size=6)


def tree(paths: frozenset[tuple[str, ...]]) -> fieldsets.Fields:
    found: fieldsets.Fields = {}
    for path in paths:
        one: fieldsets.Fields = {}
        for step in reversed(path):
            one = {step: one}
        found = fieldsets.union(found, one)
    return found


def members(fields: fieldsets.Fields) -> frozenset[tuple[str, ...]]:
    return frozenset(fieldsets.paths(fields))


@given(PATHS, PATHS)
def test_sets_of_paths_are_sets(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> None:
    assert members(tree(one)) == one
    assert members(fieldsets.union(tree(one), tree(other))) == one | other
    assert members(fieldsets.difference(tree(one), tree(other))) == one - other
    assert members(fieldsets.intersection(tree(one), tree(other))) == one & other
    below = {path for path in one if any(path[: len(gone)] == gone for gone in other)}
    assert members(fieldsets.without(tree(one), tree(other))) == one - below


def test_paths_are_shown_as_messages_write_them() -> None:
    path = ("f:spec", 'k:{"containerPort":80,"protocol":"TCP"}', 'v:"x"', "f:image")
    assert fieldsets.shown(path) == '.spec[containerPort=80,protocol="TCP"][="x"].image'


def deployment(image: str = "nginx", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}
    own = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": own}


def test_what_a_create_owns_is_what_the_original_writes() -> None:
    made = deployment(replicas=1, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}})
    made["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "protocol": "TCP"}]
    made["metadata"] |= {"labels": {"app": "web"}, "uid": "1", "creationTimestamp": "x", "namespace": "n"}
    [entry] = managed.by_update(DEPLOYMENT, Writer("kubectl-create"))(None, made)
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("kubectl-create", "Update", "apps/v1")
    container = {
        ".": {},
        "f:image": {},
        "f:name": {},
        "f:ports": {
            ".": {},
            'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
        },
    }
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:containers": {'k:{"name":"web"}': container}},
            },
        },
    }


def test_a_change_goes_to_who_made_it() -> None:
    old = deployment(replicas=1)
    old["metadata"]["managedFields"] = managed.by_update(DEPLOYMENT, Writer("a"))(None, old)
    new = deployment(image="busybox", replicas=1)
    new["status"] = {"replicas": 1}
    found = {one["manager"]: one for one in managed.by_update(DEPLOYMENT, Writer("b"))(old, new)}
    containers = {"f:containers": {'k:{"name":"web"}': {"f:image": {}}}}
    assert found["b"]["fieldsV1"] == {"f:spec": {"f:template": {"f:spec": containers}}}
    kept = found["a"]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']
    assert kept == {".": {}, "f:name": {}}
    below = managed.by_update(DEPLOYMENT, Writer("c", "status"))(old, {**old, "status": {"replicas": 1}})
    assert below[-1]["subresource"] == "status"
    assert below[-1]["fieldsV1"] == {"f:status": {"f:replicas": {}}}


def test_nobody_is_told_of_a_change_that_is_none() -> None:
    old = deployment()
    old["metadata"]["managedFields"] = managed.by_update(DEPLOYMENT, Writer("a"))(None, old)
    assert managed.by_update(DEPLOYMENT, Writer("b"))(old, deployment()) == old["metadata"]["managedFields"]


def test_updaters_are_kept_apart_up_to_ten() -> None:
    obj = deployment(replicas=0)
    obj["metadata"]["managedFields"] = managed.by_update(DEPLOYMENT, Writer("first"))(None, obj)
    for number in range(20):
        new = deployment(replicas=0)
        new["metadata"]["annotations"] = {**obj["metadata"].get("annotations", {}), f"n{number:02}": "x"}
        new["metadata"]["managedFields"] = managed.by_update(DEPLOYMENT, Writer(f"w{number:02}"))(obj, new)
        obj = new
    found = obj["metadata"]["managedFields"]
    assert len(found) == managed.MOST_UPDATERS
    owned = fieldsets.difference(field_set(shape_of("Deployment"), managed.body(obj)), managed.UNOWNED)
    for one in found:
        owned = fieldsets.difference(owned, one["fieldsV1"])
    assert owned == {}


def applied(live: dict[str, Any], config: dict[str, Any], manager: str, *, force: bool = False) -> dict[str, Any]:
    return applying.apply(DEPLOYMENT, live, config, Writer(manager), force=force)


def first(config: dict[str, Any], manager: str) -> dict[str, Any]:
    meta = {**config["metadata"], "managedFields": applying.created(DEPLOYMENT, config, Writer(manager))}
    return {**config, "metadata": meta}


def test_a_conflict_is_told_as_the_original_tells_it() -> None:
    live = deployment(replicas=1)
    live["metadata"]["managedFields"] = managed.by_update(DEPLOYMENT, Writer("curl"))(None, live)
    with pytest.raises(ApiFailure) as failure:
        applied(live, deployment(replicas=2), "me")
    text = 'Apply failed with 1 conflict: conflict with "curl" using apps/v1: .spec.replicas'
    assert (failure.value.code, failure.value.reason, failure.value.message) == (409, "Conflict", text)
    cause = {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "curl" using apps/v1',
        "field": ".spec.replicas",
    }
    assert failure.value.details == {"causes": [cause]}
    with pytest.raises(ApiFailure) as failure:
        applied(live, deployment(image="x", replicas=2), "me")
    assert failure.value.message == (
        'Apply failed with 2 conflicts: conflicts with "curl" using apps/v1:\n'
        '- .spec.replicas\n- .spec.template.spec.containers[name="web"].image'
    )
    forced = applied(live, deployment(replicas=2), "me", force=True)
    assert forced["spec"]["replicas"] == 2
    [mine, theirs] = forced["metadata"]["managedFields"]
    assert (mine["manager"], mine["operation"], theirs["manager"]) == ("me", "Apply", "curl")
    assert "f:replicas" in mine["fieldsV1"]["f:spec"]
    assert "f:replicas" not in theirs["fieldsV1"]["f:spec"]


def test_what_is_no_longer_applied_goes_unless_others_want_it() -> None:
    config = deployment(replicas=2, minReadySeconds=5)
    config["metadata"]["labels"] = {"a": "1", "b": "2"}
    config["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "x"})
    live = applied(first(config, "me"), {**deployment(replicas=2), "kind": "Deployment"}, "other")
    live = applied(live, deployment(), "me")
    assert live["spec"]["replicas"] == 2, "the other applies it too"
    assert "minReadySeconds" not in live["spec"]
    assert "labels" not in live["metadata"]
    assert [one["name"] for one in live["spec"]["template"]["spec"]["containers"]] == ["web"]


def test_an_apply_that_says_nothing_new_changes_nothing() -> None:
    live = first(deployment(replicas=1), "me")
    live["metadata"]["managedFields"][0]["time"] = "2020-01-01T00:00:00Z"
    assert applied(live, deployment(replicas=1), "me") == live


def test_objects_from_before_ownership_was_kept() -> None:
    with pytest.raises(ApiFailure) as failure:
        applied(deployment(replicas=1), deployment(replicas=2), "me")
    assert 'conflict with "before-first-apply" using apps/v1: .spec.replicas' in failure.value.message


def test_what_kubectl_applied_itself_is_no_conflict_for_it() -> None:
    import orjson

    config = deployment(replicas=1)
    live = deployment(replicas=1)
    live["metadata"]["annotations"] = {applying.LAST_APPLIED: orjson.dumps(config).decode()}
    live["metadata"]["managedFields"] = managed.by_update(DEPLOYMENT, Writer("kubectl-client-side-apply"))(None, live)
    migrated = applied(live, deployment(replicas=3), "kubectl")
    assert migrated["spec"]["replicas"] == 3
    assert orjson.loads(migrated["metadata"]["annotations"][applying.LAST_APPLIED])["spec"]["replicas"] == 3
    live["spec"]["replicas"] = 2
    with pytest.raises(ApiFailure):
        applied(live, deployment(replicas=3), "kubectl")


def test_members_only_the_live_list_has_keep_their_places() -> None:
    shape = shape_of("PodSpec")
    live = {"containers": [{"name": name} for name in "xabyc"]}
    config = {"containers": [{"name": "b", "image": "i"}, {"name": "n"}, {"name": "a"}]}
    merged = merge(shape, live, config)["containers"]
    assert [one["name"] for one in merged] == ["x", "b", "n", "a", "y", "c"]


VALUES = st.sampled_from(["1", "2"])
LABELS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
CONTAINER = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "y"])},
    optional={"image": VALUES, "command": st.lists(VALUES, min_size=1, max_size=2)},
)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "labels": LABELS,
        "containers": st.lists(CONTAINER, max_size=2, unique_by=lambda one: one["name"]),
        "nodeSelector": LABELS,
        "hostname": VALUES,
    },
)


def pod(parts: dict[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": "p"}
    if parts.get("labels"):
        meta["labels"] = parts["labels"]
    spec = {"restartPolicy": "Always", **{key: value for key, value in parts.items() if key != "labels" and value}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def owned(obj: dict[str, Any]) -> dict[str, fieldsets.Fields]:
    return {one["manager"]: one["fieldsV1"] for one in obj["metadata"]["managedFields"]}


@given(st.lists(st.tuples(st.sampled_from(["m", "n", "o"]), CONFIGS), min_size=1, max_size=6))
def test_whoever_applies_owns_and_gets_what_they_say(history: list[tuple[str, dict[str, Any]]]) -> None:
    shape = shape_of("Pod")
    manager, parts = history[0]
    live = pod(parts)
    live["metadata"]["managedFields"] = applying.created(POD, pod(parts), Writer(manager))
    for manager, parts in history[1:]:
        config = pod(parts)
        before = owned(live)
        live = applying.apply(POD, live, config, Writer(manager), force=True)
        after = owned(live)
        wanted = fieldsets.difference(field_set(shape, config), managed.UNOWNED)
        assert after.get(manager, {}) == wanted
        assert merge(shape, managed.body(live), config) == managed.body(live), "all that was said is there"
        everybodys: fieldsets.Fields = {}
        for fields in after.values():
            everybodys = fieldsets.union(everybodys, fields)
        present = fieldsets.difference(field_set(shape, managed.body(live)), managed.UNOWNED)
        dropped = fieldsets.difference(before.get(manager, {}), everybodys)
        leaves = {path for path in members(dropped) if path in members(present)}
        assert not leaves, "what nobody wants any longer is gone"
        assert applying.apply(POD, live, config, Writer(manager), force=False) == live


@given(CONFIGS, CONFIGS)
def test_a_difference_tells_all_that_is_different(one: dict[str, Any], other: dict[str, Any]) -> None:
    shape, old, new = shape_of("Pod"), pod(one), pod(other)
    found = compare(shape, old, new)
    assert found.is_none == (old == new)
    assert compare(shape, new, old).added == found.removed
    assert compare(shape, new, old).modified == found.modified
