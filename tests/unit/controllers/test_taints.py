"""Which taints a node gets, and when a pod leaves for them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from k8slab.kube.controllers.node_taints import taints
from k8slab.kube.controllers.taint_eviction import leaves_at

PREFIX = "node.kubernetes.io/"
ADDED = "2016-01-02T15:04:05Z"
MOMENT = 1451747045.0


def node(status: str | None = "True", *, present: tuple[dict[str, Any], ...] = (), **more: str) -> dict[str, Any]:
    conditions = [{"type": kind, "status": value} for kind, value in {"Ready": status, **more}.items() if value]
    return {"spec": {"taints": list(present)}, "status": {"conditions": conditions}}


def pairs(found: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["key"].removeprefix(PREFIX), one["effect"]) for one in found}


@pytest.mark.parametrize(
    ("one", "pods_leave", "expected"),
    [
        (node(), True, set()),
        (node(None), True, set()),
        (node("False"), True, {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        (node("Unknown"), True, {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}),
        (node("Unknown"), False, {("unreachable", "NoSchedule")}),
        (node(MemoryPressure="True"), True, {("memory-pressure", "NoSchedule")}),
        (node(DiskPressure="False"), True, set()),
    ],
)
def test_what_is_wrong_with_a_node(one: dict[str, Any], pods_leave: bool, expected: set[tuple[str, str]]) -> None:
    assert pairs(taints(one, pods_leave=pods_leave)) == expected


def test_a_cordoned_node_says_so() -> None:
    cordoned = node()
    cordoned["spec"]["unschedulable"] = True
    assert pairs(taints(cordoned, pods_leave=True)) == {("unschedulable", "NoSchedule")}


def test_taints_of_others_stay_and_ours_keep_the_time_they_were_added() -> None:
    own = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    was = {"key": f"{PREFIX}unreachable", "effect": "NoExecute", "timeAdded": ADDED}
    over = {"key": f"{PREFIX}not-ready", "effect": "NoExecute", "timeAdded": ADDED}
    found = taints(node("Unknown", present=(own, was, over)), pods_leave=True)
    assert found[:2] == [own, was]
    assert pairs(found) == {("dedicated", "NoSchedule"), ("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
    assert taints(node(present=(own, was)), pods_leave=True) == [own]


TAINT = {"key": "k", "value": "v", "effect": "NoExecute", "timeAdded": ADDED}


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], -math.inf),
        ([{"key": "k", "operator": "Exists"}], math.inf),
        ([{"operator": "Exists"}], math.inf),
        ([{"key": "k", "value": "v", "effect": "NoExecute"}], math.inf),
        ([{"key": "k", "value": "other"}], -math.inf),
        ([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}], -math.inf),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}], MOMENT + 30),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 0}], -math.inf),
    ],
)
def test_a_pod_leaves_when_it_tolerates_a_taint_no_longer(tolerations: list[dict[str, Any]], expected: float) -> None:
    assert leaves_at({"spec": {"tolerations": tolerations}}, [TAINT], seen=0.0) == expected


def test_the_first_taint_that_is_not_tolerated_counts() -> None:
    pod = {"spec": {"tolerations": [{"operator": "Exists", "key": "k", "tolerationSeconds": 30}]}}
    assert leaves_at(pod, [], seen=0.0) == math.inf
    assert leaves_at(pod, [TAINT, {**TAINT, "key": "other"}], seen=0.0) == -math.inf


def test_a_taint_that_does_not_say_when_counts_from_when_it_was_seen() -> None:
    pod = {"spec": {"tolerations": [{"operator": "Exists", "key": "k", "tolerationSeconds": 30}]}}
    assert leaves_at(pod, [{"key": "k", "effect": "NoExecute"}], seen=5.0) == 35.0
