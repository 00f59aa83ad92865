"""Affinity, anti-affinity and spreading, node by node."""

from __future__ import annotations

from typing import Any

from k8slab.kube.scheduler.census import Census
from k8slab.kube.scheduler.neighbours import (
    ANTI_AFFINITY,
    NO_AFFINITY,
    NO_DOMAIN,
    REPELLED,
    SKEWED,
    Neighbours,
    minds_neighbours,
    neighbours,
)
from k8slab.kube.scheduler.node_rules import node_rules

Object = dict[str, Any]

ZONES = {"a0": "a", "a1": "a", "b0": "b", "b1": "b"}
NODES = {
    name: {"metadata": {"name": name, "labels": {"zone": zone, "kubernetes.io/hostname": name}}, "spec": {}}
    for name, zone in ZONES.items()
}
NODES["nowhere"] = {"metadata": {"name": "nowhere", "labels": {"kubernetes.io/hostname": "nowhere"}}, "spec": {}}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def pod(name: str, app: str, namespace: str = "default", **spec: Any) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "labels": {"app": app}}
    return {"metadata": meta, "spec": {"containers": [], **spec}}


def term(app: str, key: str = "zone", **more: Any) -> Object:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def affinity(kind: str, *terms: Object) -> Object:
    return {"affinity": {kind: {REQUIRED: list(terms)}}}


def seen(one: Object, census: Census, namespaces: dict[str, dict[str, str]] | None = None) -> Neighbours:
    return neighbours(one, node_rules(one), census, NODES, namespaces or {})


def verdicts(found: Neighbours) -> dict[str, str]:
    return {name: found.why_not(node) for name, node in NODES.items()}


def where(**pods: str) -> Census:
    """Each pod ``app_number`` on its host."""
    census = Census()
    for name, host in pods.items():
        census.place(pod(name, name.partition("_")[0]), host)
    return census


def test_affinity_keeps_to_the_domain_where_the_others_are() -> None:
    found = verdicts(seen(pod("new", "web", **affinity("podAffinity", term("db"))), where(db_0="b1")))
    assert found == {"a0": NO_AFFINITY, "a1": NO_AFFINITY, "b0": "", "b1": "", "nowhere": NO_AFFINITY}


def test_the_first_of_a_flock_begins_anywhere_in_a_domain() -> None:
    flock = pod("new", "web", **affinity("podAffinity", term("web")))
    assert verdicts(seen(flock, where())) == {**dict.fromkeys(ZONES, ""), "nowhere": NO_AFFINITY}
    lonely = pod("new", "web", **affinity("podAffinity", term("db")))
    assert set(verdicts(seen(lonely, where())).values()) == {NO_AFFINITY}


def test_anti_affinity_avoids_the_domain() -> None:
    keeper = pod("new", "web", **affinity("podAntiAffinity", term("web", "kubernetes.io/hostname")))
    found = verdicts(seen(keeper, where(web_0="a0", db_0="b0")))
    assert found == {"a0": ANTI_AFFINITY, "a1": "", "b0": "", "b1": "", "nowhere": ""}


def test_those_who_were_there_first_may_refuse_a_newcomer() -> None:
    census = Census()
    census.place(pod("alone", "db", **affinity("podAntiAffinity", term("web"))), "a0")
    assert not minds_neighbours(pod("new", "web"))
    found = verdicts(seen(pod("new", "web"), census))
    assert found == {"a0": REPELLED, "a1": REPELLED, "b0": "", "b1": "", "nowhere": ""}
    assert set(verdicts(seen(pod("new", "other"), census)).values()) == {""}
    census.remove("default/alone")
    assert set(verdicts(seen(pod("new", "web"), census)).values()) == {""}


def test_terms_speak_of_the_pods_own_namespace_unless_they_say_otherwise() -> None:
    census = Census()
    census.place(pod("db", "db", namespace="data"), "a0")

    def allowed(**more: Any) -> set[str]:
        one = pod("new", "web", **affinity("podAffinity", term("db", **more)))
        found = verdicts(seen(one, census, {"data": {"team": "red"}, "default": {}}))
        return {name for name, verdict in found.items() if not verdict}

    assert allowed() == set()
    assert allowed(namespaces=["data"]) == {"a0", "a1"}
    assert allowed(namespaceSelector={}) == {"a0", "a1"}
    assert allowed(namespaceSelector={"matchLabels": {"team": "red"}}) == {"a0", "a1"}
    assert allowed(namespaceSelector={"matchLabels": {"team": "blue"}}) == set()


def spread(skew: int, when: str = "DoNotSchedule", **more: Any) -> Object:
    constraint = {"maxSkew": skew, "whenUnsatisfiable": when, **term("web"), **more}
    return {"topologySpreadConstraints": [constraint]}


def test_pods_are_spread_over_domains_within_the_skew() -> None:
    census = where(web_0="a0", web_1="a1", web_2="b0")
    found = verdicts(seen(pod("new", "web", **spread(1)), census))
    assert found == {"a0": SKEWED, "a1": SKEWED, "b0": "", "b1": "", "nowhere": NO_DOMAIN}
    assert set(verdicts(seen(pod("new", "web", **spread(2)), census)).values()) == {"", NO_DOMAIN}


def test_nobody_is_spread_from_a_pod_that_leaves() -> None:
    census = where(web_0="a0", web_1="a1", web_2="b0")
    leaving = pod("web_0", "web")
    leaving["metadata"]["deletionTimestamp"] = "2016-01-02T15:04:05Z"
    census.place(leaving, "a0")
    assert verdicts(seen(pod("new", "web", **spread(1)), census))["a0"] == ""
    keeper = pod("new", "web", **affinity("podAntiAffinity", term("web", "kubernetes.io/hostname")))
    assert verdicts(seen(keeper, census))["a0"] == ANTI_AFFINITY


def test_domains_that_the_pod_does_not_select_do_not_count() -> None:
    one = pod("new", "web", nodeSelector={"zone": "a"}, **spread(1))
    assert verdicts(seen(one, where(web_0="a0", web_1="a1")))["a0"] == ""


def test_a_constraint_says_whether_nodes_that_the_pod_cannot_have_count() -> None:
    census = where(web_0="a0")
    pinned = pod("new", "web", nodeSelector={"zone": "a"}, **spread(1, nodeAffinityPolicy="Ignore"))
    assert verdicts(seen(pinned, census))["a1"] == SKEWED
    taint = {"key": "busy", "effect": "NoSchedule"}
    tainted = {
        name: {**node, "spec": {"taints": [taint]} if name.startswith("b") else {}} for name, node in NODES.items()
    }
    for policy, verdict in (("Ignore", SKEWED), ("Honor", "")):
        one = pod("new", "web", **spread(1, nodeTaintsPolicy=policy))
        assert neighbours(one, node_rules(one), census, tainted, {}).why_not(tainted["a1"]) == verdict


def test_too_few_domains_count_as_an_empty_one() -> None:
    census = where(web_0="a0", web_1="b0")
    assert verdicts(seen(pod("new", "web", **spread(1)), census))["a0"] == ""
    assert verdicts(seen(pod("new", "web", **spread(1, minDomains=3)), census))["a0"] == SKEWED


def test_pods_of_another_template_are_not_spread_from() -> None:
    census = where(web_0="a0", web_1="a1")
    for hashed, verdict in (({}, SKEWED), ({"matchLabelKeys": ["hash", "none"]}, "")):
        one = pod("new", "web", **spread(1, **hashed))
        one["metadata"]["labels"]["hash"] = "2"
        assert verdicts(seen(one, census))["a0"] == verdict


def test_a_pod_from_before_its_keys_were_written_out_keeps_to_its_template() -> None:
    older = pod("old", "web", **affinity("podAntiAffinity", term("web", matchLabelKeys=["hash"])))
    older["metadata"]["labels"]["hash"] = "1"
    census = Census()
    census.place(older, "a0")
    for hashed, verdict in (("1", REPELLED), ("2", "")):
        one = pod("new", "web")
        one["metadata"]["labels"]["hash"] = hashed
        assert verdicts(seen(one, census))["a1"] == verdict


def test_keys_that_were_written_out_say_what_the_labels_were_then() -> None:
    written = {"matchExpressions": [{"key": "hash", "operator": "In", "values": ["1"]}]}
    labelled = {"labelSelector": written, "matchLabelKeys": ["hash"], "topologyKey": "zone"}
    older = pod("old", "web", **affinity("podAntiAffinity", labelled))
    older["metadata"]["labels"]["hash"] = "changed"
    census = Census()
    census.place(older, "a0")
    one = pod("new", "web")
    one["metadata"]["labels"]["hash"] = "1"
    assert verdicts(seen(one, census))["a1"] == REPELLED


def test_a_node_counts_only_when_it_is_in_a_domain_of_each_constraint() -> None:
    both = spread(1)["topologySpreadConstraints"] + spread(2, topologyKey="rack")["topologySpreadConstraints"]
    racked = {
        name: {**node, "metadata": {**node["metadata"], "labels": {**node["metadata"]["labels"], "rack": "r"}}}
        for name, node in NODES.items()
        if name != "b0"
    }
    nodes, one = {"b0": NODES["b0"], **racked}, pod("new", "web", topologySpreadConstraints=both)
    # The pod of b0 is not seen: zone b is as empty as it looks from b1.
    found = neighbours(one, node_rules(one), where(web_0="a0", web_1="b0"), nodes, {})
    assert {name: found.why_not(node) for name, node in nodes.items()} == {
        "a0": SKEWED,
        "a1": SKEWED,
        "b0": NO_DOMAIN,
        "b1": "",
        "nowhere": NO_DOMAIN,
    }


def test_wishes_order_the_nodes() -> None:
    weighed = {"weight": 10, "podAffinityTerm": term("db")}
    liking = seen(pod("new", "web", affinity={"podAffinity": {PREFERRED: [weighed]}}), where(db_0="b0"))
    assert liking.has_preferences
    assert liking.preference(NODES["b1"]) > liking.preference(NODES["a0"])
    avoiding = seen(pod("new", "web", affinity={"podAntiAffinity": {PREFERRED: [weighed]}}), where(db_0="b0"))
    assert avoiding.preference(NODES["b1"]) < avoiding.preference(NODES["a0"])
    loose = seen(pod("new", "web", **spread(1, "ScheduleAnyway")), where(web_0="a0"))
    assert set(verdicts(loose).values()) == {""}
    assert loose.preference(NODES["b1"]) > loose.preference(NODES["a1"]) > loose.preference(NODES["nowhere"])


def test_groups_follow_services_that_come_and_go() -> None:
    census = where(web_0="a0", web_1="a0", db_0="b0")
    service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}}}
    census.set_service(service)
    (group,) = census.groups(pod("new", "web"))
    assert census.counts(group) == {"a0": 2}
    census.remove("default/web_0")
    assert census.counts(group) == {"a0": 1}
    leaving = pod("web_1", "web")
    leaving["metadata"]["deletionTimestamp"] = "2016-01-02T15:04:05Z"
    census.place(leaving, "a0")
    assert census.counts(group) == {}
    census.remove_service(service)
    assert census.groups(pod("new", "web")) == ()
    assert census.counts(group) == {}
