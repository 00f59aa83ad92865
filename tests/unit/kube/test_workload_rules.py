"""The original's sentences about what keeps pods of one template running."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.apps import DAEMON_SET, DEPLOYMENT, STATEFUL_SET

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "main", "image": "i"}]},
}


def problems(kind: Kind, **spec: Any) -> list[str]:
    selector = {"matchLabels": {"a": "b"}}
    obj: dict[str, Any] = {"metadata": {"name": "x"}, "spec": {"selector": selector, "template": TEMPLATE, **spec}}
    kind.default(obj)
    return [str(one).removeprefix("spec.") for one in kind.validate(obj, None)]


@pytest.mark.parametrize(
    ("rolling", "found"),
    [
        ({}, []),
        ({"maxUnavailable": "50%"}, []),
        ({"maxUnavailable": 0, "maxSurge": "100%"}, []),
        ({"maxSurge": 1}, ["maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"]),
        ({"maxUnavailable": "0%"}, ["maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]),
        ({"maxUnavailable": -1}, ["maxUnavailable: Invalid value: -1: must be greater than or equal to 0"]),
        ({"maxUnavailable": "101%"}, ['maxUnavailable: Invalid value: "101%": must not be greater than 100%']),
    ],
)
def test_daemons_are_replaced_before_or_after(rolling: dict[str, Any], found: list[str]) -> None:
    said = problems(DAEMON_SET, updateStrategy={"rollingUpdate": rolling})
    assert [one.removeprefix("updateStrategy.rollingUpdate.") for one in said] == found


def test_a_stateful_set_s_numbers_and_policies() -> None:
    assert problems(STATEFUL_SET, ordinals={"start": 3}, updateStrategy={"rollingUpdate": {"partition": 2}}) == []
    assert problems(
        STATEFUL_SET,
        ordinals={"start": -1},
        updateStrategy={"rollingUpdate": {"partition": -2, "maxUnavailable": 0}},
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Keep"},
    ) == [
        "updateStrategy.rollingUpdate.partition: Invalid value: -2: must be greater than or equal to 0",
        "updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
        'persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Keep": supported values: "Delete", '
        '"Retain"',
        "ordinals.start: Invalid value: -1: must be greater than or equal to 0",
    ]
    (why,) = problems(STATEFUL_SET, updateStrategy={"type": "OnDelete", "rollingUpdate": {"partition": 1}})
    assert why.endswith(": only allowed for updateStrategy 'RollingUpdate'")


@pytest.mark.parametrize("percent", ["²%", "%", "1 %", "1%\n", "9" * 5000 + "%"])
@pytest.mark.parametrize("field", ["maxUnavailable", "maxSurge"])
def test_a_share_is_a_number_of_percent(field: str, percent: str) -> None:
    (why,) = problems(DEPLOYMENT, strategy={"rollingUpdate": {field: percent}})
    assert why.startswith(f"strategy.rollingUpdate.{field}: Invalid value: ")


def test_more_pods_than_there_are_may_surge() -> None:
    assert problems(DEPLOYMENT, strategy={"rollingUpdate": {"maxSurge": "250%", "maxUnavailable": "0100%"}}) == []
    (why,) = problems(DEPLOYMENT, strategy={"rollingUpdate": {"maxUnavailable": "101%"}})
    assert why.endswith('Invalid value: "101%": must not be greater than 100%')


def test_a_template_has_nobody_look_into_its_pods() -> None:
    spec = {**TEMPLATE["spec"], "ephemeralContainers": [{"name": "debug", "image": "i"}]}
    (why,) = problems(DEPLOYMENT, template={**TEMPLATE, "spec": spec})
    assert why == "template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
