"""How pods live: probes, init containers, hooks, deadlines, ends. All rows' pods run side by side, each is looked at by
its own row."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import Cluster, Pod, ready
from tests.daemons.processes import eventually

NAMESPACE = "life"
SERVER = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8080)"
# The host's own Python, since the test's image has no server.
HOST_DIRECTORIES = ("/usr", "/lib", "/lib64", "/etc")

Spec = dict[str, Any]


def shell(script: str, *, name: str = "main", **fields: Any) -> Spec:
    small = {"limits": {"cpu": "20m", "memory": "64Mi"}}
    return {"name": name, "image": images.SHELL, "command": ["/bin/sh", "-c", script], "resources": small, **fields}


def executes(command: str, **fields: Any) -> Spec:
    """A machine that runs hundreds of tests may take longer for it than a probe's own second."""
    return {"exec": {"command": ["/bin/sh", "-c", command]}, "periodSeconds": 1, "timeoutSeconds": 5, **fields}


def one(command: str, *, policy: str = "Always", grace: int = 1, pod: Spec | None = None, **fields: Any) -> Spec:
    """The spec of a pod with a container "main"."""
    return {
        "containers": [shell(command, **fields)],
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": grace,
        **(pod or {}),
    }


def serving(**fields: Any) -> Spec:
    volumes = [{"name": path.strip("/"), "hostPath": {"path": path}} for path in HOST_DIRECTORIES]
    mounts = [{"name": path.strip("/"), "mountPath": path, "readOnly": True} for path in HOST_DIRECTORIES]
    container = {
        "command": ["/usr/bin/python3", "-c", SERVER],
        "ports": [{"containerPort": 8080, "name": "web"}],
        "volumeMounts": mounts,
        "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}},
        **fields,
    }
    made = one("", pod={"volumes": volumes})
    made["containers"] = [{**made["containers"][0], **container}]
    return made


def with_init(*init: Spec, command: str = "exec sleep 3600", policy: str = "Always") -> Spec:
    scratch = [{"name": "scratch", "mountPath": "/scratch"}]
    return one(
        command,
        policy=policy,
        volumeMounts=scratch,
        pod={
            "initContainers": [{**container, "volumeMounts": scratch} for container in init],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    )


def status(pod: Pod, name: str = "main") -> dict[str, Any]:
    shown = pod.get("status") or {}
    every = (*(shown.get("initContainerStatuses") or ()), *(shown.get("containerStatuses") or ()))
    return next((dict(one) for one in every if one["name"] == name), {"state": {}, "lastState": {}, "restartCount": 0})


def ended(pod: Pod, name: str = "main") -> dict[str, Any]:
    """How its container has ended, or its attempt before."""
    shown = status(pod, name)
    return dict(shown["state"].get("terminated") or shown["lastState"].get("terminated") or {})


def waiting(pod: Pod, name: str = "main") -> dict[str, Any]:
    return dict(status(pod, name)["state"].get("waiting") or {})


def condition(pod: Pod, kind: str) -> dict[str, Any]:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((dict(one) for one in conditions if one["type"] == kind), {})


def phase(pod: Pod) -> str:
    return str((pod.get("status") or {}).get("phase"))


@dataclass(frozen=True)
class Row:
    """``holds``: of the pod's object at some time; ``events``: patterns that its events match; ``logs``: container →
    what kubectl then shows of it."""

    spec: Spec
    holds: Callable[[Pod], Any]
    events: tuple[str, ...] = ()
    logs: dict[str, str] = field(default_factory=dict)


SIDECAR = shell(
    "trap 'exit 0' TERM; : > /scratch/ready; while :; do sleep 0.1; done", name="side", restartPolicy="Always"
)
MOODY = "[ -e /scratch/x ] || { : > /scratch/x; exit 1; }"

ROWS: dict[str, Row] = {
    "readiness by exec fails and says so": Row(
        one("exec sleep 3600", readinessProbe=executes("echo not yet; exit 1")),
        lambda pod: (
            phase(pod) == "Running"
            and condition(pod, "Ready").get("message") == "containers with unready status: [main]"
            and condition(pod, "ContainersReady")["reason"] == "ContainersNotReady"
            and status(pod)["started"]
        ),
        (r"Warning Unhealthy Readiness probe failed: not yet",),
    ),
    "readiness by http, on a named port": Row(
        serving(readinessProbe={"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1, "timeoutSeconds": 5}),
        ready,
    ),
    "readiness by tcp": Row(serving(readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}), ready),
    "http that finds nothing is a failure with its status": Row(
        serving(livenessProbe={"httpGet": {"port": 8080, "path": "/none"}, "periodSeconds": 1, "timeoutSeconds": 5}),
        lambda pod: status(pod)["restartCount"] > 0,
        (r"Unhealthy Liveness probe failed: HTTP probe failed with statuscode: 404",),
    ),
    "tcp that nobody answers": Row(
        one("exec sleep 3600", readinessProbe={"tcpSocket": {"port": 9}, "periodSeconds": 1}),
        lambda pod: phase(pod) == "Running" and not ready(pod),
        (r"Readiness probe failed: dial tcp [\d.]+:9: connect: connection refused",),
    ),
    "liveness restarts": Row(
        one("exec sleep 3600", livenessProbe=executes("exit 1", failureThreshold=2)),
        lambda pod: status(pod)["restartCount"] > 0 and ended(pod)["exitCode"] == 137,
        (
            r"Warning Unhealthy Liveness probe failed:$",
            r"Normal Killing Container main failed liveness probe, will be restarted",
        ),
    ),
    "liveness restarts also what goes politely under OnFailure": Row(
        one(
            "trap 'exit 0' TERM; while :; do sleep 0.1; done",
            policy="OnFailure",
            livenessProbe=executes("exit 1", failureThreshold=1, initialDelaySeconds=1),
        ),
        lambda pod: status(pod)["restartCount"] > 0 and ended(pod)["exitCode"] == 0,
    ),
    "liveness ends what never restarts": Row(
        one("exec sleep 3600", policy="Never", livenessProbe=executes("exit 1", failureThreshold=1)),
        lambda pod: phase(pod) == "Failed" and ended(pod)["exitCode"] == 137,
        (r"Killing Container main failed liveness probe$",),
    ),
    "liveness that takes too long": Row(
        one("exec sleep 3600", livenessProbe=executes("sleep 600", failureThreshold=1, timeoutSeconds=1)),
        lambda pod: status(pod)["restartCount"] > 0,
        (r'Liveness probe failed: command "/bin/sh -c sleep 600" timed out',),
    ),
    "a probe's own grace counts": Row(
        one(
            "trap '' TERM; while :; do sleep 0.1; done",
            grace=600,
            livenessProbe=executes("exit 1", failureThreshold=1, terminationGracePeriodSeconds=1),
        ),
        lambda pod: status(pod)["restartCount"] > 0 and ended(pod)["exitCode"] == 137,
    ),
    "startup holds the others back until it succeeds": Row(
        one(
            "sleep 3; : > /tmp/up; exec sleep 3600",
            startupProbe=executes("[ -e /tmp/up ]", failureThreshold=60),
            livenessProbe=executes("[ -e /tmp/up ]", failureThreshold=1),
        ),
        lambda pod: ready(pod) and status(pod)["started"] and status(pod)["restartCount"] == 0,
        (r"Startup probe failed:",),
    ),
    "startup that fails restarts": Row(
        one("exec sleep 3600", startupProbe=executes("exit 1", failureThreshold=1)),
        lambda pod: status(pod)["restartCount"] > 0,
        (r"Killing Container main failed startup probe, will be restarted",),
    ),
    "init containers run one after the other": Row(
        with_init(
            shell("echo 1 >> /scratch/order; [ ! -e /scratch/two ]", name="one"),
            shell("[ -s /scratch/order ] && : > /scratch/two && echo 2 >> /scratch/order", name="two"),
            command="cat /scratch/order; exec sleep 3600",
        ),
        lambda pod: (
            ready(pod)
            and status(pod, "one")["ready"]
            and ended(pod, "two")["reason"] == "Completed"
            and condition(pod, "Initialized")["status"] == "True"
        ),
        (r"Started container one", r"Started container two"),
        {"main": "1\n2\n", "one": ""},
    ),
    "the main container waits for its init container": Row(
        with_init(shell("echo begun; exec sleep 3600", name="slow")),
        lambda pod: (
            phase(pod) == "Pending"
            and waiting(pod) == {"reason": "PodInitializing"}
            and "running" in status(pod, "slow")["state"]
            and condition(pod, "Initialized")["message"] == "containers with incomplete status: [slow]"
        ),
        logs={"slow": "begun\n"},
    ),
    "an init container that fails ends a pod that never restarts": Row(
        with_init(shell("exit 4", name="bad"), policy="Never"),
        lambda pod: (
            phase(pod) == "Failed"
            and ended(pod, "bad")["exitCode"] == 4
            and waiting(pod) == {"reason": "PodInitializing"}
        ),
    ),
    "an init container that fails is tried again": Row(
        with_init(shell(MOODY, name="moody"), policy="OnFailure"),
        lambda pod: ready(pod) and status(pod, "moody")["restartCount"] == 1,
    ),
    "a sidecar is there before the others and goes after them": Row(
        with_init(SIDECAR, command="[ -e /scratch/ready ] && echo saw it", policy="Never"),
        lambda pod: phase(pod) == "Succeeded" and ended(pod, "side").get("exitCode") == 0,
        logs={"main": "saw it\n"},
    ),
    "a sidecar's startup probe holds the others back": Row(
        with_init(
            shell(
                "sleep 2; : > /scratch/up; exec sleep 3600",
                name="side",
                restartPolicy="Always",
                startupProbe=executes("[ -e /scratch/up ]", failureThreshold=60),
            ),
            command="[ -e /scratch/up ] && echo after; exec sleep 3600",
        ),
        ready,
        logs={"main": "after\n"},
    ),
    "a sidecar that dies comes back beside a running pod": Row(
        with_init(
            shell(
                "[ -e /scratch/x ] || { : > /scratch/x; exit 1; }; exec sleep 3600", name="side", restartPolicy="Always"
            )
        ),
        lambda pod: ready(pod) and status(pod, "side")["restartCount"] == 1 and status(pod)["restartCount"] == 0,
    ),
    "postStart is done before the container counts as running": Row(
        one(
            "until [ -s /tmp/greeting ]; do sleep 0.1; done; cat /tmp/greeting; exec sleep 3600",
            lifecycle={"postStart": {"exec": {"command": ["/bin/sh", "-c", "echo hello > /tmp/greeting"]}}},
        ),
        ready,
        logs={"main": "hello\n"},
    ),
    "postStart that fails": Row(
        one("exec sleep 3600", lifecycle={"postStart": {"exec": {"command": ["/bin/sh", "-c", "exit 9"]}}}),
        lambda pod: waiting(pod).get("reason") in ("PostStartHookError", "CrashLoopBackOff"),
        (r"Warning FailedPostStartHook PostStartHook failed", r"Normal Killing FailedPostStartHook"),
    ),
    "the deadline ends a pod": Row(
        one("exec sleep 3600", pod={"activeDeadlineSeconds": 3}),
        lambda pod: (
            phase(pod) == "Failed"
            and pod["status"]["reason"] == "DeadlineExceeded"
            and pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"
            and ended(pod).get("exitCode") == 137
        ),
        (r"Normal DeadlineExceeded Pod was active on the node longer than the specified deadline",),
    ),
    "OnFailure goes on until it succeeds": Row(
        one(
            MOODY,
            policy="OnFailure",
            volumeMounts=[{"name": "scratch", "mountPath": "/scratch"}],
            pod={"volumes": [{"name": "scratch", "emptyDir": {}}]},
        ),
        lambda pod: (
            phase(pod) == "Succeeded"
            and status(pod)["restartCount"] == 1
            and status(pod)["lastState"]["terminated"]["exitCode"] == 1
            and condition(pod, "Ready")["reason"] == "PodCompleted"
        ),
    ),
    "a crash loop backs off": Row(
        one("exit 3"),
        lambda pod: (
            waiting(pod).get("reason") == "CrashLoopBackOff"
            and re.fullmatch(
                r"back-off (10s|20s|40s|1m20s) restarting failed container=main pod=\S+_life\(\S+\)",
                waiting(pod)["message"],
            )
            and ended(pod)["exitCode"] == 3
        ),
        (r"Warning BackOff Back-off restarting failed container main in pod \S+_life\(\S+\)",),
    ),
    "a command that is not there": Row(
        {**one(""), "containers": [shell("", command=["/nope"])]},
        lambda pod: (
            waiting(pod).get("reason") in ("RunContainerError", "CrashLoopBackOff")
            and ended(pod)["reason"] == "ContainerCannotRun"
        ),
        (r'Warning Failed Error: failed to start container "main": .*"/nope"',),
    ),
    "last words from a file of the pod's choice": Row(
        one("echo why > /tmp/words; exit 1", policy="Never", terminationMessagePath="/tmp/words"),
        lambda pod: ended(pod).get("message") == "why\n" and ended(pod)["reason"] == "Error",
    ),
    "last words from the log": Row(
        one("echo in the log; exit 1", policy="Never", terminationMessagePolicy="FallbackToLogsOnError"),
        lambda pod: ended(pod).get("message") == "in the log\n",
    ),
    "a readiness gate that nobody has opened": Row(
        one("exec sleep 3600", pod={"readinessGates": [{"conditionType": "example.com/open"}]}),
        lambda pod: (
            condition(pod, "ContainersReady").get("status") == "True"
            and condition(pod, "Ready")["reason"] == "ReadinessGatesNotReady"
            and condition(pod, "Ready")["message"]
            == 'corresponding condition of pod readiness gate "example.com/open" does not exist.'
        ),
    ),
    "what a running pod's status tells": Row(
        one("exec sleep 3600"),
        lambda pod: (
            ready(pod)
            and pod["status"]["hostIPs"] == [{"ip": pod["status"]["hostIP"]}]
            and pod["status"]["podIPs"] == [{"ip": pod["status"]["podIP"]}]
            and pod["status"]["startTime"]
            and pod["status"]["qosClass"] == "Guaranteed"
            and {one["type"] for one in pod["status"]["conditions"] if one["status"] == "True"}
            == {"PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"}
        ),
    ),
}


def name_of(row: str) -> str:
    return re.sub(r"\W+", "-", row.lower())[:60].strip("-")


@pytest.fixture(scope="module")
def pods(cluster: Cluster) -> Iterator[None]:
    """All rows' pods, created at once."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    items = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name_of(row), "namespace": NAMESPACE},
            "spec": made.spec,
        }
        for row, made in ROWS.items()
    ]
    cluster.kubectl(
        "create", "-f", "-", stdin=orjson.dumps({"apiVersion": "v1", "kind": "List", "items": items}).decode()
    )
    yield
    cluster.kubectl("delete", "pods", "--all", "-n", NAMESPACE, "--grace-period=0", "--force")
    cluster.kubectl("delete", "namespace", NAMESPACE)


@pytest.fixture
async def api(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with KubeClient(cluster.server) as made:
        yield made


@pytest.mark.parametrize("row", ROWS)
async def test_pods_life(pods: None, cluster: Cluster, api: KubeClient, row: str) -> None:
    name, expected = name_of(row), ROWS[row]

    async def holds() -> Any:
        shown = await api.get("pods", name, NAMESPACE)
        return expected.holds(shown) or None

    try:
        await eventually(holds, timeout=60, interval=0.2, what=row)
    except AssertionError:
        print(cluster.kubectl("describe", "pod", "-n", NAMESPACE, name))
        print(cluster.kubectl("get", "pod", "-n", NAMESPACE, name, "-o", "yaml"))
        raise
    for pattern in expected.events:

        async def said(pattern: str = pattern) -> bool:
            events = (await api.list("events", NAMESPACE)).items
            lines = [
                f"{one['type']} {one['reason']} {one['message'].strip()}"
                for one in events
                if one["involvedObject"]["name"] == name
            ]
            return any(re.search(pattern, line) for line in lines)

        await eventually(said, timeout=20, interval=0.2, what=f"{row}: event {pattern}")
    for container, text in expected.logs.items():
        assert cluster.kubectl("logs", "-n", NAMESPACE, name, "-c", container) == text
    # It has shown what it is there for, and others wait for the machine.
    await api.delete("pods", name, NAMESPACE, grace_period_seconds=0)
