"""The original's sentences about where a pod may say that it goes."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kinds.apps import DEPLOYMENT
from k8slab.kube.api.kinds.placement_rules import PREFERRED, REQUIRED
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.validation import LABEL_RULE, LABEL_VALUE_RULE, QUALIFIED_RULE, SUBDOMAIN_RULE

WEB = {"matchLabels": {"app": "web"}}
HOST = "kubernetes.io/hostname"
_ABSENT = "must not be specified when labelSelector is not set"


def made(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "metadata": {"name": "p", "labels": labels or {}},
        "spec": {"containers": [{"name": "main", "image": "i"}], **spec},
    }
    POD.default(pod)
    POD.prepare(pod, None)
    return pod


def problems(labels: dict[str, str] | None = None, **spec: Any) -> list[str]:
    return [str(one).removeprefix("spec.") for one in POD.validate(made(labels, **spec), None)]


def on_nodes(term: dict[str, Any]) -> list[str]:
    required = {REQUIRED: {"nodeSelectorTerms": [term]}}
    found = problems(affinity={"nodeAffinity": required})
    return [one.removeprefix(f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].") for one in found]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ({"key": "a/b", "operator": "In", "values": ["x", ""]}, []),
        ({"key": "a", "operator": "NotIn", "values": ["x"]}, []),
        ({"key": "a", "operator": "Exists"}, []),
        ({"key": "a", "operator": "DoesNotExist"}, []),
        ({"key": "a", "operator": "Gt", "values": ["5"]}, []),
        (
            {"key": "a", "operator": "In"},
            ["values: Required value: must be specified when `operator` is 'In' or 'NotIn'"],
        ),
        (
            {"key": "a", "operator": "Exists", "values": ["x"]},
            ["values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"],
        ),
        (
            {"key": "a", "operator": "Lt", "values": ["1", "2"]},
            ["values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"],
        ),
        ({"key": "a", "operator": "in"}, ['operator: Invalid value: "in": not a valid selector operator']),
        (
            {"operator": "Exists"},
            [
                'key: Invalid value: "": name part must be non-empty',
                f'key: Invalid value: "": {QUALIFIED_RULE}',
            ],
        ),
        (
            {"key": "a", "operator": "In", "values": ["x", "-1"]},
            [f'values[1]: Invalid value: "-1": {LABEL_VALUE_RULE}'],
        ),
    ],
)
def test_what_nodes_are_asked_for(expression: dict[str, Any], found: list[str]) -> None:
    said = on_nodes({"matchExpressions": [expression]})
    assert [one.removeprefix("matchExpressions[0].") for one in said] == found


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ({"key": "metadata.name", "operator": "In", "values": ["minion-0"]}, []),
        (
            {"key": "metadata.name", "operator": "In", "values": ["a", "b"]},
            [
                "values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field "
                "selector"
            ],
        ),
        (
            {"key": "spec.x", "operator": "Exists"},
            [
                'operator: Invalid value: "Exists": not a valid selector operator',
                'key: Invalid value: "spec.x": not a valid field selector key',
            ],
        ),
        (
            {"key": "metadata.name", "operator": "NotIn", "values": ["A"]},
            [f'values[0]: Invalid value: "A": {SUBDOMAIN_RULE}'],
        ),
    ],
)
def test_which_node_by_name(field: dict[str, Any], found: list[str]) -> None:
    said = on_nodes({"matchFields": [field]})
    assert [one.removeprefix("matchFields[0].") for one in said] == found


def test_nodes_are_chosen_by_one_term_at_least() -> None:
    (why,) = problems(affinity={"nodeAffinity": {REQUIRED: {}}})
    path = f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
    assert why == f"{path}: Required value: must have at least one node selector term"
    assert on_nodes({}) == []


@pytest.mark.parametrize("weight", [0, -1, 101, None])
def test_weights_go_to_a_hundred(weight: int | None) -> None:
    term = {"labelSelector": WEB, "topologyKey": HOST}

    def weighed(value: int | None) -> dict[str, Any]:
        return {
            "nodeAffinity": {PREFERRED: [{"weight": value, "preference": {}}]},
            "podAffinity": {PREFERRED: [{"weight": value, "podAffinityTerm": term}]},
            "podAntiAffinity": {PREFERRED: [{"weight": value, "podAffinityTerm": term}]},
        }

    assert problems(affinity=weighed(1)) == problems(affinity=weighed(100)) == []
    assert problems(affinity=weighed(weight)) == [
        f"affinity.{kind}.{PREFERRED}[0].weight: Invalid value: {weight or 0}: must be in the range 1-100"
        for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")
    ]


def test_a_preference_may_name_a_value_that_no_label_has() -> None:
    expression = {"key": "a", "operator": "In", "values": ["-1"]}
    preferred = [{"weight": 1, "preference": {"matchExpressions": [expression]}}]
    assert problems(affinity={"nodeAffinity": {PREFERRED: preferred}}) == []
    assert problems(affinity={"nodeAffinity": {PREFERRED: [{"weight": 1}]}}) == []


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ({"labelSelector": WEB, "topologyKey": HOST, "namespaces": ["default"]}, []),
        ({"topologyKey": HOST, "namespaceSelector": {}}, []),
        (
            {"labelSelector": WEB},
            [
                "topologyKey: Required value: can not be empty",
                'topologyKey: Invalid value: "": name part must be non-empty',
                f'topologyKey: Invalid value: "": {QUALIFIED_RULE}',
            ],
        ),
        ({"topologyKey": "a b"}, [f'topologyKey: Invalid value: "a b": {QUALIFIED_RULE}']),
        ({"topologyKey": HOST, "namespaces": ["A"]}, [f'namespace: Invalid value: "A": {LABEL_RULE}']),
        (
            {"topologyKey": HOST, "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}},
            ['labelSelector.matchExpressions[0].operator: Invalid value: "Gt": not a valid selector operator'],
        ),
        (
            {"topologyKey": HOST, "namespaceSelector": {"matchLabels": {"a": "-"}}},
            [f'namespaceSelector.matchLabels: Invalid value: "-": {LABEL_VALUE_RULE}'],
        ),
        ({"topologyKey": HOST, "matchLabelKeys": ["a"]}, [f"matchLabelKeys: Forbidden: {_ABSENT}"]),
        (
            {"topologyKey": HOST, "labelSelector": WEB, "matchLabelKeys": ["a"], "mismatchLabelKeys": ["b", "a"]},
            ['matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys'],
        ),
        (
            {"topologyKey": HOST, "labelSelector": WEB, "mismatchLabelKeys": ["-"]},
            [f'mismatchLabelKeys[0]: Invalid value: "-": {QUALIFIED_RULE}'],
        ),
    ],
)
def test_what_neighbours_are_asked_for(term: dict[str, Any], found: list[str]) -> None:
    for kind in ("podAffinity", "podAntiAffinity"):
        path = f"affinity.{kind}.{REQUIRED}[0]."
        assert problems(affinity={kind: {REQUIRED: [term]}}) == [path + one for one in found]
        path = f"affinity.{kind}.{PREFERRED}[0].podAffinityTerm."
        preferred = [{"weight": 1, "podAffinityTerm": term}]
        assert problems(affinity={kind: {PREFERRED: preferred}}) == [path + one for one in found]


def test_keys_of_labels_become_what_they_mean() -> None:
    term = {
        "topologyKey": HOST,
        "labelSelector": WEB,
        "matchLabelKeys": ["hash", "none"],
        "mismatchLabelKeys": ["tenant"],
    }
    pod = made({"hash": "1", "tenant": "a"}, affinity={"podAffinity": {REQUIRED: [term]}})
    assert POD.validate(pod, None) == []
    selector = pod["spec"]["affinity"]["podAffinity"][REQUIRED][0]["labelSelector"]
    assert selector == {
        **WEB,
        "matchExpressions": [
            {"key": "hash", "operator": "In", "values": ["1"]},
            {"key": "tenant", "operator": "NotIn", "values": ["a"]},
        ],
    }
    assert "matchExpressions" not in WEB
    later = made({"hash": "1", "tenant": "a"}, affinity=pod["spec"]["affinity"])
    POD.prepare(later, pod)
    assert later["spec"]["affinity"] == pod["spec"]["affinity"]


def test_a_key_is_either_matched_or_selected() -> None:
    term = {"topologyKey": HOST, "labelSelector": WEB, "matchLabelKeys": ["x", "app"]}
    (why,) = problems({"app": "web"}, affinity={"podAffinity": {REQUIRED: [term]}})
    path = f"affinity.podAffinity.{REQUIRED}[0][1]"
    assert why == f'{path}: Invalid value: "app": exists in both matchLabelKeys and labelSelector'


SPREAD = {"maxSkew": 1, "topologyKey": HOST, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB}


@pytest.mark.parametrize(
    ("constraint", "found"),
    [
        ({}, []),
        ({"minDomains": 2, "nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor", "matchLabelKeys": ["x"]}, []),
        ({"maxSkew": 0}, ["maxSkew: Invalid value: 0: must be greater than zero"]),
        ({"maxSkew": None}, ["maxSkew: Invalid value: 0: must be greater than zero"]),
        ({"topologyKey": ""}, ["topologyKey: Required value: can not be empty"]),
        (
            {"whenUnsatisfiable": ""},
            ['whenUnsatisfiable: Unsupported value: "": supported values: "DoNotSchedule", "ScheduleAnyway"'],
        ),
        ({"minDomains": 0}, ["minDomains: Invalid value: 0: must be greater than zero"]),
        (
            {"minDomains": 2, "whenUnsatisfiable": "ScheduleAnyway"},
            [
                "minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "
                "ScheduleAnyway"
            ],
        ),
        (
            {"nodeAffinityPolicy": "Honour", "nodeTaintsPolicy": ""},
            [
                'nodeAffinityPolicy: Unsupported value: "Honour": supported values: "Honor", "Ignore"',
                'nodeTaintsPolicy: Unsupported value: "": supported values: "Honor", "Ignore"',
            ],
        ),
        (
            {"matchLabelKeys": ["app", "-"]},
            [
                'matchLabelKeys[0]: Invalid value: "app": exists in both matchLabelKeys and labelSelector',
                f'matchLabelKeys[1]: Invalid value: "-": {QUALIFIED_RULE}',
            ],
        ),
        ({"labelSelector": None, "matchLabelKeys": ["x"]}, [f"matchLabelKeys: Forbidden: {_ABSENT}"]),
        (
            {"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["-1"]}]}},
            [f'labelSelector.matchExpressions[0].values[0]: Invalid value: "-1": {LABEL_VALUE_RULE}'],
        ),
    ],
)
def test_how_pods_are_spread(constraint: dict[str, Any], found: list[str]) -> None:
    said = problems(topologySpreadConstraints=[{**SPREAD, **constraint}])
    assert [one.removeprefix("topologySpreadConstraints[0].") for one in said] == found


def test_a_topology_is_spread_over_once_for_each_way() -> None:
    other = {**SPREAD, "whenUnsatisfiable": "ScheduleAnyway"}
    assert problems(topologySpreadConstraints=[SPREAD, other]) == []
    (why,) = problems(topologySpreadConstraints=[SPREAD, other, {**SPREAD, "maxSkew": 2}])
    path = "topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}"
    assert why == f'{path}: Duplicate value: "{{{HOST}, DoNotSchedule}}"'


def test_a_template_is_held_to_the_same() -> None:
    term = {"labelSelector": WEB, "matchLabelKeys": ["app"]}
    pod = {"containers": [{"name": "main", "image": "i"}], "affinity": {"podAntiAffinity": {REQUIRED: [term]}}}
    labels = WEB["matchLabels"]
    deployment: dict[str, Any] = {
        "metadata": {"name": "d"},
        "spec": {"selector": WEB, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    DEPLOYMENT.default(deployment)
    found = [str(one) for one in DEPLOYMENT.validate(deployment, None)]
    path = f"spec.template.spec.affinity.podAntiAffinity.{REQUIRED}[0].topologyKey"
    assert found[0] == f"{path}: Required value: can not be empty"
    assert all(one.startswith(path) for one in found)
