from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.kubelet.environment import container_environment, expand, service_environment
from tests.unit.kubelet.pods import a_container, a_pod


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("cost: 5$", "cost: 5$"),
        ("$()", "$()"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def env_of(*variables: dict[str, Any], services: dict[str, str] | None = None) -> dict[str, str]:
    container = a_container(env=list(variables), resources={"limits": {"cpu": "1500m", "memory": "64Mi"}})
    pod = a_pod(container)
    pod["spec"]["nodeName"] = "minion-0"
    pod["status"] = {"podIP": "10.1.0.2", "hostIP": "172.17.1.8"}
    return container_environment(pod, container, services or {})


def test_later_variables_see_earlier_ones_and_not_the_other_way_round() -> None:
    env = env_of({"name": "B", "value": "$(A)"}, {"name": "A", "value": "1"}, {"name": "C", "value": "$(A)-$(B)"})
    assert env == {"B": "$(A)", "A": "1", "C": "1-$(A)"}


def test_declared_variables_win_over_services_and_may_refer_to_them() -> None:
    services = {"DB_SERVICE_HOST": "10.0.0.5", "DB_PORT": "tcp"}
    env = env_of(
        {"name": "URL", "value": "http://$(DB_SERVICE_HOST)"}, {"name": "DB_PORT", "value": "x"}, services=services
    )
    assert env == {"DB_SERVICE_HOST": "10.0.0.5", "DB_PORT": "x", "URL": "http://10.0.0.5"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "nginx"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "nginx"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "minion-0"),
        ("status.podIP", "10.1.0.2"),
        ("status.hostIP", "172.17.1.8"),
    ],
)
def test_fields_of_the_pod(path: str, expected: str) -> None:
    assert env_of({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}) == {"X": expected}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "limits.memory"}, str(64 * 1024 * 1024)),
        ({"resource": "requests.memory", "divisor": "1Mi"}, "64"),
    ],
)
def test_resources_are_rounded_up_to_the_divisor(reference: dict[str, str], expected: str) -> None:
    assert env_of({"name": "X", "valueFrom": {"resourceFieldRef": reference}}) == {"X": expected}


def service(service: str, namespace: str = "default", address: str = "10.0.0.7", **port: Any) -> dict[str, Any]:
    ports = [{"port": 80, "protocol": "TCP", **port}]
    return {"metadata": {"name": service, "namespace": namespace}, "spec": {"clusterIP": address, "ports": ports}}


def test_services_become_variables() -> None:
    env = service_environment([service("my-db", name="sql")], "default", links=True)
    assert env["MY_DB_SERVICE_HOST"] == "10.0.0.7"
    assert env["MY_DB_SERVICE_PORT"] == env["MY_DB_SERVICE_PORT_SQL"] == "80"
    assert env["MY_DB_PORT"] == env["MY_DB_PORT_80_TCP"] == "tcp://10.0.0.7:80"
    assert env["MY_DB_PORT_80_TCP_ADDR"] == "10.0.0.7"


def test_only_services_of_the_namespace_and_the_api_are_seen() -> None:
    services = [service("kubernetes"), service("mine", "prod"), service("other"), service("headless", "prod", "None")]
    assert {key.split("_SERVICE")[0] for key in service_environment(services, "prod", links=True) if "HOST" in key} == {
        "KUBERNETES",
        "MINE",
    }
    assert {key for key in service_environment(services, "prod", links=False) if key.endswith("HOST")} == {
        "KUBERNETES_SERVICE_HOST"
    }
