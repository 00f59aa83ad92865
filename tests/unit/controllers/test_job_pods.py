"""What a job's pods amount to, and the sets of their indexes."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.kube.controllers.job_indexes import indexes, success_rule, written
from k8slab.kube.controllers.job_pods import TRACKED, judge_failure, tally
from k8slab.kube.controllers.jobs import _free_indexes


@given(st.sets(st.integers(0, 60)))
def test_indexes_are_read_as_they_are_written(numbers: set[int]) -> None:
    assert indexes(written(numbers), 61) == numbers
    assert indexes(written(numbers), 30) == {one for one in numbers if one < 30}


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([3], "3"), ([3, 4], "3,4"), ([0, 1, 2, 5, 7, 6], "0-2,5-7")])
def test_the_shortest_form(numbers: list[int], text: str) -> None:
    assert written(numbers) == text


def pod(name: str, phase: str = "Running", *, tracked: bool = True, code: int = 0, **meta: Any) -> dict[str, Any]:
    container = {"name": "c", "state": {"terminated": {"exitCode": code}}}
    disrupted = [{"type": "DisruptionTarget", "status": "True"}] if meta.pop("disrupted", False) else []
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"u-{name}",
            **({"finalizers": [TRACKED]} if tracked else {}),
            **meta,
        },
        "spec": {},
        "status": {"phase": phase, "conditions": disrupted, "containerStatuses": [container] if code else []},
    }


def job(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "j"}, "spec": {"completions": 9, **spec}, "status": status or {}}


def test_an_end_is_counted_once_wherever_the_controller_was_stopped() -> None:
    ended = pod("a", "Succeeded")
    first = tally(job(), [ended], failing=False)
    assert (first.succeeded, first.succeeded_before, first.succeeded_uids) == (1, 0, ["u-a"])
    noted = {"uncountedTerminatedPods": {"succeeded": ["u-a"]}}
    again = tally(job(noted), [ended], failing=False)
    assert (again.succeeded, again.new_successes) == (1, [])
    let_go = tally(job(noted), [pod("a", "Succeeded", tracked=False)], failing=False)
    assert (let_go.succeeded, let_go.succeeded_before, let_go.is_settled) == (1, 1, True)
    gone = tally(job(noted), [], failing=False)
    assert (gone.succeeded, gone.is_settled) == (1, True)
    counted = tally(job({"succeeded": 1}), [pod("a", "Succeeded", tracked=False)], failing=False)
    assert counted.succeeded == 1


@pytest.mark.parametrize(("policy", "failed"), [("TerminatingOrFailed", 1), ("Failed", 0)])
def test_a_pod_on_its_way_out_has_failed_unless_its_end_is_waited_for(policy: str, failed: int) -> None:
    going = pod("a", deletionTimestamp="2016-01-02T15:04:05Z")
    found = tally(job(podReplacementPolicy=policy), [going], failing=False)
    assert (found.failed, found.terminating, found.active) == (failed, 1, [])


def test_who_still_works_when_the_job_fails_has_failed() -> None:
    assert tally(job(), [pod("a")], failing=False).failed == 0
    assert tally(job(), [pod("a")], failing=True).failed == 1


ON_CODES = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
ON_OTHERS = {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1], "containerName": "other"}}
ON_DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize(
    ("one", "action"),
    [
        (pod("a", "Failed", code=42), "FailJob"),
        (pod("a", "Failed", code=42, disrupted=True), "Ignore"),
        (pod("a", "Failed", code=1), "Count"),
        (pod("a", "Running", code=42), "Count"),
    ],
)
def test_the_first_rule_that_matches_judges(one: dict[str, Any], action: str) -> None:
    assert judge_failure({"rules": [ON_OTHERS, ON_DISRUPTION, ON_CODES]}, one)[0] == action


def test_what_is_ignored_is_not_counted() -> None:
    found = tally(job(podFailurePolicy={"rules": [ON_DISRUPTION]}), [pod("a", "Failed", disrupted=True)], failing=False)
    assert (found.failed, len(found.ignored)) == (0, 1)


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        ({"succeededIndexes": "0,2"}, True),
        ({"succeededIndexes": "0-2"}, False),
        ({"succeededIndexes": "0-2", "succeededCount": 2}, True),
        ({"succeededCount": 3}, False),
        ({"succeededCount": 2}, True),
    ],
)
def test_enough_is_what_the_policy_says(rule: dict[str, Any], met: bool) -> None:
    assert success_rule({"rules": [{"succeededCount": 9}, rule]}, {0, 2}, 9) == (1 if met else None)
    assert success_rule({}, {0, 2}, 9) is None


def test_nobody_counts_out_what_is_more_than_anybody_can_hold() -> None:
    most = 2**31 - 1
    everything = {"succeededIndexes": "0-99999999999", "succeededCount": 2}
    assert success_rule({"rules": [{"succeededIndexes": f"0-{most}"}, everything]}, {0, 7}, most) == 1
    assert success_rule({"rules": [{"succeededIndexes": f"0-{most}"}]}, {0, 7}, most) is None
    assert indexes("0-99999999999", 3) == {0, 1, 2}
    many = job(completionMode="Indexed", completions=most)
    free = _free_indexes(many, tally(many, [], failing=False))
    assert list(islice(free, 3)) == [0, 1, 2]
