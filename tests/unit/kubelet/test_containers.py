from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k8slab.kube.kubelet.containers import binds, container_config, sandbox_config
from k8slab.kube.kubelet.images import policy_of
from k8slab.kube.kubelet.logs import log_options
from k8slab.kube.kubelet.privileges import Machine
from k8slab.kube.kubelet.support import unsupported
from tests.unit.kubelet.pods import a_container, a_pod

MACHINE = Machine(memory=1000 * 2**20)


def sandbox_of(pod: dict[str, Any], machine: Machine = MACHINE) -> dict[str, Any]:
    return sandbox_config(
        pod, image="k8slab/pause:1", node="minion-0", attempt=0, domain="cluster.local", machine=machine
    )


def container_of(
    pod: dict[str, Any], environment: dict[str, str] | None = None, user: str = "", machine: Machine = MACHINE
) -> dict[str, Any]:
    return container_config(
        pod,
        pod["spec"]["containers"][0],
        image="k8slab/nginx:1.22",
        node="minion-0",
        attempt=0,
        sandbox="pause0",
        environment=environment or {},
        binds=[],
        user=user,
        machine=machine,
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


@pytest.mark.parametrize(
    ("resources", "score"),
    [
        ({"limits": {"cpu": "1", "memory": "64Mi"}}, -997),
        ({}, 1000),
        ({"requests": {"memory": "250Mi"}}, 750),
        ({"requests": {"memory": "999Mi"}}, 3),
        ({"requests": {"cpu": "1"}}, 999),
    ],
    ids=["guaranteed", "best effort", "a quarter", "nearly all", "no memory"],
)
def test_who_asks_for_less_is_killed_first_when_memory_runs_out(resources: dict[str, Any], score: int) -> None:
    pod = a_pod(a_container(resources=resources))
    assert container_of(pod)["HostConfig"]["OomScoreAdj"] == score
    weak = Machine(memory=MACHINE.memory, oom_score=100)
    assert container_of(pod, machine=weak)["HostConfig"]["OomScoreAdj"] == max(score, 100)
    assert sandbox_of(pod, weak)["HostConfig"]["OomScoreAdj"] == 100


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
        a_pod(a_container(securityContext={"seLinuxOptions": {"level": "s0"}})),
        a_pod(securityContext={"seccompProfile": {"type": "Localhost"}}),
    ],
)
def test_what_cannot_be_done_is_said(pod: dict[str, Any]) -> None:
    (problem,) = unsupported(pod, missing=())
    assert "supported" in problem or "names no volume" in problem


@pytest.mark.parametrize(
    ("context", "problem"),
    [
        ({"privileged": True}, "privileged: this machine gives nobody CAP_SYS_MODULE, CAP_SYS_TIME"),
        ({"capabilities": {"add": ["ALL"]}}, "capabilities: this machine gives nobody CAP_SYS_MODULE, CAP_SYS_TIME"),
        ({"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"]}}, "capabilities: this machine gives nobody CAP_SYS_TIME"),
        ({"capabilities": {"add": ["NET_ADMIN"], "drop": ["SYS_TIME"]}}, ""),
    ],
)
def test_what_the_machine_cannot_give_is_refused(context: dict[str, Any], problem: str) -> None:
    problems = unsupported(a_pod(a_container(securityContext=context)), missing={"SYS_TIME", "SYS_MODULE"})
    assert problems == ([f"container web: securityContext: {problem}"] if problem else [])


@pytest.mark.parametrize(("name", "safe"), [("net.ipv4.tcp_syncookies", True), ("kernel.msgmax", False)])
def test_only_sysctls_of_the_pod_alone_are_set(name: str, safe: bool) -> None:
    pod = a_pod(securityContext={"sysctls": [{"name": name, "value": "1"}]})
    assert unsupported(pod, missing=()) == ([] if safe else [f'forbidden sysctl: "{name}" not allowlisted'])
    assert sandbox_of(pod)["HostConfig"]["Sysctls"] == {name: "1"}


def test_a_sysctl_that_does_not_say_all_is_judged_as_well() -> None:
    assert unsupported(a_pod(securityContext={"sysctls": [{}]}), missing=()) == ['forbidden sysctl: "" not allowlisted']
    pod = a_pod(securityContext={"sysctls": [{"name": "net.ipv4.tcp_syncookies"}]})
    assert sandbox_of(pod)["HostConfig"]["Sysctls"] == {"net.ipv4.tcp_syncookies": ""}


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({"hostname": "web-0"}, ("web-0", "")),
        ({"hostname": "web-0", "subdomain": "nginx"}, ("web-0", "nginx.default.svc.cluster.local")),
        (
            {"hostname": "web-0", "subdomain": "nginx", "setHostnameAsFQDN": True},
            ("web-0.nginx.default.svc.cluster.local", ""),
        ),
    ],
)
def test_the_pods_names(spec: dict[str, Any], names: tuple[str, str]) -> None:
    config = sandbox_of(a_pod(**spec))
    assert (config["Hostname"], config["Domainname"]) == names


def test_what_can_be_done_is_not_complained_about() -> None:
    container = a_container(
        securityContext={"runAsUser": 5, "runAsNonRoot": True, "seccompProfile": None},
        volumeMounts=[{"name": "scratch", "mountPath": "/x"}],
        env=[{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
    )
    volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "logs", "hostPath": {"path": "/var/log"}}]
    assert unsupported(a_pod(container, volumes=volumes, securityContext={}), missing=()) == []


def test_log_options_are_the_engines() -> None:
    options, limit = log_options({"follow": "true", "tailLines": "5", "timestamps": "true", "limitBytes": "100"})
    assert options == {"follow": "1", "tail": "5", "timestamps": "1"}
    assert limit == 100
    with pytest.raises(ValueError, match="tailLines"):
        log_options({"tailLines": "many"})
