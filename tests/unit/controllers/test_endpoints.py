from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.controllers.endpoints import selects, subsets
from k8slab.kube.controllers.node_lifecycle import condition, silenced, unready


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }


def pod(name: str = "a", *, ip: str = "10.1.0.2", ready: bool = True, port: int = 8080, **meta: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": port}]
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"u-{name}", "labels": {"app": "web"}, **meta},
        "spec": {"nodeName": "minion-0", "containers": [{"name": "c", "ports": ports}]},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def test_ready_pods_are_addresses_and_others_are_listed_apart() -> None:
    (subset,) = subsets(service(), [pod("b", ip="10.1.1.2"), pod("a"), pod("c", ip="10.1.2.2", ready=False)])
    assert [one["ip"] for one in subset["addresses"]] == ["10.1.0.2", "10.1.1.2"]
    assert [one["ip"] for one in subset["notReadyAddresses"]] == ["10.1.2.2"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert subset["addresses"][0]["nodeName"] == "minion-0"
    assert subset["addresses"][0]["targetRef"]["uid"] == "u-a"


def test_named_ports_are_each_pods_own() -> None:
    named = service(ports=[{"name": "web", "port": 80, "targetPort": "http"}])
    found = subsets(named, [pod("a", port=8080), pod("b", ip="10.1.1.2", port=9090)])
    assert [(one["ports"][0]["name"], one["ports"][0]["port"]) for one in found] == [("web", 8080), ("web", 9090)]


@pytest.mark.parametrize(
    "left_out",
    [
        pod(labels={"app": "other"}),
        pod(namespace="prod"),
        pod(ip=""),
        pod(deletionTimestamp="2016-01-02T15:04:05Z"),
        {**pod(), "status": {"phase": "Succeeded", "podIP": "10.1.0.2"}},
    ],
)
def test_pods_that_serve_nobody_are_left_out(left_out: dict[str, Any]) -> None:
    assert subsets(service(), [left_out]) == []


def test_a_service_without_selector_selects_nothing() -> None:
    assert not selects(service(selector={}), pod())


def test_a_silent_node_is_unknown_in_every_respect() -> None:
    node = {"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "then"}]}}
    (ready,) = silenced(node)["conditions"]
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert ready["lastTransitionTime"] != "then"
    again = silenced({"status": {"conditions": [ready]}})["conditions"]
    assert again[0]["lastTransitionTime"] == ready["lastTransitionTime"]


def test_its_pods_are_not_ready_and_nothing_else_changes() -> None:
    before = pod()
    before["status"]["conditions"].append({"type": "Initialized", "status": "True"})
    after = {"status": {"conditions": unready(before)}}
    assert condition(after, "Ready")["status"] == "False"
    assert condition(after, "Initialized") == {"type": "Initialized", "status": "True"}
