"""What containers are given: variables, users and rights, names, shares of the machine, images."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from k8slab.kube.kubelet.privileges import CAPABILITIES, this_machine
from tests.daemons.k8sm import table
from tests.daemons.k8sm.cluster import CLUSTER_DNS, Cluster, Pod, ready
from tests.daemons.k8sm.table import NAMESPACE, Row, Stuck, rows
from tests.daemons.processes import eventually

CONF = {"metadata": {"name": "conf"}, "data": {"color": "blue", "9lives": "x"}}
SECRET = {"metadata": {"name": "secret"}, "data": {"password": base64.b64encode(b"hunter2").decode()}}
DB = {"metadata": {"name": "my-db"}, "spec": {"clusterIP": "10.0.7.7", "ports": [{"name": "sql", "port": 5432}]}}
OBJECTS = {"configmaps": [CONF], "secrets": [SECRET], "services": [DB]}

Spec = dict[str, Any]


def value(name: str, text: str) -> Spec:
    return {"name": name, "value": text}


def source(name: str, kind: str, /, **reference: Any) -> Spec:
    return {"name": name, "valueFrom": {kind: reference}}


def of_field(name: str, path: str) -> Spec:
    return source(name, "fieldRef", fieldPath=path)


def env(*variables: Spec, **more: Any) -> Spec:
    return {"container": {"env": list(variables), **more}}


def secured(context: Spec | None = None, pod: Spec | None = None, **more: Any) -> Spec:
    return {
        "container": {"securityContext": context or {}, **more},
        "spec": {"securityContext": pod or {}},
    }


def limited(**resources: Spec) -> Spec:
    return {"container": {"resources": resources}}


def either(new: str, old: str) -> str:
    """A file of the container's own control group, in the kernel's newer layout or in the older one."""
    return f"cat /sys/fs/cgroup/{new} 2>/dev/null || cat /sys/fs/cgroup/{old}"


def namespace(kind: str) -> str:
    """The test's own, which is the node's too."""
    return str(Path(f"/proc/self/ns/{kind}").readlink())


VARIABLES = [
    Row(
        "variables-refer-to-earlier-ones",
        'echo "$B" $(A)',
        re.escape("1-$(NONE)-$(A) 1"),
        **env(value("A", "1"), value("B", "$(A)-$(NONE)-$$(A)")),
    ),
    Row(
        "variables-from-keys",
        "echo $COLOR $PASSWORD ${MISSING-unset}",
        "blue hunter2 unset",
        **env(
            source("COLOR", "configMapKeyRef", name="conf", key="color"),
            source("PASSWORD", "secretKeyRef", name="secret", key="password"),
            source("MISSING", "configMapKeyRef", name="conf", key="none", optional=True),
        ),
    ),
    Row(
        "variables-from-all-keys",
        "echo $C_color $password",
        "blue hunter2",
        container={
            "envFrom": [
                {"prefix": "C_", "configMapRef": {"name": "conf"}},
                {"secretRef": {"name": "secret"}},
                {"configMapRef": {"name": "conf"}},
                {"configMapRef": {"name": "none", "optional": True}},
            ]
        },
    ),
    Row(
        "variables-from-fields",
        "echo $NAME $SPACE $APP $ACCOUNT $NODE; [ $IP != $HOST ] && echo $UID_",
        r"variables-from-fields table variables-from-fields default k8sm-test-\S+\n[0-9a-f-]{36}",
        **env(
            of_field("NAME", "metadata.name"),
            of_field("SPACE", "metadata.namespace"),
            of_field("APP", "metadata.labels['app']"),
            of_field("ACCOUNT", "spec.serviceAccountName"),
            of_field("NODE", "spec.nodeName"),
            of_field("UID_", "metadata.uid"),
            of_field("IP", "status.podIP"),
            of_field("HOST", "status.hostIP"),
        ),
    ),
    Row(
        "variables-from-resources",
        "echo $CPU $MEMORY $ALL",
        r"250 32 [12]",
        **env(
            source("CPU", "resourceFieldRef", resource="requests.cpu", divisor="1m"),
            source("MEMORY", "resourceFieldRef", resource="limits.memory", divisor="1Mi"),
            source("ALL", "resourceFieldRef", resource="limits.cpu"),
            resources={"requests": {"cpu": "250m"}, "limits": {"memory": "32Mi"}},
        ),
    ),
    Row(
        "variables-of-services",
        "echo $MY_DB_SERVICE_HOST $MY_DB_SERVICE_PORT_SQL $MY_DB_PORT $KUBERNETES_SERVICE_HOST",
        "10.0.7.7 5432 tcp://10.0.7.7:5432 10.0.0.1",
    ),
    Row(
        "no-variables-of-services",
        "echo ${MY_DB_SERVICE_HOST-none} $KUBERNETES_SERVICE_HOST",
        "none 10.0.0.1",
        spec={"enableServiceLinks": False},
    ),
]

RIGHTS = [
    Row("user", "id -u; id -g", "5\n0", **secured({"runAsUser": 5})),
    Row(
        "user-and-group-of-the-pod",
        "id -u; id -G",
        "5\n7 8",
        **secured(pod={"runAsUser": 5, "runAsGroup": 7, "supplementalGroups": [8]}),
    ),
    Row("user-of-the-container", "id -u", "6", **secured({"runAsUser": 6}, {"runAsUser": 5})),
    Row("group-without-user", "id -u; id -g", "0\n7", **secured({"runAsGroup": 7})),
    Row(
        "read-only-root",
        "touch /x; touch /v/x && ls /v",
        ".*Read-only file system\nx",
        container={
            "securityContext": {"readOnlyRootFilesystem": True},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        },
        spec={"volumes": [{"name": "v", "emptyDir": {}}]},
    ),
    Row(
        "no-capabilities",
        "grep CapEff /proc/self/status",
        "CapEff:\t0{16}",
        **secured({"capabilities": {"drop": ["ALL"]}}),
    ),
    Row(
        "one-capability",
        "grep CapEff /proc/self/status",
        f"CapEff:\t{1 << CAPABILITIES.index('NET_ADMIN'):016x}",
        **secured({"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}),
    ),
    Row(
        "no-new-privileges",
        "grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t1",
        **secured({"allowPrivilegeEscalation": False}),
    ),
    Row("seccomp", "grep Seccomp: /proc/self/status", "Seccomp:\t2"),
    Row(
        "no-seccomp",
        "grep Seccomp: /proc/self/status",
        "Seccomp:\t0",
        **secured(pod={"seccompProfile": {"type": "Unconfined"}}),
    ),
    Row(
        "sysctl",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "81",
        **secured(pod={"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "81"}]}),
    ),
    Row("host-pid", "readlink /proc/self/ns/pid", re.escape(namespace("pid")), spec={"hostPID": True}),
    Row("host-ipc", "readlink /proc/self/ns/ipc", re.escape(namespace("ipc")), spec={"hostIPC": True}),
    Row(
        "host-network",
        "readlink /proc/self/ns/net",
        re.escape(namespace("net")),
        spec={"hostNetwork": True},
    ),
    Row("own-namespaces", "cat /proc/1/comm", "sh"),
    Row("shared-processes", "cat /proc/1/comm", "sleep", spec={"shareProcessNamespace": True}),
]

NAMES = [
    Row("name-of-the-pod", "hostname; grep name-of /etc/hosts", r"name-of-the-pod\n[\d.]+\tname-of-the-pod"),
    Row(
        "name-of-its-own",
        "hostname; grep web-0 /etc/hosts",
        r"web-0\n[\d.]+\tweb-0.nginx.table.svc.cluster.local\tweb-0",
        spec={"hostname": "web-0", "subdomain": "nginx"},
    ),
    Row(
        "whole-name",
        "hostname",
        "web-0.nginx.table.svc.cluster.local",
        spec={"hostname": "web-0", "subdomain": "nginx", "setHostnameAsFQDN": True},
    ),
    Row(
        "host-aliases",
        "grep foo /etc/hosts",
        "1.2.3.4\tfoo\tbar",
        spec={"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}]},
    ),
    Row(
        "hosts-of-its-own",
        "cat /etc/hosts",
        "blue",
        container={"volumeMounts": [{"name": "v", "mountPath": "/etc/hosts", "subPath": "color"}]},
        spec={"volumes": [{"name": "v", "configMap": {"name": "conf"}}]},
    ),
    Row(
        "hosts-of-the-node",
        "head -n 1 /etc/hosts",
        r"# Kubernetes-managed hosts file \(host network\)\.",
        spec={"hostNetwork": True},
    ),
    Row(
        "resolver-of-the-cluster",
        "cat /etc/resolv.conf",
        rf"nameserver {CLUSTER_DNS}\nsearch table\.svc\.cluster\.local svc\S+ cluster\.local.*\noptions.* ndots:5",
    ),
    Row("resolver-of-the-node", "head -n 1 /etc/resolv.conf", "nameserver .*", spec={"dnsPolicy": "Default"}),
    Row(
        "resolver-of-its-own",
        "cat /etc/resolv.conf",
        "nameserver 1.1.1.1\nsearch a.example b.example\noptions ndots:2 edns0",
        spec={
            "dnsPolicy": "None",
            "dnsConfig": {
                "nameservers": ["1.1.1.1"],
                "searches": ["a.example", "b.example"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
            },
        },
    ),
]

SPIN = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
SHARES = [
    Row("cpu-limit", either("cpu.max", "cpu/cpu.cfs_quota_us"), "25000( 100000)?", **limited(limits={"cpu": "250m"})),
    Row(
        "cpu-is-withheld",
        f"{SPIN}; grep nr_throttled /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat",
        r".*nr_throttled [1-9].*",
        **limited(limits={"cpu": "100m"}),
    ),
    Row(
        "cpu-request",
        either("cpu.weight", "cpu/cpu.shares"),
        "20|512",
        **limited(requests={"cpu": "500m", "memory": "16Mi"}),
    ),
    Row(
        "memory-limit",
        either("memory.max", "memory/memory.limit_in_bytes"),
        str(32 << 20),
        **limited(limits={"memory": "32Mi"}),
    ),
    Row("first-to-be-killed", "cat /proc/self/oom_score_adj", "1000", container={"resources": {}}),
    Row(
        "last-to-be-killed",
        "cat /proc/self/oom_score_adj",
        str(max(-997, this_machine().oom_score)),
        **limited(limits={"cpu": "50m", "memory": "16Mi"}),
    ),
]

TABLE = [*VARIABLES, *RIGHTS, *NAMES, *SHARES]


def config_error(why: str) -> tuple[str, str]:
    return "Failed", f"^Error: {re.escape(why)}"


STUCK = [
    Stuck(
        "no-config-map-for-a-variable",
        "CreateContainerConfigError",
        config_error('configmap "none" not found'),
        **env(source("X", "configMapKeyRef", name="none", key="x")),
    ),
    Stuck(
        "no-key-for-a-variable",
        "CreateContainerConfigError",
        config_error("couldn't find key none in Secret table/secret"),
        **env(source("X", "secretKeyRef", name="secret", key="none")),
    ),
    Stuck(
        "root-that-must-not-be",
        "CreateContainerConfigError",
        config_error('container has runAsNonRoot and image will run as root (pod: "root-that-must-not-be_table('),
        **secured({"runAsNonRoot": True}),
    ),
    Stuck(
        "image-never-pulled",
        "ErrImageNeverPull",
        ("ErrImageNeverPull", 'Container image "k8sm-test/none:1" is not present with pull policy of Never'),
        container={"image": "k8sm-test/none:1", "imagePullPolicy": "Never"},
    ),
    Stuck(
        "image-that-is-nowhere",
        "ImagePullBackOff",
        ("BackOff", 'Back-off pulling image "127.0.0.1:9/none:1"'),
        container={"image": "127.0.0.1:9/none:1"},
    ),
    Stuck(
        "image-without-a-name",
        "InvalidImageName",
        ("InspectFailed", r"invalid reference format: repository name \(library/Web\) must be lowercase"),
        container={"image": "Web:1"},
    ),
]


@pytest.fixture(scope="module")
def told(cluster: Cluster) -> Iterator[dict[str, Pod]]:
    """All rows' pods, ended."""
    with table.prepared(cluster, TABLE, OBJECTS) as pods:
        yield pods


@pytest.fixture
async def api(told: dict[str, Pod], cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with KubeClient(cluster.server) as client:
        yield client


@rows(TABLE)
def test_a_container_finds(told: dict[str, Pod], row: Row) -> None:
    row.check(told[row.name])


@rows(STUCK)
async def test_a_container_waits(api: KubeClient, row: Stuck) -> None:
    await api.create("pods", row.pod())
    await table.stuck_for(api, row)
    await api.delete("pods", row.name, NAMESPACE, grace_period_seconds=0)


async def test_keys_that_name_no_variable_are_told(api: KubeClient, told: dict[str, Pod]) -> None:
    name = "variables-from-all-keys"
    events = (await api.list("events", NAMESPACE, field_selector=f"involvedObject.name={name}")).items
    (said,) = [one["message"] for one in events if one["reason"] == "InvalidEnvironmentVariableNames"]
    assert said.startswith("Keys [9lives] from the EnvFrom configMap table/conf were skipped")


async def until(api: KubeClient, name: str, holds: Any) -> Pod:
    async def probe() -> Pod | None:
        shown = await api.get("pods", name, NAMESPACE)
        return shown if holds(shown) else None

    found = await eventually(probe, timeout=20, what=f"pod {name}")
    assert found is not None
    return found


async def test_a_container_beyond_its_memory_is_killed_and_says_so(api: KubeClient) -> None:
    row = Row(
        "greedy",
        "exec dd if=/dev/zero of=/dev/null bs=64M count=9",
        "",
        **limited(limits={"memory": "16Mi", "cpu": "1"}),
    )
    await api.create("pods", row.pod())
    shown = await until(api, "greedy", lambda one: one["status"].get("phase") == "Failed")
    terminated = shown["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["reason"], terminated["exitCode"]) == ("OOMKilled", 137)
    assert shown["status"]["qosClass"] == "Guaranteed"
    await api.delete("pods", "greedy", NAMESPACE, grace_period_seconds=0)


async def test_privileges_are_had_or_refused_never_pretended(api: KubeClient) -> None:
    row = Row("mighty", "grep CapEff /proc/self/status", "CapEff:\t0*1f+", **secured({"privileged": True}))
    await api.create("pods", row.pod())
    shown = await until(api, "mighty", lambda one: one["status"].get("phase") in ("Failed", "Succeeded"))
    if this_machine().missing:
        assert shown["status"]["reason"] == "UnsupportedPodSpec"
        assert "privileged: this machine gives nobody CAP_" in shown["status"]["message"]
    else:
        row.check(shown)
    await api.delete("pods", "mighty", NAMESPACE, grace_period_seconds=0)


async def test_a_host_port_leads_into_the_pod(api: KubeClient) -> None:
    """The server is the host's own Python."""
    places = ("usr", "lib", "lib64", "etc")
    row = Stuck(
        "serves",
        "",
        ("", ""),
        container={
            "command": ["/usr/bin/python3", "-m", "http.server", "8080", "--directory", "/usr/share/common-licenses"],
            "ports": [{"containerPort": 8080, "hostPort": 31007, "hostIP": "127.0.0.1"}],
            "volumeMounts": [{"name": one, "mountPath": f"/{one}", "readOnly": True} for one in places],
        },
        spec={"volumes": [{"name": one, "hostPath": {"path": f"/{one}"}} for one in places]},
    )
    await api.create("pods", row.pod())
    await until(api, "serves", ready)

    async def answers() -> bool:
        try:
            async with aiohttp.ClientSession() as http, http.get("http://127.0.0.1:31007/GPL-3") as answer:
                return b"GNU GENERAL PUBLIC LICENSE" in await answer.read()
        except aiohttp.ClientError:
            return False

    await eventually(answers, what="the host's port answers")
    await api.delete("pods", "serves", NAMESPACE, grace_period_seconds=0)
