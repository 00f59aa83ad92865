from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from k8slab.k8sm.resources import Defaults, Pool
from k8slab.k8sm.scheduler.matching import BINPACK, Policy, Round, Surroundings, match
from k8slab.kube.scheduler.census import Census
from tests.unit.k8sm.samples import EXECUTOR, a_pod, an_offer, nodes, owned, scalar, slots

SPREADING = Policy(EXECUTOR, Defaults())
PACKING = replace(SPREADING, strategy=BINPACK)


def matched(
    pods: list[dict[str, Any]],
    *offers: dict[str, Any],
    among: dict[str, Any] | None = None,
    policy: Policy = SPREADING,
    census: Census | None = None,
) -> Round:
    around = Surroundings(nodes(4) if among is None else among, census or Census())
    return match(pods, slots(*offers), around, policy)


def hosts(result: Round) -> list[str]:
    return [placement.slot.host for placement in result.placements]


def on_all(**kind: Any) -> list[dict[str, Any]]:
    return [an_offer(number, agent=number, **kind) for number in range(4)]


def test_an_agent_that_has_room_is_found() -> None:
    result = matched([a_pod(limits={"cpu": "2"})], an_offer(0, agent=0, cpus=1), an_offer(1, agent=1))
    assert hosts(result) == ["minion-1"]
    assert result.reasons == {}


def test_several_pods_share_an_offer_until_it_is_used_up() -> None:
    pods = [a_pod(f"p{number}", limits={"cpu": "1"}) for number in range(4)]
    result = matched(pods, an_offer(0, agent=0, cpus=2.5), an_offer(1, agent=1, cpus=1.5), policy=PACKING)
    assert sorted(hosts(result)) == ["minion-0", "minion-0", "minion-1"]
    assert set(result.reasons) == {"uid-p3"}


def test_pods_of_one_controller_are_spread_over_the_nodes() -> None:
    pods = [owned(a_pod(f"p{number}", limits={"cpu": "100m"}), "web") for number in range(8)]
    result = matched(pods, *on_all())
    assert sorted(hosts(result)) == sorted([f"minion-{number}" for number in range(4)] * 2)


def test_those_that_run_already_count_when_others_are_spread() -> None:
    census = Census()
    for number, host in enumerate(("minion-0", "minion-1", "minion-2")):
        census.place(owned(a_pod(f"old{number}"), "web"), host)
    assert hosts(matched([owned(a_pod("new"), "web")], *on_all(), census=census)) == ["minion-3"]
    assert len(census) == 3


def test_a_pod_waits_for_an_offer_on_its_way_from_where_fewer_of_its_kind_are() -> None:
    census = Census()
    census.place(owned(a_pod("old"), "web"), "minion-0")
    pods = [owned(a_pod(f"p{number}"), "web") for number in range(3)]
    (coming,) = slots(an_offer(1, agent=1, executors=(EXECUTOR.id,)))
    around = Surroundings(nodes(2), census, expected={"minion-1": coming})
    result = match(pods, slots(an_offer(0, agent=0)), around, SPREADING)
    assert (result.placements, result.reasons, result.deferred) == ((), {}, 3)
    assert len(match(pods, slots(an_offer(0, agent=0)), around, PACKING).placements) == 3
    assert len(match(pods, slots(an_offer(0, agent=0)), replace(around, expected={}), SPREADING).placements) == 3
    elsewhere = [owned(a_pod("bound", nodeSelector={"rack": "r0"}), "web")]
    assert len(match(elsewhere, slots(an_offer(0, agent=0)), around, SPREADING).placements) == 1


def test_a_pod_that_fits_nowhere_waits_for_what_is_about_to_be_offered_again() -> None:
    first = matched([a_pod("first", limits={"cpu": "1"})], an_offer(0, agent=0), among=nodes(1))
    left = first.left["S0"]
    around = Surroundings(nodes(1), expected={"minion-0": left})

    def outcome(cpu: str) -> tuple[int, list[str]]:
        result = match([a_pod(limits={"cpu": cpu})], [], around, SPREADING)
        return result.deferred, list(result.reasons)

    assert outcome("2750m") == (1, [])
    assert outcome("2800m") == (0, ["uid-nginx"])


def test_pods_of_one_service_are_spread_whoever_made_them() -> None:
    census = Census()
    service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}}}
    census.set_service(service)
    pods = [a_pod(f"p{number}", labels={"app": "web", "number": str(number)}) for number in range(4)]
    offers = [an_offer(0, agent=0, cpus=400), *(an_offer(number, agent=number) for number in (1, 2, 3))]
    assert len(set(hosts(matched(pods, *offers, census=census)))) == 4


def test_bin_packing_fills_one_node_after_the_other() -> None:
    pods = [owned(a_pod(f"p{number}", limits={"cpu": "1", "memory": "64Mi"}), "web") for number in range(6)]
    result = matched(pods, *on_all(cpus=3.25), policy=PACKING)
    assert len(set(hosts(result)[:3])) == 1
    assert len(set(hosts(result))) == 2


def test_spreading_takes_the_emptier_node_for_a_pod_of_its_own() -> None:
    result = matched([a_pod()], an_offer(0, agent=0, cpus=1, mem=512), an_offer(1, agent=1))
    assert hosts(result) == ["minion-1"]
    assert hosts(matched([a_pod()], an_offer(0, agent=0, cpus=1, mem=512), an_offer(1, agent=1), policy=PACKING)) == [
        "minion-0"
    ]


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


def test_node_selectors_and_affinity_are_held_to() -> None:
    assert hosts(matched([a_pod(nodeSelector={"rack": "r2"})], *on_all())) == ["minion-2"]
    expression = {"key": "rack", "operator": "In", "values": ["r1"]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}}
    required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"].append(
        {"matchExpressions": [expression]}
    )
    assert hosts(matched([a_pod(affinity={"nodeAffinity": required})], *on_all())) == ["minion-1"]
    wish = [{"weight": 50, "preference": {"matchExpressions": [dict(expression, values=["r3"])]}}]
    liking = {"preferredDuringSchedulingIgnoredDuringExecution": wish}
    assert hosts(matched([a_pod(affinity={"nodeAffinity": liking})], *on_all())) == ["minion-3"]
    reason = matched([a_pod(nodeSelector={"rack": "none"})], *on_all()).reasons["uid-nginx"]
    assert reason.startswith("0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector (minion-0,")


def test_a_daemon_sets_pod_goes_to_the_node_that_it_names() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["minion-777"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    offers = [an_offer(number, agent=number) for number in range(1000)]
    assert hosts(matched([a_pod(affinity=affinity)], *offers, among=nodes(1000))) == ["minion-777"]
    terms["nodeSelectorTerms"].append({"matchExpressions": [{"key": "rack", "operator": "In", "values": ["r5"]}]})
    either = hosts(matched([a_pod(affinity=affinity)], *offers[:777], among=nodes(1000)))
    assert either == ["minion-5"]
    terms["nodeSelectorTerms"] = []
    assert hosts(matched([a_pod(affinity=affinity)], *offers, among=nodes(1000))) == []


def test_agents_without_a_node_take_no_pods() -> None:
    result = matched([a_pod()], an_offer(), among={})
    assert result.reasons["uid-nginx"] == "0/1 nodes are available: 1 node(s) had no node object yet (minion-0)."


def test_cordoned_and_tainted_nodes_take_no_pods() -> None:
    cordoned = matched([a_pod()], an_offer(), among=nodes(1, unschedulable=True))
    assert "1 node(s) were unschedulable (minion-0)" in cordoned.reasons["uid-nginx"]
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    tainted = nodes(1, taints=[taint])
    assert "untolerated taint {dedicated: db}" in matched([a_pod()], an_offer(), among=tainted).reasons["uid-nginx"]
    for toleration in (
        {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"},
        {"key": "dedicated", "operator": "Exists"},
        {"operator": "Exists"},
    ):
        assert hosts(matched([a_pod(tolerations=[toleration])], an_offer(), among=tainted)) == ["minion-0"]


def test_a_node_that_had_rather_not_is_taken_last() -> None:
    among = nodes(2)
    among["minion-0"]["spec"]["taints"] = [{"key": "slow", "effect": "PreferNoSchedule"}]
    assert hosts(matched([a_pod()], an_offer(0, agent=0), an_offer(1, agent=1), among=among)) == ["minion-1"]
    assert hosts(matched([a_pod()], an_offer(0, agent=0), among=among)) == ["minion-0"]


def wanting(*ports: int, **meta: Any) -> dict[str, Any]:
    return a_pod(container={"ports": [{"containerPort": 80, "hostPort": port} for port in ports]}, **meta)


def test_host_ports_come_from_the_offer() -> None:
    (placement,) = matched([wanting(31080)], an_offer()).placements
    assert placement.ports == (31080,)
    short = matched([wanting(80)], an_offer()).reasons["uid-nginx"]
    assert "1 node(s) didn't have free ports for the requested pod ports (needs 80; minion-0)" in short
    assert matched([wanting(31000, 31000)], an_offer()).placements == ()
    both = [wanting(31080), dict(wanting(31080), metadata={"name": "b", "namespace": "default", "uid": "uid-b"})]
    assert len(matched(both, an_offer()).placements) == 1


def test_wildcard_ports_take_any_that_is_offered() -> None:
    label = {"k8s.mesosphere.io/portMapping": "wildcard"}
    (placement,) = matched([wanting(0, 31001, 0, labels=label)], an_offer()).placements
    assert placement.ports == (31000, 31001, 31002)
    assert Pool.of(placement.resources).ports == ((31000, 31000), (31001, 31001), (31002, 31002))
    assert matched([wanting(0)], an_offer()).placements[0].ports == ()
    everywhere = replace(SPREADING, wildcard=True)
    assert matched([wanting(0)], an_offer(), policy=everywhere).placements[0].ports == (31000,)
    fixed = wanting(0, labels={"k8s.mesosphere.io/portMapping": "fixed"})
    assert matched([fixed], an_offer(), policy=everywhere).placements[0].ports == ()


def test_a_pods_roles_say_whose_resources_it_takes() -> None:
    offer = an_offer(executors=(EXECUTOR.id,))
    offer["resources"] = [
        scalar("cpus", 1, role="prod"),
        scalar("cpus", 1, role="*"),
        scalar("mem", 512, role="prod"),
        scalar("mem", 512, role="*"),
    ]

    def taken(roles: str, policy: Policy = SPREADING) -> list[tuple[str, float]]:
        pod = a_pod(limits={"cpu": "1500m"}, annotations={"k8s.mesosphere.io/roles": roles})
        return [
            (one["role"], one["scalar"]["value"])
            for placement in matched([pod], offer, policy=policy).placements
            for one in placement.resources
            if one["name"] == "cpus"
        ]

    assert taken("*,prod") == [("*", 1.0), ("prod", 0.5)]
    assert taken("prod, *") == [("prod", 1.0), ("*", 0.5)]
    assert taken("prod") == []
    assert taken("", replace(SPREADING, roles=("*", "prod"))) == [("*", 1.0), ("prod", 0.5)]
    assert taken("", replace(SPREADING, roles=("*",))) == []


def test_a_reason_names_what_was_short_and_where() -> None:
    result = matched(
        [a_pod(limits={"cpu": "8", "memory": "64Mi"})],
        an_offer(0, agent=0),
        an_offer(1, agent=1),
        an_offer(2, agent=2, executors=(EXECUTOR.id,)),
    )
    assert result.reasons["uid-nginx"] == (
        "0/4 nodes are available: 4 Insufficient cpu (needs 8; minion-0 has 4, its executor needs 0.25 of it, "
        "minion-1 has 4, its executor needs 0.25 of it, minion-2 has 4, minion-3 has 4)."
    )
    silent = matched([a_pod(limits={"cpu": "3900m"})], an_offer(0, agent=0), among=nodes(2))
    assert silent.reasons["uid-nginx"] == (
        "0/2 nodes are available: 1 Insufficient cpu (needs 3.9; minion-0 has 4, its executor needs 0.25 of it), "
        "1 node(s) offered nothing (minion-1)."
    )
    memory = matched([a_pod(limits={"memory": "8Gi"})], an_offer(executors=(EXECUTOR.id,)), among=nodes(1))
    assert memory.reasons["uid-nginx"] == (
        "0/1 nodes are available: 1 Insufficient memory (needs 8192 MB; minion-0 has 4096 MB)."
    )


def test_what_an_agent_offered_last_is_what_the_reason_speaks_of() -> None:
    (last,) = slots(an_offer(cpus=1, executors=(EXECUTOR.id,)))
    around = Surroundings(nodes(1), remembered={"minion-0": last})
    result = match([a_pod(limits={"cpu": "2"})], [], around, SPREADING)
    assert result.reasons["uid-nginx"] == "0/1 nodes are available: 1 Insufficient cpu (needs 2; minion-0 has 1)."


def test_one_that_avoids_others_does_not_keep_those_away_that_do_not_care() -> None:
    term = {"labelSelector": {}, "topologyKey": "rack"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    census = Census()
    census.place(a_pod("there"), "minion-0")
    result = matched([a_pod("shy", affinity=affinity), a_pod("bold")], an_offer(), among=nodes(1), census=census)
    assert set(result.reasons) == {"uid-shy"}
    assert hosts(result) == ["minion-0"]


def test_nothing_registered_is_said_so() -> None:
    assert matched([a_pod()], among={}).reasons["uid-nginx"] == (
        "no nodes available to schedule pods: no Mesos agent has registered"
    )


def test_a_silent_node_that_is_not_ready_is_said_so() -> None:
    among = nodes(1)
    among["minion-0"]["status"]["conditions"][0]["status"] = "Unknown"
    reason = matched([a_pod()], among=among).reasons["uid-nginx"]
    assert reason == "0/1 nodes are available: 1 node(s) were not ready (minion-0)."


def test_a_node_takes_no_more_pods_than_it_may_have() -> None:
    among = nodes(1)
    among["minion-0"]["status"]["allocatable"] = {"cpu": "4", "memory": "4Gi", "pods": "2"}
    pods = [a_pod(f"p{number}", limits={"cpu": "10m"}) for number in range(3)]
    result = matched(pods, an_offer(), among=among)
    assert len(result.placements) == 2
    assert result.reasons["uid-p2"] == "0/1 nodes are available: 1 Too many pods (minion-0)."


def test_the_pods_of_a_full_node_all_get_their_tasks_again() -> None:
    full = nodes(1)
    full["minion-0"]["status"]["allocatable"]["pods"] = "3"
    census = Census()
    bound = [a_pod(f"p{number}", nodeName="minion-0") for number in range(3)]
    for pod in bound:
        census.place(pod, "minion-0")
    result = matched([*bound, a_pod("one more")], an_offer(), among=full, census=census)
    assert hosts(result) == ["minion-0"] * 3
    assert "1 Too many pods" in result.reasons["uid-one more"]


def test_what_no_node_has_is_not_promised() -> None:
    among = nodes(2)
    among["minion-1"]["status"]["allocatable"]["example.com/dongle"] = "2"
    wanted = [a_pod(limits={"example.com/dongle": "1"})]
    assert hosts(matched(wanted, an_offer(0, agent=0), an_offer(1, agent=1), among=among)) == ["minion-1"]
    reason = matched(wanted, an_offer(0, agent=0), among=nodes(1)).reasons["uid-nginx"]
    assert reason == "0/1 nodes are available: 1 Insufficient example.com/dongle (needs 1; minion-0 has 0)."


def test_what_others_hold_of_a_node_is_not_given_twice() -> None:
    having = nodes(1)
    having["minion-0"]["status"]["allocatable"]["example.com/dongle"] = "4"
    census = Census()
    census.place(a_pod("old", limits={"example.com/dongle": "1"}), "minion-0")
    pods = [a_pod(name, limits={"cpu": "10m", "example.com/dongle": "2"}) for name in ("first", "second")]
    result = matched(pods, an_offer(), among=having, census=census)
    assert [placement.pod["metadata"]["name"] for placement in result.placements] == ["first"]
    assert "Insufficient example.com/dongle (needs 2; minion-0 has 1)" in result.reasons["uid-second"]


def test_a_pod_with_gates_waits() -> None:
    result = matched([a_pod(schedulingGates=[{"name": "wait"}])], an_offer())
    assert "scheduling gates" in result.reasons["uid-nginx"]


@pytest.mark.parametrize(
    "memory", ["1e400", "1e999999", "9223372036854775807Ei", "NaN", "Infinity", "abc", "1e99999999999999999999"]
)
def test_a_pod_that_asks_beyond_all_reason_is_told_so_and_keeps_nobody_else(memory: str) -> None:
    result = matched([a_pod("big", limits={"memory": memory}), a_pod("small")], an_offer())
    assert hosts(result) == ["minion-0"]
    assert ("Insufficient memory" in result.reasons["uid-big"]) or ("not a quantity" in result.reasons["uid-big"])


def test_a_pod_that_cannot_be_read_keeps_nobody_else() -> None:
    broken = a_pod("broken")
    del broken["spec"]["containers"]
    result = matched([broken, a_pod("whole")], an_offer())
    assert hosts(result) == ["minion-0"]
    assert "cannot be read" in result.reasons["uid-broken"]


def test_a_thousand_agents_all_get_their_share() -> None:
    offers = [an_offer(number, agent=number) for number in range(1000)]
    pods = [owned(a_pod(f"p{number}"), "web") for number in range(1000)]
    result = matched(pods, *offers, among=nodes(1000))
    assert len(set(hosts(result))) == 1000
    around = Surroundings(nodes(1000), Census())
    found = {hosts(match(pods[:1], slots(*offers), around, SPREADING, turn=turn))[0] for turn in range(10)}
    assert len(found) == 10
