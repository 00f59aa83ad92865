"""What pods find in their volumes, and what becomes of pods whose volumes cannot be made."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from k8slab.kube.client import KubeClient
from k8slab.kube.kubelet import mounts
from tests.daemons.k8sm import table
from tests.daemons.k8sm.cluster import Cluster, Pod, running
from tests.daemons.k8sm.table import NAMESPACE, Row, Stuck, rows
from tests.daemons.processes import eventually

CONF = {"metadata": {"name": "conf"}, "data": {"color": "blue", "shape": "round"}}
BINARY = {"metadata": {"name": "binary"}, "binaryData": {"raw": base64.b64encode(b"\x00bin").decode()}}
SECRET = {"metadata": {"name": "secret"}, "data": {"password": base64.b64encode(b"hunter2").decode()}}
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def with_volume(source: dict[str, Any], **mount: Any) -> dict[str, Any]:
    """A pod's parts: one volume, at /v."""
    return {
        "container": {"volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]},
        "spec": {"volumes": [{"name": "v", **source}]},
    }


def host_path(path: str, kind: str = "", **mount: Any) -> dict[str, Any]:
    return with_volume({"hostPath": {"path": path, "type": kind}}, **mount)


def items(*pairs: tuple[str, str, int | None]) -> list[dict[str, Any]]:
    return [{"key": key, "path": path} | ({"mode": mode} if mode else {}) for key, path, mode in pairs]


def fields(**paths: str) -> list[dict[str, Any]]:
    return [{"path": name, "fieldRef": {"fieldPath": path}} for name, path in paths.items()]


CPU = {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "requests.cpu", "divisor": "1m"}}
EVERYTHING = [
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
    {"configMap": {"name": "conf", "items": items(("color", "color", None))}},
    {"secret": {"name": "secret"}},
    {"downwardAPI": {"items": fields(ns="metadata.namespace")}},
]

FULL = Row(
    "empty-dir-too-full",
    "dd if=/dev/zero of=/v/x bs=1M count=2 2>&1; exec sleep 3600",
    "",
    **with_volume({"emptyDir": {"sizeLimit": "1Mi"}}),
)

TABLE = [
    Row("empty-dir", "touch /v/x && ls /v && stat -c %a /v", "x\n777", **with_volume({"emptyDir": {}})),
    Row(
        "empty-dir-in-memory",
        "grep ' /v ' /proc/mounts | head -c 10; dd if=/dev/zero of=/v/x bs=1M count=3",
        "tmpfs /v t.*No space left on device.*",
        **with_volume({"emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}}),
    ),
    Row("host-directory", "cat /v/file", "from the node", **host_path("{host}", "Directory")),
    Row("host-file", "cat /v", "from the node", **host_path("{host}/file", "File")),
    Row("host-made-directory", "stat -c '%F %a' /v", "directory 755", **host_path("{host}/d/e", "DirectoryOrCreate")),
    Row("host-made-file", "stat -c '%F %a' /v", "regular empty file 644", **host_path("{host}/f", "FileOrCreate")),
    Row("host-character-device", "head -c 2 /v | stat -c %F /v", "character.*", **host_path("/dev/zero", "CharDevice")),
    Row("host-read-only", "touch /v/x", ".*Read-only file system", **host_path("{host}", readOnly=True)),
    Row(
        "config-map",
        "cat /v/color /v/shape; stat -L -c %a /v/color; readlink /v/color; touch /v/x",
        "blueround640\n..data/color\n.*Read-only file system",
        **with_volume({"configMap": {"name": "conf", "defaultMode": 0o640}}),
    ),
    Row("config-map-binary", "stat -L -c %s /v/raw", "4", **with_volume({"configMap": {"name": "binary"}})),
    Row(
        "config-map-items",
        "ls /v; cat /v/deep/c; stat -L -c %a /v/deep/c",
        "deep\nblue400",
        **with_volume({"configMap": {"name": "conf", "items": items(("color", "deep/c", 0o400))}}),
    ),
    Row(
        "config-map-optional",
        "ls -a /v | grep -v data",
        r"\.\n\.\.\n.*",
        **with_volume({"configMap": {"name": "no", "optional": True}}),
    ),
    Row(
        "secret-in-memory",
        "cat /v/password; grep ' /v ' /proc/mounts | head -c 5",
        "hunter2tmpfs",
        **with_volume({"secret": {"secretName": "secret"}}),
    ),
    Row(
        "downward-api",
        "cat /v/name; echo; cat /v/labels; echo; cat /v/notes; echo; cat /v/cpu",
        'downward-api\napp="downward-api"\nblue\n50',
        **with_volume(
            {
                "downwardAPI": {
                    "items": [
                        *fields(name="metadata.name", labels="metadata.labels", notes="metadata.annotations['team']"),
                        CPU,
                    ]
                }
            }
        ),
    ),
    Row(
        "projected",
        "cat /v/color /v/password /v/ns; head -c 2 /v/token; stat -L -c %a /v/token",
        "bluehunter2tableey444",
        **with_volume({"projected": {"defaultMode": 0o444, "sources": EVERYTHING}}),
    ),
    Row(
        "sub-path-of-config-map",
        "cat /v; stat -c %F /v",
        "roundregular file",
        **with_volume({"configMap": {"name": "conf"}}, subPath="shape"),
    ),
    Row(
        "sub-path-of-empty-dir",
        "touch /v/x; ls -R /all",
        "/all:\na\n\n/all/a:\nb\n\n/all/a/b:\nx",
        container={
            "volumeMounts": [
                {"name": "v", "mountPath": "/v", "subPath": "a/b"},
                {"name": "v", "mountPath": "/all"},
            ]
        },
        spec={"volumes": [{"name": "v", "emptyDir": {}}]},
    ),
    Row(
        "sub-path-expression",
        "touch /v/x; ls /all",
        "sub-path-expression",
        container={
            "env": [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "volumeMounts": [
                {"name": "v", "mountPath": "/v", "subPathExpr": "$(ME)"},
                {"name": "v", "mountPath": "/all"},
            ],
        },
        spec={"volumes": [{"name": "v", "emptyDir": {}}]},
    ),
    Row(
        "group-of-the-pod",
        "stat -c '%g %a' /e; touch /e/x && stat -c %g /e/x; stat -L -c '%g %a' /v/color; id -G",
        "77 2777\n77\n77 640\n5 77",
        container={
            "securityContext": {"runAsUser": 5, "runAsGroup": 5},
            "volumeMounts": [{"name": "e", "mountPath": "/e"}, {"name": "v", "mountPath": "/v"}],
        },
        spec={
            "securityContext": {"fsGroup": 77},
            "volumes": [
                {"name": "e", "emptyDir": {}},
                {"name": "v", "configMap": {"name": "conf", "defaultMode": 0o600}},
            ],
        },
    ),
    Row("api-files", f"ls {ACCOUNT}; cat {ACCOUNT}/namespace", "ca.crt\nnamespace\ntoken\ntable"),
    Row("api-files-declined", f"ls {ACCOUNT}", ".*No such file.*", spec={"automountServiceAccountToken": False}),
    Row(
        "api-reached-from-a-pod",
        "curl -sS --cacert $A/ca.crt -H \"Authorization: Bearer $(cat $A/token)\" -H 'Content-Type: application/json' "
        '-d \'{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}\' '
        "$API/apis/authentication.k8s.io/v1/selfsubjectreviews",
        ".*system:serviceaccount:table:default.*api-reached-from-a-pod.*",
        container={"env": [{"name": "A", "value": ACCOUNT}, {"name": "API", "value": "{api}"}]},
        spec={"hostNetwork": True},
    ),
]


def failed(message: str) -> tuple[str, str]:
    return "FailedMount", rf'MountVolume\.SetUp failed for volume "v" : {message}'


STUCK = [
    Stuck(
        "no-config-map",
        "ContainerCreating",
        failed('configmap "none" not found'),
        **with_volume({"configMap": {"name": "none"}}),
    ),
    Stuck(
        "no-secret",
        "ContainerCreating",
        failed('secret "none" not found'),
        **with_volume({"secret": {"secretName": "none"}}),
    ),
    Stuck(
        "no-key",
        "ContainerCreating",
        failed("configmap references non-existent config key: none"),
        **with_volume({"configMap": {"name": "conf", "items": items(("none", "x", None))}}),
    ),
    Stuck(
        "no-directory",
        "ContainerCreating",
        failed("hostPath type check failed: /none is not a directory"),
        **host_path("/none", "Directory"),
    ),
    Stuck(
        "no-socket",
        "ContainerCreating",
        failed("hostPath type check failed: /etc is not a socket file"),
        **host_path("/etc", "Socket"),
    ),
    Stuck(
        "out-of-its-volume",
        "ContainerCreating",
        ("FailedMount", 'failed to prepare subPath for volumeMount "v" of container "main"'),
        **host_path("{host}", subPath="link/passwd"),
    ),
]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host")
    (path / "file").write_text("from the node")
    (path / "link").symlink_to("/etc")
    return path


OBJECTS = {"configmaps": [CONF, BINARY], "secrets": [SECRET]}


@pytest.fixture(scope="module")
def told(cluster: Cluster, host: Path) -> Iterator[dict[str, Pod]]:
    """All rows' pods, ended."""
    with table.prepared(cluster, [FULL, *TABLE], OBJECTS, host=host, api=cluster.secure_server) as pods:
        yield pods


@pytest.fixture
async def api(told: dict[str, Pod], cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with KubeClient(cluster.server) as client:
        yield client


@rows(TABLE)
def test_a_pod_finds_in_its_volumes(told: dict[str, Pod], row: Row) -> None:
    row.check(told[row.name])


async def test_a_pod_whose_volume_is_too_full_is_evicted(told: dict[str, Pod], api: KubeClient) -> None:
    status = told[FULL.name]["status"]
    why = 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "Evicted", why)
    events = (await api.list("events", NAMESPACE, field_selector=f"involvedObject.name={FULL.name}")).items
    assert [(one["type"], one["message"]) for one in events if one["reason"] == "Evicted"] == [("Warning", why)]


@rows(STUCK)
async def test_a_pod_waits_for_its_volumes(api: KubeClient, host: Path, row: Stuck) -> None:
    await api.create("pods", table.filled(row.pod(), {"host": host}))
    await table.stuck_for(api, row)
    await api.delete("pods", row.name, NAMESPACE, grace_period_seconds=0)


async def test_files_and_variables_follow_their_object(api: KubeClient, cluster: Cluster) -> None:
    """The file of a running container changes, the one mounted by itself and the variable do not."""
    moving = {"metadata": {"name": "moving"}, "data": {"state": "old"}}
    await api.create("configmaps", moving, NAMESPACE)
    mounted = [
        {"name": "v", "mountPath": "/v"},
        {"name": "v", "mountPath": "/fixed", "subPath": "state"},
        {"name": "labels", "mountPath": "/labels"},
    ]
    env = [{"name": "STATE", "valueFrom": {"configMapKeyRef": {"name": "moving", "key": "state"}}}]
    volumes = [
        {"name": "v", "configMap": {"name": "moving"}},
        {"name": "labels", "downwardAPI": {"items": fields(all="metadata.labels")}},
    ]
    row = Row(
        "follows",
        "until grep -q new /v/state && grep -q two /labels/all; do sleep 0.1; done; cat /v/state /fixed; echo $STATE",
        "newoldold",
        container={"volumeMounts": mounted, "env": env},
        spec={"volumes": volumes},
    )
    await api.create("pods", row.pod())

    async def runs() -> bool:
        return running(await api.get("pods", "follows", NAMESPACE))

    await eventually(runs, what="the pod runs")
    await api.patch("configmaps", "moving", {"data": {"state": "new"}}, NAMESPACE)
    await api.patch("pods", "follows", {"metadata": {"labels": {"stage": "two"}}}, NAMESPACE)

    async def ended() -> Pod | None:
        shown = await api.get("pods", "follows", NAMESPACE)
        return shown if shown["status"]["phase"] == "Succeeded" else None

    shown = await eventually(ended, timeout=10, what="the new files are seen")
    assert shown is not None
    row.check(shown)
    await api.delete("configmaps", "moving", NAMESPACE)


async def test_a_pod_starts_as_soon_as_what_it_waits_for_is_there(api: KubeClient) -> None:
    row = Stuck(
        "early",
        "ContainerCreating",
        failed('configmap "late" not found'),
        **with_volume({"configMap": {"name": "late"}}),
    )
    await api.create("pods", row.pod())
    await table.stuck_for(api, row)
    await api.create("configmaps", {"metadata": {"name": "late"}, "data": {"a": "1"}}, NAMESPACE)

    async def runs() -> bool:
        return running(await api.get("pods", "early", NAMESPACE))

    await eventually(runs, timeout=5, what="the pod runs")
    await api.delete("pods", "early", NAMESPACE, grace_period_seconds=0)
    await api.delete("configmaps", "late", NAMESPACE)


async def test_nothing_of_a_pods_volumes_is_left(api: KubeClient, cluster: Cluster) -> None:
    row = Row("leaves", "true", "", **with_volume({"emptyDir": {"medium": "Memory"}}))
    await api.create("pods", row.pod())

    async def ended() -> Pod | None:
        shown = await api.get("pods", "leaves", NAMESPACE)
        return shown if shown["status"].get("phase") == "Succeeded" else None

    shown = await eventually(ended, what="the pod has ended")
    assert shown is not None
    (directory,) = cluster.directory.glob(f"kubelet/pods/{shown['metadata']['uid']}")
    assert mounts.below(directory)
    await api.delete("pods", "leaves", NAMESPACE)

    async def gone() -> bool:
        return not directory.exists()

    await eventually(gone, what="the pod's directory is gone")
    assert not mounts.below(directory)
