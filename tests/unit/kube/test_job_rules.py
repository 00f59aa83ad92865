"""The original's sentences about jobs that fail and succeed by rules."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kinds.batch import CRON_JOB, JOB, schedule_problems
from k8slab.kube.api.validation import SUBDOMAIN_RULE

TEMPLATE = {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "i"}]}}
INDEXED = {"completionMode": "Indexed", "completions": 5, "parallelism": 2}
CODES = {"operator": "In", "values": [1]}


def made(**spec: Any) -> dict[str, Any]:
    job: dict[str, Any] = {"metadata": {"name": "j", "uid": "u"}, "spec": {"template": TEMPLATE, **spec}}
    JOB.default(job)
    JOB.prepare(job, None)
    return job


def problems(**spec: Any) -> list[str]:
    return [str(one).removeprefix("spec.") for one in JOB.validate(made(**spec), None)]


def failing(**rule: Any) -> list[str]:
    found = problems(podFailurePolicy={"rules": [{"action": "FailJob", **rule}]})
    return [one.removeprefix("podFailurePolicy.rules[0]") for one in found]


def succeeding(**rule: Any) -> list[str]:
    found = problems(**INDEXED, successPolicy={"rules": [rule]})
    return [one.removeprefix("successPolicy.rules[0]") for one in found]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"onExitCodes": {**CODES, "containerName": "main"}}, []),
        ({"onPodConditions": [{"type": "DisruptionTarget"}]}, []),
        ({}, [": Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
        (
            {"onExitCodes": CODES, "onPodConditions": [{"type": "Ready"}]},
            [": Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"],
        ),
        (
            {"action": "", "onExitCodes": CODES},
            ['.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]'],
        ),
        (
            {"action": "Stop", "onExitCodes": CODES},
            ['.action: Unsupported value: "Stop": supported values: "Count", "FailIndex", "FailJob", "Ignore"'],
        ),
        (
            {"action": "FailIndex", "onExitCodes": CODES},
            ['.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set'],
        ),
        (
            {"onExitCodes": {"operator": "In", "values": [3, 0, 3], "containerName": "x"}},
            [
                '.onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names '
                "in the pod template",
                ".onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                ".onExitCodes.values[2]: Duplicate value: 3",
                ".onExitCodes.values: Invalid value: []int32{3, 0, 3}: must be ordered",
            ],
        ),
        (
            {"onExitCodes": {}},
            [
                '.onExitCodes.operator: Required value: valid values: ["In" "NotIn"]',
                ".onExitCodes.values: Invalid value: []int32{}: at least one value is required",
            ],
        ),
        (
            {"onPodConditions": [{"type": "Ready", "status": "Maybe"}]},
            [
                '.onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"',
            ],
        ),
    ],
)
def test_rules_of_failure(rule: dict[str, Any], found: list[str]) -> None:
    assert failing(**rule) == found


def test_a_condition_is_true_where_nothing_else_is_said() -> None:
    job = made(podFailurePolicy={"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]})
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"] == "True"


def test_rules_of_failure_need_pods_that_are_not_restarted() -> None:
    template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "OnFailure"}}
    policy = {"rules": [{"action": "FailJob", "onExitCodes": CODES}]}
    assert problems(template=template) == []
    assert problems(template=template, podFailurePolicy=policy, podReplacementPolicy="TerminatingOrFailed") == [
        'podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"',
        'template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is '
        "specified",
    ]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"succeededIndexes": "0-2,4", "succeededCount": 4}, []),
        ({}, [": Required value: at least one of succeededCount or succeededIndexes must be specified"]),
        (
            {"succeededCount": 6},
            [
                ".succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified "
                "completions)"
            ],
        ),
        (
            {"succeededCount": 3, "succeededIndexes": "1,3"},
            [
                ".succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the "
                "specified succeededIndexes field)"
            ],
        ),
        *(
            ({"succeededIndexes": text}, [f'.succeededIndexes: Invalid value: "{text}": error parsing {why}'])
            for text, why in (
                ("5", 'succeededIndexes: too large index: "5"'),
                ("a", 'succeededIndexes: cannot convert string to integer for index: "a"'),
                ("3-1", "succeededIndexes: non-increasing order, previous: 3, current: 1"),
                ("1,1", "succeededIndexes: non-increasing order, previous: 1, current: 1"),
                (
                    "1-2-3",
                    'succeededIndexes: the fragment "1-2-3" violates the requirement that an index interval can have '
                    "at most two parts separated by '-'",
                ),
            )
        ),
    ],
)
def test_rules_of_success(rule: dict[str, Any], found: list[str]) -> None:
    assert succeeding(**rule) == found


def test_only_indexed_jobs_have_rules_of_indexes() -> None:
    why = "requires indexed completion mode"
    assert problems(backoffLimitPerIndex=1, maxFailedIndexes=2, successPolicy={"rules": []}) == [
        f"backoffLimitPerIndex: Invalid value: 1: {why}",
        f"maxFailedIndexes: Invalid value: 2: {why}",
        f"successPolicy: Invalid value: batch.SuccessPolicy{{…}}: {why}",
    ]
    assert problems(**INDEXED, backoffLimitPerIndex=1, maxFailedIndexes=5) == []
    assert problems(**INDEXED, maxFailedIndexes=6) == [
        "backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
        "maxFailedIndexes: Invalid value: 6: must be less than or equal to completions",
    ]


def test_a_cron_job_s_jobs_are_judged_alike_and_choose_their_own_pods() -> None:
    job = {"template": TEMPLATE, "podFailurePolicy": {"rules": [{"action": "Ignore"}]}, "selector": {}}
    cron: Any = {"metadata": {"name": "c"}, "spec": {"schedule": "@daily", "jobTemplate": {"spec": job}}}
    CRON_JOB.default(cron)
    rule, selector = [str(one) for one in CRON_JOB.validate(cron, None)]
    assert rule.startswith("spec.jobTemplate.spec.podFailurePolicy.rules[0]: Invalid value: specifying one of")
    assert selector.startswith("spec.jobTemplate.spec.selector: Invalid value: v1.LabelSelector{")
    assert selector.endswith(": `selector` will be auto-generated")


def updated(old: dict[str, Any], **now: Any) -> list[str]:
    return [str(one).removeprefix("spec.") for one in JOB.validate(made(**now), old)]


def test_where_pods_go_may_change_before_a_suspended_job_begins() -> None:
    old = made(suspend=True)
    moved = {**TEMPLATE, "metadata": {"labels": {"a": "b"}}, "spec": {**TEMPLATE["spec"], "nodeSelector": {"x": "y"}}}
    assert updated(old, suspend=False, template=moved) == []
    other = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "containers": [{"name": "main", "image": "other"}]}}
    for found in (
        updated(old, template=other),
        updated(made(), template=moved),
        updated({**old, "status": {"startTime": "2026-01-01T00:00:00Z"}}, template=moved),
    ):
        assert found == ["template: Invalid value: core.PodTemplateSpec{…}: field is immutable"]


def test_an_indexed_job_grows_in_tandem() -> None:
    assert updated(made(**INDEXED), completionMode="Indexed", completions=7, parallelism=7) == []
    assert updated(made(**INDEXED), completionMode="Indexed", completions=7, parallelism=2) == [
        "completions: Invalid value: 7: can only be modified in tandem with spec.parallelism"
    ]
    assert updated(made(completions=2), completions=3) == ["completions: Invalid value: 3: field is immutable"]


@pytest.mark.parametrize(
    ("schedule", "found"),
    [
        ("0 0 * JAN-mar Mon,fri", []),
        ("*/15 * * * *", []),
        ("0 0 * * abc", ['failed to parse int from abc: strconv.Atoi: parsing "abc": invalid syntax']),
        ("0 0 * mon *", ['failed to parse int from mon: strconv.Atoi: parsing "mon": invalid syntax']),
        ("*/0 * * * *", ["step of range should be a positive number: */0"]),
        ("*/x * * * *", ['failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax']),
        ("*/² * * * *", ['failed to parse int from ²: strconv.Atoi: parsing "²": invalid syntax']),
        ("0 0 * * FRI-mon", ["beginning of range (5) beyond end of range (1): FRI-mon"]),
        ("0 0 * * sun-SAT/2", []),
        ("@every 1.5h30m", []),
        ("@every 0", []),
        ("@every .5s", []),
        ("@every 5", ['failed to parse duration @every 5: time: invalid duration "5"']),
        ("@every 9999999h", ['failed to parse duration @every 9999999h: time: invalid duration "9999999h"']),
        ("@reboot", ["unrecognized descriptor: @reboot"]),
        ("0 0 * * 7", ["end of range (7) above maximum (6): 7"]),
    ],
)
def test_schedules(schedule: str, found: list[str]) -> None:
    assert schedule_problems(schedule) == found


@pytest.mark.parametrize("digits", ["²", "9" * 5000])
def test_what_python_alone_takes_for_digits_is_no_number_of_a_schedule(digits: str) -> None:
    assert schedule_problems(f"{digits} * * * *") == schedule_problems(f"*/{digits} * * * *") != []


@pytest.mark.parametrize(
    ("zone", "why"),
    [
        ("", "timeZone must be nil or non-empty string"),
        ("Local", "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"),
        ("Moon/Base", "unknown time zone Moon/Base"),
    ],
)
def test_zones(zone: str, why: str) -> None:
    spec = {"schedule": "@daily", "timeZone": zone, "jobTemplate": {"spec": {"template": TEMPLATE}}}
    cron: Any = {"metadata": {"name": "c"}, "spec": spec}
    CRON_JOB.default(cron)
    assert [str(one) for one in CRON_JOB.validate(cron, None)] == [f'spec.timeZone: Invalid value: "{zone}": {why}']
    spec["timeZone"] = "Europe/Berlin"
    assert CRON_JOB.validate(cron, None) == []


@pytest.mark.parametrize(
    ("manager", "found"),
    [
        ("kubernetes.io/job-controller", []),
        ("acme.io/a/b", []),
        ("", ["Required value"]),
        ("acme.io", ['Invalid value: "acme.io": must be a domain-prefixed path (such as "acme.io/foo")']),
        ("/foo", ['Invalid value: "/foo": must be a domain-prefixed path (such as "acme.io/foo")']),
        ("acme.io/", ['Invalid value: "acme.io/": must be a domain-prefixed path (such as "acme.io/foo")']),
        ("Acme/foo", [f'Invalid value: "Acme": {SUBDOMAIN_RULE}']),
        (
            "acme.io/a b",
            [
                'Invalid value: "a b": Invalid path (regex used for validation is '
                r"'[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"
            ],
        ),
        (f"acme.io/{'a' * 55}", []),
        (f"acme.io/{'a' * 56}", ["Too long: may not be more than 63 bytes"]),
    ],
)
def test_a_job_s_manager_is_a_path_in_a_domain(manager: str, found: list[str]) -> None:
    assert problems(managedBy=manager) == [f"managedBy: {one}" for one in found]
    cron: dict[str, Any] = {
        "metadata": {"name": "c"},
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": TEMPLATE, "managedBy": manager}}},
    }
    CRON_JOB.default(cron)
    said = [str(one) for one in CRON_JOB.validate(cron, None)]
    assert said == [f"spec.jobTemplate.spec.managedBy: {one}" for one in found]


def test_a_job_keeps_its_manager() -> None:
    old, new = made(managedBy="acme.io/foo"), made(managedBy="acme.io/bar")
    (why,) = [str(one) for one in JOB.validate(new, old)]
    assert why == 'spec.managedBy: Invalid value: "acme.io/bar": field is immutable'
