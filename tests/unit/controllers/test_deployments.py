"""What a deployment decides about its replica sets, and what it says of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from k8slab.kube.client import Object
from k8slab.kube.controllers import deployment_scaling as scaling
from k8slab.kube.controllers import deployment_sets as known
from k8slab.kube.controllers import deployment_status as status
from k8slab.kube.controllers.node_lifecycle import condition

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
MOMENT = 1_700_000_000.0


def deployment(replicas: int, surge: int | str = 1, unavailable: int | str = 1, **rest: Any) -> Object:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    spec = {
        "replicas": replicas,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        "selector": {"matchLabels": {"app": "web"}},
        "template": TEMPLATE,
        "progressDeadlineSeconds": 60,
        **rest,
    }
    meta = {"name": "web", "namespace": "n", "uid": "u", "generation": 1}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": meta, "spec": spec, "status": {}}


def one(name: str, replicas: int, available: int | None = None, *, most: int = 0, desired: int = 0) -> Object:
    ready = replicas if available is None else available
    annotations = {known.MOST: str(most), known.DESIRED: str(desired)} if most else {}
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": name, "annotations": annotations},
        "spec": {"replicas": replicas, "template": TEMPLATE},
        "status": {"replicas": replicas, "readyReplicas": ready, "availableReplicas": ready},
    }


def sets(new: Object | None, *old: Object) -> known.ReplicaSets:
    return known.ReplicaSets(new, old)


def sizes(resizes: list[scaling.Resize]) -> dict[str, int]:
    return {resize.set["metadata"]["name"]: resize.replicas for resize in resizes}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "most", "least"),
    [
        (10, "25%", "25%", 13, 8),
        (10, 0, "1%", 10, 9),
        (1, "25%", "25%", 2, 1),
        (4, "0%", "10%", 4, 3),
        (2, 0, 5, 2, 0),
        (0, 1, 1, 1, 0),
        (3, "100%", "100%", 6, 0),
    ],
)
def test_bounds(replicas: int, surge: int | str, unavailable: int | str, most: int, least: int) -> None:
    found = scaling.bounds(deployment(replicas, surge, unavailable))
    assert (found.most, found.least) == (most, least)


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        # The new one grows as far as there is room: 10 with a surge of 1.
        ((0, 0), [(10, 10)], {"new": 1}),
        ((1, 0), [(10, 10)], {"old0": 9}),
        ((2, 0), [(9, 9)], {}),
        ((2, 1), [(9, 9)], {"old0": 8}),
        ((9, 9), [(1, 1)], {"new": 10}),
        ((10, 10), [(1, 1)], {"old0": 0}),
        # Those that do not work go first, and cost nothing.
        ((1, 0), [(4, 4), (6, 4)], {"old1": 5}),
        ((1, 0), [(10, 7)], {"old0": 9}),
        # Too large, as after scaling down.
        ((12, 12), [], {"new": 10}),
        # What it was told to lose is not counted on any more.
        ((3, 2), [(8, 10)], {"old0": 7}),
    ],
)
def test_steps_of_a_rolling_update(new: tuple[int, int], old: list[tuple[int, int]], expected: dict[str, int]) -> None:
    olds = [one(f"old{number}", *counts) for number, counts in enumerate(old)]
    assert sizes(scaling.roll(deployment(10), sets(one("new", *new), *olds))) == expected


def test_nothing_new_comes_before_the_old_has_gone() -> None:
    old = one("old", 9)
    old["status"]["replicas"] = 10
    assert scaling.new_size(deployment(10), [old, one("new", 1)], 1) == 1
    old["status"]["replicas"] = 9
    assert scaling.new_size(deployment(10), [old, one("new", 1)], 1) == 2


@pytest.mark.parametrize(
    ("replicas", "new", "old", "expected"),
    [
        # The example of the original's documentation: 10 with a surge of 3, amid a rollout that is stuck.
        (15, 5, [8], {"old0": 11, "new": 7}),
        (5, 5, [8], {"old0": 5, "new": 3}),
        (0, 5, [8], {"old0": 0, "new": 0}),
        (20, 0, [5, 5, 3], {"old0": 9, "old1": 9, "old2": 5}),
        # All that is there, or was there last.
        (7, 3, [], {"new": 7}),
        (7, 0, [4], {"old0": 7}),
        (7, 0, [0], {"new": 7}),
    ],
)
def test_scaling_in_proportion(replicas: int, new: int, old: list[int], expected: dict[str, int]) -> None:
    olds = [one(f"old{number}", count, most=13, desired=10) for number, count in enumerate(old)]
    given = sets(one("new", new, most=13, desired=10), *olds)
    wanted = deployment(replicas, 3, 2)
    assert scaling.was_scaled(wanted, given) is any(map(known.size, given.all))
    assert sizes(scaling.scale(wanted, given)) == expected


def test_when_the_new_one_is_whole_the_old_ones_go() -> None:
    given = sets(one("new", 5, most=8, desired=5), one("old", 2, most=8, desired=5))
    assert sizes(scaling.scale(deployment(5, 3, 2), given)) == {"old": 0}


def test_scaling_what_is_to_be_recreated_does_not_keep_it_from_that() -> None:
    """Several sets with pods, as when the strategy was changed amid a rollout."""
    wanted = deployment(7, strategy={"type": "Recreate"})
    given = sets(None, one("a", 6, most=9, desired=6), one("b", 3, most=9, desired=6))
    assert scaling.was_scaled(wanted, given)
    assert sizes(scaling.scale(wanted, given)) == {"a": 6, "b": 3}, "each is written with what is desired now"


def test_the_set_of_a_template_is_found_again() -> None:
    made = known.new_set(deployment(3), 3, 4, 7)
    assert re.fullmatch("web-[bcdfghjklmnpqrstvwxz2456789]{1,10}", made["metadata"]["name"])
    assert made["metadata"]["annotations"] == {known.REVISION: "7", known.DESIRED: "3", known.MOST: "4"}
    assert known.sorted_out(deployment(3), [one("a", 1), made]).new is not None
    other = {**TEMPLATE, "spec": {"containers": [{"name": "c", "image": "web:2"}]}}
    found = known.sorted_out(deployment(3, template=other), [made])
    assert (found.new, found.old) == (None, (made,))
    clashing = {**deployment(3), "status": {"collisionCount": 1}}
    assert known.new_set(clashing, 3, 4, 7)["metadata"]["name"] != made["metadata"]["name"]


def test_revisions_that_come_back_remember_what_they_were() -> None:
    first, _ = known.annotated(deployment(1), {}, 1)
    same, changed = known.annotated(deployment(1), first, 1)
    assert (same, changed) == ({known.REVISION: "1"}, False)
    back, _ = known.annotated(deployment(1), first, 3)
    again, _ = known.annotated(deployment(1), back, 5)
    assert again == {known.REVISION: "5", known.FORMER_REVISIONS: "1,3"}
    told = deployment(1)
    told["metadata"]["annotations"] = {"kubernetes.io/change-cause": "why", known.REVISION: "9"}
    assert known.annotated(told, again, 5) == ({**again, "kubernetes.io/change-cause": "why"}, True)


def rollout(given: Object, found: known.ReplicaSets, now: float) -> Object:
    """The deployment with the status it has then."""
    return {**given, "status": status.of_rollout(given, found, now)}


def test_a_rollout_that_stands_still_is_late_at_last() -> None:
    began = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated", "message": ""}
    times = {"lastUpdateTime": "2023-11-14T22:13:20Z", "lastTransitionTime": "2023-11-14T22:13:20Z"}
    given = deployment(2)
    given["status"] = {**status.counts(given, sets(one("new", 2, 0))), "conditions": [{**began, **times}]}
    in_time = rollout(given, sets(one("new", 2, 0)), MOMENT + 60)
    assert condition(in_time, "Progressing")["reason"] == "NewReplicaSetCreated"
    assert status.seconds_to_deadline(in_time, MOMENT + 20) == 40
    late = rollout(in_time, sets(one("new", 2, 0)), MOMENT + 61)
    assert condition(late, "Progressing")["reason"] == "ProgressDeadlineExceeded"
    assert condition(late, "Progressing")["message"] == 'ReplicaSet "new" has timed out progressing.'
    assert status.seconds_to_deadline(late, MOMENT + 61) is None
    moves = rollout(late, sets(one("new", 2, 1)), MOMENT + 70)
    assert (condition(moves, "Progressing")["status"], condition(moves, "Progressing")["reason"]) == (
        "True",
        "ReplicaSetUpdated",
    )
    done = rollout(moves, sets(one("new", 2, 2)), MOMENT + 80)
    assert condition(done, "Progressing")["reason"] == "NewReplicaSetAvailable"
    fallen = rollout(done, sets(one("new", 2, 0)), MOMENT + 9999)
    assert condition(fallen, "Progressing")["reason"] == "NewReplicaSetAvailable", "what was rolled out is rolled out"
    assert condition(fallen, "Available")["status"] == "False"


@pytest.mark.parametrize("deadline", [None, 2**31 - 1])
def test_without_a_deadline_nothing_is_said_of_progress(deadline: int | None) -> None:
    given = deployment(2, progressDeadlineSeconds=deadline)
    assert condition(rollout(given, sets(one("new", 2, 0)), MOMENT), "Progressing") == {}
