from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k8slab.kube.kubelet.containers import DnsConfig, binds, container_config, sandbox_config
from k8slab.kube.kubelet.images import policy_of
from k8slab.kube.kubelet.logs import log_options
from k8slab.kube.kubelet.support import unsupported
from tests.unit.kubelet.pods import a_container, a_pod

CLUSTER = DnsConfig(("10.0.0.10",), "cluster.local")


def sandbox_of(pod: dict[str, Any], dns: DnsConfig = DnsConfig()) -> dict[str, Any]:
    return sandbox_config(pod, image="k8slab/pause:1", node="minion-0", attempt=0, dns=dns)


def container_of(pod: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    return container_config(
        pod,
        pod["spec"]["containers"][0],
        image="k8slab/nginx:1.22",
        node="minion-0",
        attempt=0,
        sandbox="pause0",
        environment=environment or {},
        binds=[],
    )


def test_the_sandbox_has_the_pods_host_name_and_host_ports() -> None:
    ports = [{"containerPort": 80, "hostPort": 31080}, {"containerPort": 53, "hostPort": 31053, "protocol": "UDP"}]
    config = sandbox_of(a_pod(a_container(ports=ports)))
    assert config["Hostname"] == "nginx"
    assert config["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "31080"}],
        "53/udp": [{"HostIp": "", "HostPort": "31053"}],
    }


def test_ports_without_host_port_stay_in_the_pod() -> None:
    assert sandbox_of(a_pod(a_container(ports=[{"containerPort": 80}])))["HostConfig"]["PortBindings"] == {}


def test_host_network_has_neither_ports_nor_name_of_its_own() -> None:
    config = sandbox_of(a_pod(hostNetwork=True))
    assert config["HostConfig"]["NetworkMode"] == "host"
    assert "Hostname" not in config


@pytest.mark.parametrize(
    ("spec", "servers"),
    [
        ({}, ["10.0.0.10"]),
        ({"dnsPolicy": "Default"}, []),
        ({"hostNetwork": True}, []),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, ["10.0.0.10"]),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, ["1.1.1.1"]),
    ],
)
def test_the_resolver_follows_the_policy(spec: dict[str, Any], servers: list[str]) -> None:
    host = sandbox_of(a_pod(**spec), CLUSTER)["HostConfig"]
    assert host["Dns"] == servers
    if servers == ["10.0.0.10"]:
        assert host["DnsSearch"] == ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]


def test_containers_live_in_the_sandbox() -> None:
    host = container_of(a_pod())["HostConfig"]
    assert host["NetworkMode"] == host["IpcMode"] == "container:pause0"
    assert "PidMode" not in host
    assert container_of(a_pod(shareProcessNamespace=True))["HostConfig"]["PidMode"] == "container:pause0"


def test_command_and_args_replace_the_images() -> None:
    config = container_of(a_pod(a_container(command=["/bin/sh", "-c"], args=["echo $(A)"])), {"A": "1"})
    assert config["Entrypoint"] == ["/bin/sh", "-c"]
    assert config["Cmd"] == ["echo 1"]
    assert config["Env"] == ["A=1"]
    plain = container_of(a_pod())
    assert "Entrypoint" not in plain
    assert "Cmd" not in plain


def test_limits_are_enforced() -> None:
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}
    host = container_of(a_pod(a_container(resources=resources)))["HostConfig"]
    assert host["CpuShares"] == 256
    assert (host["CpuQuota"], host["CpuPeriod"]) == (50_000, 100_000)
    assert host["Memory"] == host["MemorySwap"] == 64 * 1024 * 1024


def test_without_limits_nothing_is_limited() -> None:
    host = container_of(a_pod())["HostConfig"]
    assert host["CpuShares"] == 2
    assert "CpuQuota" not in host
    assert "Memory" not in host


def test_user_and_privileges() -> None:
    context = {"runAsUser": 1000, "capabilities": {"add": ["NET_ADMIN"]}, "allowPrivilegeEscalation": False}
    config = container_of(a_pod(a_container(securityContext=context), securityContext={"runAsGroup": 2000}))
    assert config["User"] == "1000:2000"
    assert config["HostConfig"]["CapAdd"] == ["NET_ADMIN"]
    assert config["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]


def test_mounts_and_the_last_words_are_bound() -> None:
    container = a_container(
        volumeMounts=[{"name": "data", "mountPath": "/data"}, {"name": "conf", "mountPath": "/c", "readOnly": True}]
    )
    made = binds(a_pod(container), container, [Path("/v/data"), Path("/etc/c")], Path("/m/0"))
    assert made == ["/v/data:/data", "/etc/c:/c:ro", "/m/0:/dev/termination-log"]


def test_what_is_made_of_objects_is_never_writable_and_mounts_may_spread() -> None:
    container = a_container(
        volumeMounts=[
            {"name": "conf", "mountPath": "/c"},
            {"name": "host", "mountPath": "/h", "mountPropagation": "HostToContainer"},
            {"name": "host", "mountPath": "/r", "readOnly": True, "mountPropagation": "None"},
        ]
    )
    pod = a_pod(container, volumes=[{"name": "conf", "configMap": {"name": "x"}}, {"name": "host", "hostPath": {}}])
    made = binds(pod, container, [Path("/v/c"), Path("/h"), Path("/h")], Path("/m/0"))
    assert made[:-1] == ["/v/c:/c:ro", "/h:/h:rslave", "/h:/r:ro,rprivate"]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.22", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:abc", "IfNotPresent"),
    ],
)
def test_default_pull_policy(image: str, policy: str) -> None:
    assert policy_of({"image": image}) == policy
    assert policy_of({"image": image, "imagePullPolicy": "Never"}) == "Never"


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(a_container(volumeDevices=[{"name": "v", "devicePath": "/dev/x"}])),
        a_pod(runtimeClassName="gvisor"),
        a_pod(a_container(env=[{"name": "X", "valueFrom": {"fileKeyRef": {"key": "k"}}}])),
        a_pod(a_container(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}])),
        a_pod(a_container(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}}])),
        a_pod(a_container(volumeMounts=[{"name": "gone", "mountPath": "/x"}])),
        a_pod(initContainers=[a_container("init", volumeDevices=[{"name": "v", "devicePath": "/dev/x"}])]),
        a_pod(volumes=[{"name": "c", "persistentVolumeClaim": {"claimName": "x"}}]),
        a_pod(volumes=[{"name": "c", "emptyDir": {"medium": "HugePages"}}]),
        a_pod(volumes=[{"name": "c", "projected": {"sources": [{"clusterTrustBundle": {"path": "x"}}]}}]),
        a_pod(volumes=[{"name": "c", "downwardAPI": {"items": [{"fieldRef": {"fieldPath": "spec.nope"}}]}}]),
        a_pod(a_container(securityContext={"runAsNonRoot": True})),
    ],
)
def test_what_cannot_be_done_is_said(pod: dict[str, Any]) -> None:
    (problem,) = unsupported(pod)
    assert "supported" in problem or "names no volume" in problem


def test_what_can_be_done_is_not_complained_about() -> None:
    container = a_container(
        securityContext={"runAsUser": 5, "runAsNonRoot": True, "seccompProfile": None},
        volumeMounts=[{"name": "scratch", "mountPath": "/x"}],
        env=[{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
    )
    volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "logs", "hostPath": {"path": "/var/log"}}]
    assert unsupported(a_pod(container, volumes=volumes, securityContext={})) == []


def test_log_options_are_the_engines() -> None:
    options, limit = log_options({"follow": "true", "tailLines": "5", "timestamps": "true", "limitBytes": "100"})
    assert options == {"follow": "1", "tail": "5", "timestamps": "1"}
    assert limit == 100
    with pytest.raises(ValueError, match="tailLines"):
        log_options({"tailLines": "many"})
