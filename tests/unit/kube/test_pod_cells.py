"""What kubectl shows of a pod, and what the server fills in and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD, qos_class, status_word
from k8slab.kube.api.kinds.pod_rules import spec_problems
from k8slab.kube.api.kinds.service import ENDPOINTS
from k8slab.kube.api.meta import duration, parse_quantity
from k8slab.kube.api.schemas import decode
from k8slab.kube.api.tables import row


def pod(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **meta}, "spec": {"containers": [{"name": "c"}]}, "status": status}


def container(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"phase": "Running", "containerStatuses": [{"name": "c", "state": state, **more}]}


@pytest.mark.parametrize(
    ("obj", "word"),
    [
        (pod({"phase": "Pending"}), "Pending"),
        (pod(container({"running": {}}, ready=True)), "Running"),
        (pod(container({"waiting": {"reason": "CrashLoopBackOff"}})), "CrashLoopBackOff"),
        (pod(container({"terminated": {"reason": "Completed", "exitCode": 0}})), "Completed"),
        (pod(container({"terminated": {"exitCode": 3}})), "ExitCode:3"),
        (pod(container({"terminated": {"signal": 9}})), "Signal:9"),
        (pod({"phase": "Failed", "reason": "Evicted"}), "Evicted"),
        (pod(container({"running": {}}), deletionTimestamp="2026-11-20T00:00:00Z"), "Terminating"),
    ],
)
def test_status_word(obj: dict[str, Any], word: str) -> None:
    assert status_word(obj) == word


def test_ready_and_restarts() -> None:
    status = container({"running": {}}, ready=True, restartCount=2)
    cells = row(POD, pod(status), "None")["cells"]
    assert cells[1:4] == ["1/1", "Running", "2"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (66, "66s"),
        (325, "5m25s"),
        (600, "10m"),
        (10_800, "3h"),
        (11_100, "3h5m"),
        (100_000, "27h"),
        (183_600, "2d3h"),
        (2_592_000, "30d"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "number"), [("100m", "0.1"), ("1Gi", "1073741824"), ("2", "2"), ("1e3", "1000"), ("1.5k", "1500")]
)
def test_quantities(text: str, number: str) -> None:
    assert parse_quantity(text) == parse_quantity(number)
    assert parse_quantity("1 Gi") is None
    assert parse_quantity("x") is None


def test_qos_classes() -> None:
    both = {"cpu": "1", "memory": "1Gi"}
    assert qos_class({"containers": [{"resources": {}}]}) == "BestEffort"
    assert qos_class({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}) == "Burstable"
    assert qos_class({"containers": [{"resources": {"requests": both, "limits": both}}]}) == "Guaranteed"


def test_node_roles_and_endpoints() -> None:
    labels = {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/a": ""}
    node = {"metadata": {"name": "n", "labels": labels}, "spec": {"unschedulable": True}}
    assert row(NODE, node, "None")["cells"][1:3] == ["Unknown,SchedulingDisabled", "a,worker"]
    addresses = [{"ip": f"10.1.0.{index}"} for index in range(5)]
    endpoints = {"metadata": {"name": "e"}, "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    assert row(ENDPOINTS, endpoints, "None")["cells"][1] == "10.1.0.0:80,10.1.0.1:80,10.1.0.2:80 + 2 more..."


def test_a_pod_is_decoded_by_its_types() -> None:
    body = {"metadata": {"name": "p", "creationTimestamp": None}, "spec": {"containers": [{"name": "c", "foo": 1}]}}
    decoded, unknown = decode("Pod", body, version="v1")
    assert unknown == ["spec.containers[0].foo"]
    assert decoded == {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}


def test_defaults_and_rules() -> None:
    obj = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "C", "ports": [{"containerPort": 0}]}]}}
    POD.default(obj)
    POD.prepare(obj, None)
    assert obj["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    found = {problem.field: problem.message for problem in POD.validate(obj, None)}
    assert found["spec.containers[0].image"] == "Required value"
    assert found["spec.containers[0].ports[0].containerPort"] == "Required value"
    assert "a lowercase RFC 1123 label must consist of" in found["spec.containers[0].name"]


def test_a_volumes_size_limit_is_a_quantity() -> None:
    spec = {"containers": [], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}

    def wrong(limit: str) -> list[str]:
        volumes = [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": limit}}]
        return [problem.field for problem in spec_problems({**spec, "volumes": volumes}, "spec")]

    where = "spec.volumes[0].emptyDir.sizeLimit"
    assert where in wrong("abc")
    assert where in wrong("-1Mi")
    assert where not in wrong("64Mi")


def initializing(*statuses: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A pod with init containers "one" and the sidecar "side"."""
    obj = pod({"phase": "Pending", "initContainerStatuses": list(statuses), **more})
    obj["spec"]["initContainers"] = [{"name": "one"}, {"name": "side", "restartPolicy": "Always"}]
    return obj


ONE_DONE = {"name": "one", "state": {"terminated": {"exitCode": 0}}, "ready": True}
SIDE = {"name": "side", "state": {"running": {}}, "ready": True, "started": True, "restartCount": 3}
INITIALIZED = [{"type": "Initialized", "status": "True"}]


@pytest.mark.parametrize(
    ("obj", "cells"),
    [
        (initializing({"name": "one", "state": {"running": {}}}), ["0/2", "Init:0/2", "0"]),
        (initializing({"name": "one", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}, "restartCount": 2}),
         ["0/2", "Init:Error", "2"]),
        (initializing({"name": "one", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}),
         ["0/2", "Init:CrashLoopBackOff", "0"]),
        (initializing(ONE_DONE, {"name": "side", "state": {"waiting": {"reason": "PodInitializing"}}}),
         ["0/2", "Init:1/2", "0"]),
        (initializing(ONE_DONE, SIDE), ["1/2", "Pending", "3"]),
        (
            initializing(
                ONE_DONE,
                {**SIDE, "started": False, "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
                phase="Running",
                conditions=INITIALIZED,
                containerStatuses=[{"name": "c", "state": {"running": {}}, "ready": True, "restartCount": 1}],
            ),
            ["1/2", "Running", "4"],
        ),
    ],
)  # fmt: skip
def test_init_containers_and_sidecars(obj: dict[str, Any], cells: list[str]) -> None:
    assert row(POD, obj, "None")["cells"][1:4] == cells


NOT_FOR_INIT = "Forbidden: may not be set for init containers without restartPolicy=Always"


@pytest.mark.parametrize(
    ("field", "change", "problems"),
    [
        ("containers", {"livenessProbe": {}}, {"livenessProbe": "Required value: must specify a handler type"}),
        ("containers", {"restartPolicy": "Always"},
         {"restartPolicy": "Forbidden: may not be set for non-init containers"}),
        ("initContainers", {"restartPolicy": "Never"},
         {"restartPolicy": 'Unsupported value: "Never": supported values: "Always"'}),
        ("initContainers", {"readinessProbe": {"tcpSocket": {"port": 80}}}, {"readinessProbe": NOT_FOR_INIT}),
        ("initContainers", {"restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 80}}}, {}),
        ("initContainers", {"lifecycle": {"preStop": {}}}, {"lifecycle": NOT_FOR_INIT}),
        ("containers", {"lifecycle": {"preStop": {}}},
         {"lifecycle.preStop": "Required value: must specify a handler type"}),
        ("containers", {"lifecycle": {"postStart": {"exec": {}, "sleep": {"seconds": 1}}}},
         {"lifecycle.postStart.sleep": "Forbidden: may not specify more than 1 handler type",
          "lifecycle.postStart.exec.command": "Required value"}),
        ("containers", {"readinessProbe": {"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 3}},
         {"readinessProbe.terminationGracePeriodSeconds": "Invalid value: 3: must not be set for readinessProbes"}),
        ("containers", {"livenessProbe": {"grpc": {"port": 0}}},
         {"livenessProbe.grpc.port": "Invalid value: 0: must be between 1 and 65535, inclusive"}),
    ],
)  # fmt: skip
def test_rules_of_probes_and_hooks(field: str, change: dict[str, Any], problems: dict[str, str]) -> None:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]}
    spec["initContainers"] = [{"name": "one", "image": "i"}]
    spec[field][0].update(change)
    obj = {"metadata": {"name": "p"}, "spec": spec}
    POD.default(obj)
    found = {problem.field.removeprefix(f"spec.{field}[0]."): problem.message for problem in POD.validate(obj, None)}
    assert found == problems


def test_a_container_status_without_a_name_is_shown_all_the_same() -> None:
    status = {"initContainerStatuses": [{"ready": True, "restartCount": 3}]}
    assert row(POD, pod({"phase": "Running", **status}), "None")["cells"][1:4] == ["0/1", "Init:0/0", "3"]
