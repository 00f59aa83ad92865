from __future__ import annotations

from typing import Any

from k8slab.k8sm.scheduler.nodes import new_status, node_object, node_status, parse

RAW: dict[str, Any] = {
    "id": "U-S0",
    "hostname": "kubernetes-minion-0",
    "pid": "slave(1)@172.17.1.8:5051",
    "resources": {"cpus": 4.0, "mem": 4096.0, "disk": 20000.0, "ports": "[31000-32000]"},
    "attributes": {"rack": "r0", "level": 10.0, "podCIDR": "10.1.0.0/24"},
    "active": True,
}


def test_a_node_is_named_and_labelled_after_its_agent() -> None:
    node = node_object(parse(RAW))
    assert node["metadata"]["name"] == "kubernetes-minion-0"
    labels = node["metadata"]["labels"]
    assert labels["kubernetes.io/hostname"] == "kubernetes-minion-0"
    assert labels["k8s.mesosphere.io/attribute-rack"] == "r0"
    assert labels["k8s.mesosphere.io/attribute-level"] == "10"
    assert "k8s.mesosphere.io/attribute-podCIDR" not in labels
    assert node["spec"]["podCIDR"] == "10.1.0.0/24"
    assert node["metadata"]["annotations"] == {"k8s.mesosphere.io/slaveId": "U-S0"}


def test_its_capacity_is_what_mesos_has_not_what_the_machine_has() -> None:
    status = node_status(parse(RAW), {})
    assert status["capacity"] == status["allocatable"]
    assert status["capacity"]["cpu"] == "4"
    assert status["capacity"]["memory"] == "4096Mi"
    assert {"type": "InternalIP", "address": "172.17.1.8"} in status["addresses"]
    assert node_status(parse({**RAW, "resources": {"cpus": 1.5}}), {})["capacity"]["cpu"] == "1500m"


def test_a_new_node_has_its_version_and_what_the_executor_finds_out_is_not_overwritten() -> None:
    assert new_status(parse(RAW))["nodeInfo"]["kubeletVersion"].startswith("v")
    assert "nodeInfo" not in node_status(parse(RAW), {})


def test_readiness_says_who_says_so() -> None:
    (ready,) = node_status(parse(RAW), {})["conditions"]
    assert (ready["status"], ready["reason"]) == ("True", "SlaveReady")
    assert ready["message"] == "mesos reports ready status"


def test_transition_times_stay_and_other_conditions_too() -> None:
    old = {"type": "Ready", "status": "True", "lastTransitionTime": "2016-01-02T15:04:05Z", "lastHeartbeatTime": "x"}
    before = {"conditions": [{"type": "DiskPressure", "status": "False"}, old], "nodeInfo": {"osImage": "Debian"}}
    status = node_status(parse(RAW), before)
    assert [one["type"] for one in status["conditions"]] == ["DiskPressure", "Ready"]
    assert status["conditions"][1]["lastTransitionTime"] == "2016-01-02T15:04:05Z"
    assert status["conditions"][1]["lastHeartbeatTime"] != "x"
    assert "nodeInfo" not in status


def test_a_lost_agents_node_is_not_ready_and_its_heart_stands_still() -> None:
    old = {"type": "Ready", "status": "True", "lastTransitionTime": "a", "lastHeartbeatTime": "2016-01-02T15:04:05Z"}
    (ready,) = node_status(parse(RAW), {"conditions": [old]}, lost=True)["conditions"]
    assert (ready["status"], ready["reason"], ready["lastHeartbeatTime"]) == (
        "False",
        "SlaveLost",
        "2016-01-02T15:04:05Z",
    )
    assert ready["lastTransitionTime"] != "a"
