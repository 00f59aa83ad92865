from __future__ import annotations

import asyncio
from typing import Any

import pytest

from k8slab.kube.kubelet.environment import (
    ConfigError,
    Environment,
    container_environment,
    expand,
    service_environment,
)
from tests.unit.kubelet.pods import Shelf, a_config_map, a_container, a_pod, a_secret


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
    return asyncio.run(container_environment(pod, container, services or {}, Shelf())).variables


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


def test_what_is_not_limited_is_limited_by_the_node() -> None:
    reference = {"resource": "limits.ephemeral-storage", "divisor": "1Gi"}
    assert env_of({"name": "X", "valueFrom": {"resourceFieldRef": reference}}) == {"X": "10"}


SHELF = Shelf(
    a_config_map("conf", {"color": "blue", "not a name": "x", "9": "y"}),
    a_secret("secret", {"color": b"green", "password": b"hunter2"}),
)


def from_objects(**container: Any) -> Environment:
    made = a_container(**container)
    return asyncio.run(container_environment(a_pod(made), made, {}, SHELF))


def key_of(source: str, name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {source: {"name": name, "key": key, **more}}}


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (key_of("configMapKeyRef", "conf", "color"), {"X": "blue"}),
        (key_of("secretKeyRef", "secret", "password"), {"X": "hunter2"}),
        (key_of("secretKeyRef", "secret", "none", optional=True), {}),
        (key_of("configMapKeyRef", "none", "none", optional=True), {}),
    ],
)
def test_variables_from_keys_of_objects(variable: dict[str, Any], expected: dict[str, str]) -> None:
    assert from_objects(env=[variable]).variables == expected


@pytest.mark.parametrize(
    ("container", "why"),
    [
        ({"env": [key_of("configMapKeyRef", "none", "x")]}, 'configmap "none" not found'),
        ({"env": [key_of("secretKeyRef", "none", "x")]}, 'secret "none" not found'),
        ({"env": [key_of("configMapKeyRef", "conf", "x")]}, "couldn't find key x in ConfigMap default/conf"),
        ({"env": [key_of("secretKeyRef", "secret", "x")]}, "couldn't find key x in Secret default/secret"),
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, 'configmap "none" not found'),
    ],
)
def test_what_is_missing_is_why_a_container_cannot_be_configured(container: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        from_objects(**container)
    assert str(refused.value) == why


def test_all_keys_become_variables_later_sources_and_declared_ones_win() -> None:
    sources = [
        {"secretRef": {"name": "secret"}},
        {"configMapRef": {"name": "conf"}, "prefix": "P_"},
        {"secretRef": {"name": "none", "optional": True}},
    ]
    made = from_objects(envFrom=sources, env=[{"name": "password", "value": "$(P_color)"}])
    assert made.variables == {"color": "green", "password": "blue", "P_color": "blue", "P_9": "y"}
    assert made.skipped == (
        "Keys [P_not a name] from the EnvFrom configMap default/conf were skipped since they are considered invalid "
        "environment variable names.",
    )


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
