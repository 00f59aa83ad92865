"""Where a daemon belongs, and how its pod says so."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.controllers.daemon_pods import daemon_pod, node_of, rules, runs_on
from k8slab.kube.scheduler.node_rules import REQUIRED, node_rules

SSD = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}


def node(name: str = "a", *taints: tuple[str, str], **labels: str) -> dict[str, Any]:
    spec = {"taints": [{"key": key, "effect": effect} for key, effect in taints]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def template(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [], **spec}}


@pytest.mark.parametrize(
    ("spec", "one", "expected"),
    [
        ({}, node(), (True, True)),
        ({"nodeSelector": {"disk": "ssd"}}, node(), (False, False)),
        ({"nodeSelector": {"disk": "ssd"}}, node(disk="ssd"), (True, True)),
        ({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [SSD]}}}}, node(disk="hdd"), (False, False)),
        ({"nodeName": "b"}, node("a"), (False, False)),
        ({}, node("a", ("dedicated", "NoSchedule")), (False, True)),
        ({}, node("a", ("dedicated", "NoExecute")), (False, False)),
        ({}, node("a", ("dedicated", "PreferNoSchedule")), (True, True)),
        ({}, node("a", ("node.kubernetes.io/unreachable", "NoExecute")), (True, True)),
        ({}, node("a", ("node.kubernetes.io/unreachable", "NoSchedule")), (False, True)),
        ({}, node("a", ("node.kubernetes.io/unschedulable", "NoSchedule")), (True, True)),
        ({}, node("a", ("node.kubernetes.io/network-unavailable", "NoSchedule")), (False, True)),
        ({"hostNetwork": True}, node("a", ("node.kubernetes.io/network-unavailable", "NoSchedule")), (True, True)),
        ({"tolerations": [{"operator": "Exists"}]}, node("a", ("dedicated", "NoExecute")), (True, True)),
    ],
)
def test_where_a_daemon_starts_and_where_it_stays(
    spec: dict[str, Any], one: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    assert runs_on(rules(template(**spec)), one) == expected


@pytest.mark.parametrize("affinity", [{}, {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [SSD, SSD]}}}])
def test_a_pod_wishes_for_its_node_and_for_what_its_template_wishes(affinity: dict[str, Any]) -> None:
    owner = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "d", "namespace": "default", "uid": "u"},
        "spec": {"template": template(affinity=affinity)},
    }
    pod = daemon_pod(owner, "b", "mark")
    assert node_of(pod) == "b"
    assert pod["metadata"]["labels"] == {"app": "d", "controller-revision-hash": "mark"}
    wishes = node_rules(pod)
    assert wishes.selects(node("b", disk="ssd"))
    assert not wishes.selects(node("c", disk="ssd"))
    assert wishes.selects(node("b")) is not bool(affinity)
