"""How fast pods leave nodes that are lost, by how many of their zone are."""

from __future__ import annotations

import math
from typing import Any

import pytest

from k8slab.kube.controllers.node_zones import EvictionRates, Turns, rate_in, zone_of

RATES = EvictionRates(normal=0.1, secondary=0.01, unhealthy=0.55, large=50)
HERE = ("", "r0")
THERE = ("", "r1")


def nodes(ready: int, lost: int, zone: str = "r0", status: str = "Unknown") -> list[dict[str, Any]]:
    return [
        {
            "metadata": {"labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"conditions": [{"type": "Ready", "status": one}]},
        }
        for one in ["True"] * ready + [status] * lost
    ]


@pytest.mark.parametrize(
    ("ready", "lost", "rate"),
    [
        (4, 0, 0.1),
        (3, 1, 0.1),
        (1, 2, 0.1),  # more than half, but few
        (1, 3, 0.0),
        (3, 3, 0.1),
        (20, 30, 0.0),
        (30, 40, 0.01),
        (0, 4, 0.1),  # a whole zone: there are others
    ],
)
@pytest.mark.parametrize("status", ["Unknown", "False"])
def test_an_unhealthy_zone_is_left_slower_or_not_at_all(ready: int, lost: int, rate: float, status: str) -> None:
    assert rate_in(HERE, nodes(ready, lost, status=status) + nodes(50, 0, "r1"), RATES) == rate


def test_zones_are_counted_each_for_itself() -> None:
    both = nodes(1, 3) + nodes(4, 1, "r1")
    assert (rate_in(HERE, both, RATES), rate_in(THERE, both, RATES)) == (0.0, 0.1)


def test_a_node_that_has_not_said_anything_yet_is_not_lost() -> None:
    silent = {"metadata": {}, "status": {}}
    assert rate_in(("", ""), [silent] * 3 + [{"metadata": {}, "status": {}}], RATES) == 0.1


@pytest.mark.parametrize("prefix", ["topology.kubernetes.io/", "failure-domain.beta.kubernetes.io/"])
def test_zones_are_named_by_labels_of_either_age(prefix: str) -> None:
    assert zone_of({"metadata": {"labels": {f"{prefix}region": "eu", f"{prefix}zone": "a"}}}) == ("eu", "a")


def test_nodes_of_one_zone_take_turns() -> None:
    turns = Turns()
    assert turns.wait("one", HERE, 0.1, now=100.0) == 0
    assert turns.wait("two", HERE, 0.1, now=101.0) == pytest.approx(9.0)
    assert turns.wait("other", THERE, 0.1, now=101.0) == 0
    assert turns.wait("one", HERE, 0.1, now=101.0) == 0
    assert turns.wait("two", HERE, 0.1, now=110.0) == 0
    turns.over("one")
    assert turns.wait("one", HERE, 0.1, now=111.0) == pytest.approx(9.0)


def test_at_a_rate_of_nothing_nobody_goes_who_has_not_gone_yet() -> None:
    turns = Turns()
    assert turns.wait("one", HERE, 0.0, now=0.0) == math.inf
    assert turns.wait("one", HERE, 1.0, now=0.0) == 0
    assert turns.wait("one", HERE, 0.0, now=0.0) == 0
