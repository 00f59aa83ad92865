from __future__ import annotations

from typing import Any

import pytest

from k8slab.k8sm.resources import Defaults, Pool
from k8slab.k8sm.scheduler.matching import Round, match, unsupported
from tests.unit.k8sm.samples import EXECUTOR, a_pod, an_offer, nodes, slots


def matched(pods: list[dict[str, Any]], *offers: dict[str, Any], among: dict[str, Any] | None = None) -> Round:
    return match(pods, slots(*offers), nodes(4) if among is None else among, EXECUTOR, Defaults())


def hosts(result: Round) -> list[str]:
    return [placement.slot.host for placement in result.placements]


def test_the_first_offer_that_fits_wins() -> None:
    result = matched(
        [a_pod(limits={"cpu": "2"})], an_offer(0, agent=0, cpus=1), an_offer(1, agent=1), an_offer(2, agent=2)
    )
    assert hosts(result) == ["minion-1"]
    assert result.reasons == {}


def test_several_pods_share_an_offer_until_it_is_used_up() -> None:
    pods = [a_pod(f"p{number}", limits={"cpu": "1"}) for number in range(4)]
    result = matched(pods, an_offer(0, agent=0, cpus=2.5), an_offer(1, agent=1, cpus=1.5))
    assert hosts(result) == ["minion-0", "minion-0", "minion-1"]
    assert set(result.reasons) == {"uid-p3"}


def test_the_executor_is_counted_once_and_only_where_none_runs() -> None:
    pods = [a_pod(f"p{number}", limits={"cpu": "1"}) for number in range(2)]
    assert hosts(matched(pods, an_offer(cpus=2.25))) == ["minion-0", "minion-0"]
    assert hosts(matched(pods, an_offer(cpus=2.2))) == ["minion-0"]
    assert hosts(matched(pods, an_offer(cpus=2.0, executors=(EXECUTOR.id,)))) == ["minion-0", "minion-0"]


def test_offers_of_one_agent_count_together() -> None:
    pod = a_pod(limits={"cpu": "3"})
    result = matched([pod], an_offer(0, cpus=2), an_offer(1, cpus=2))
    (placement,) = result.placements
    assert placement.slot.offers == ("O0", "O1")
    assert Pool.of(placement.resources).scalar("cpus") == 3


def test_a_bound_pod_goes_to_its_own_node_only() -> None:
    result = matched([a_pod(nodeName="minion-1")], an_offer(0, agent=0), an_offer(1, agent=1))
    assert hosts(result) == ["minion-1"]
    assert hosts(matched([a_pod(nodeName="minion-3")], an_offer(0, agent=0))) == []


def test_node_selectors_are_held_to() -> None:
    result = matched([a_pod(nodeSelector={"rack": "r2"})], *(an_offer(number, agent=number) for number in range(4)))
    assert hosts(result) == ["minion-2"]


def test_agents_without_a_node_take_no_pods() -> None:
    result = matched([a_pod()], an_offer(), among={})
    assert result.reasons["uid-nginx"] == "0/1 nodes are available: 1 has no node object yet"


def test_cordoned_and_tainted_nodes_take_no_pods() -> None:
    assert "1 cordoned" in matched([a_pod()], an_offer(), among=nodes(1, unschedulable=True)).reasons["uid-nginx"]
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    tainted = nodes(1, taints=[taint])
    assert "dedicated=db:NoSchedule" in matched([a_pod()], an_offer(), among=tainted).reasons["uid-nginx"]
    for toleration in (
        {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"},
        {"key": "dedicated", "operator": "Exists"},
        {"operator": "Exists"},
    ):
        assert hosts(matched([a_pod(tolerations=[toleration])], an_offer(), among=tainted)) == ["minion-0"]


def test_host_ports_come_from_the_offer() -> None:
    def wanting(*ports: int) -> dict[str, Any]:
        return a_pod(container={"ports": [{"containerPort": 80, "hostPort": port} for port in ports]})

    assert hosts(matched([wanting(31080)], an_offer())) == ["minion-0"]
    assert "does not offer host port 80" in matched([wanting(80)], an_offer()).reasons["uid-nginx"]
    assert "host port 31000" in matched([wanting(31000, 31000)], an_offer()).reasons["uid-nginx"]
    both = [wanting(31080), dict(wanting(31080), metadata={"name": "b", "namespace": "default", "uid": "uid-b"})]
    assert len(matched(both, an_offer()).placements) == 1


def test_a_reason_names_what_was_short_and_where() -> None:
    result = matched(
        [a_pod(limits={"cpu": "8", "memory": "64Mi"})],
        an_offer(0, agent=0),
        an_offer(1, agent=1),
        an_offer(2, agent=2, executors=(EXECUTOR.id,)),
    )
    head, _, rest = result.reasons["uid-nginx"].partition(": ")
    assert head == "0/4 nodes are available"
    assert "2 insufficient cpus (needs 8 beside its executor, 3.75 offered)" in rest
    assert "1 insufficient cpus (needs 8, 4 offered)" in rest
    assert "1 offering nothing: all its resources are taken" in rest


def test_nothing_registered_is_said_so() -> None:
    assert matched([a_pod()], among={}).reasons["uid-nginx"] == (
        "no suitable offers for pod/task: no Mesos agent has registered"
    )


def test_a_silent_node_that_is_not_ready_is_said_so() -> None:
    among = nodes(1)
    among["minion-0"]["status"]["conditions"][0]["status"] = "Unknown"
    assert matched([a_pod()], among=among).reasons["uid-nginx"] == "0/1 nodes are available: 1 not ready"


@pytest.mark.parametrize(
    "spec",
    [
        {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
        {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}},
        {"topologySpreadConstraints": [{"whenUnsatisfiable": "DoNotSchedule"}]},
        {"schedulingGates": [{"name": "wait"}]},
    ],
)
def test_wishes_that_cannot_be_judged_are_named(spec: dict[str, Any]) -> None:
    assert unsupported(a_pod(**spec))
    assert not unsupported(a_pod())


@pytest.mark.parametrize(
    "memory", ["1e400", "1e999999", "9223372036854775807Ei", "NaN", "Infinity", "abc", "1e99999999999999999999"]
)
def test_a_pod_that_asks_beyond_all_reason_is_told_so_and_keeps_nobody_else(memory: str) -> None:
    result = matched([a_pod("big", limits={"memory": memory}), a_pod("small")], an_offer())
    assert hosts(result) == ["minion-0"]
    assert ("insufficient memory" in result.reasons["uid-big"]) or ("not a quantity" in result.reasons["uid-big"])


def test_a_pod_that_cannot_be_read_keeps_nobody_else() -> None:
    broken = a_pod("broken")
    del broken["spec"]["containers"]
    result = matched([broken, a_pod("whole")], an_offer())
    assert hosts(result) == ["minion-0"]
    assert "cannot be read" in result.reasons["uid-broken"]
