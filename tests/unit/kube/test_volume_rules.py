"""The original's sentences about volumes and variables that are made of other objects."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kinds.volume_rules import env_from_problems, env_problems, source_problems
from k8slab.kube.api.kinds.volumes import PERSISTENT_VOLUME

WHERE = "spec.volumes[0]"
MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def token(**fields: Any) -> dict[str, Any]:
    return {"projected": {"sources": [{"serviceAccountToken": {"path": "t", **fields}}]}}


def downward(**item: Any) -> dict[str, Any]:
    return {"downwardAPI": {"items": [{"path": "x", **item}]}}


@pytest.mark.parametrize(
    ("volume", "problems"),
    [
        ({"secret": {"secretName": "s", "defaultMode": 0o777}}, []),
        ({"secret": {}}, ["secret.secretName: Required value"]),
        ({"persistentVolumeClaim": {"claimName": "c"}}, []),
        ({"persistentVolumeClaim": {}}, ["persistentVolumeClaim.claimName: Required value"]),
        ({"nfs": {}}, ["nfs.server: Required value", "nfs.path: Required value"]),
        ({"nfs": {"server": "s", "path": "a"}}, ['nfs.path: Invalid value: "a": must be an absolute path']),
        (
            {"configMap": {"defaultMode": 512}},
            ["configMap.name: Required value", f"configMap.defaultMode: Invalid value: 512: {MODE}"],
        ),
        (
            {
                "configMap": {
                    "name": "c",
                    "items": [{"key": "a"}, {"path": "/x"}, {"key": "a", "path": "b/../c", "mode": -1}],
                }
            },
            [
                "configMap.items[0].path: Required value",
                "configMap.items[1].key: Required value",
                'configMap.items[1].path: Invalid value: "/x": must be a relative path',
                "configMap.items[2].path: Invalid value: \"b/../c\": must not contain '..'",
                f"configMap.items[2].mode: Invalid value: -1: {MODE}",
            ],
        ),
        (
            {"secret": {"secretName": "s", "items": [{"key": "a", "path": "..x"}]}},
            ["secret.items[0].path: Invalid value: \"..x\": must not start with '..'"],
        ),
        (downward(fieldRef={"fieldPath": "metadata.labels['a']"}), []),
        (downward(), ["downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"]),
        (
            downward(fieldRef={"fieldPath": "spec.nope"}),
            [
                'downwardAPI.fieldRef.fieldPath: Invalid value: "spec.nope": error converting fieldPath: '
                "field label not supported: spec.nope"
            ],
        ),
        (
            downward(fieldRef={"fieldPath": "status.podIP"}),
            [
                'downwardAPI.fieldRef.fieldPath: Unsupported value: "status.podIP": supported values: '
                '"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"'
            ],
        ),
        (
            downward(resourceFieldRef={"resource": "limits.cpu"}),
            ["downwardAPI.resourceFieldRef.containerName: Required value"],
        ),
        (token(expirationSeconds=600), []),
        (
            token(expirationSeconds=599, path=""),
            [
                "projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a "
                "duration less than 10 minutes",
                "projected.sources[0].serviceAccountToken.path: Required value",
            ],
        ),
        (
            {"projected": {"sources": [{"secret": {"name": "s"}, "configMap": {}}, {}]}},
            [
                "projected.sources[0].configMap: Forbidden: may not specify more than 1 volume type per source",
                "projected.sources[0].configMap.name: Required value",
                "projected.sources[1]: Required value: must specify a volume type",
            ],
        ),
        ({"hostPath": {"path": "/a/../b"}}, ["hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"]),
        (
            {"hostPath": {"path": "/a", "type": "Folder"}},
            [
                'hostPath.type: Unsupported value: "Folder": supported values: "", "BlockDevice", "CharDevice", '
                '"Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"'
            ],
        ),
    ],
)
def test_volumes(volume: dict[str, Any], problems: list[str]) -> None:
    assert [str(one) for one in source_problems(volume, WHERE)] == [f"{WHERE}.{one}" for one in problems]


@pytest.mark.parametrize(
    ("variable", "problems"),
    [
        ({"value": "x"}, []),
        ({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, []),
        ({"valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['a']"}}}, []),
        (
            {"valueFrom": {}},
            [
                ': Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, '
                "`secretKeyRef` or `fileKeyRef`"
            ],
        ),
        (
            {"value": "x", "valueFrom": {"configMapKeyRef": {"name": "c"}}},
            [
                ': Invalid value: "": may not be specified when `value` is not empty',
                ".configMapKeyRef.key: Required value",
            ],
        ),
        (
            {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}, "configMapKeyRef": {"name": "s", "key": "k"}}},
            [': Invalid value: "": may not have more than one field specified at a time'],
        ),
        (
            {"valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}},
            [
                '.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", '
                '"metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", '
                '"status.hostIPs", "status.podIP", "status.podIPs"'
            ],
        ),
        ({"valueFrom": {"resourceFieldRef": {}}}, [".resourceFieldRef.resource: Required value"]),
    ],
)
def test_variables(variable: dict[str, Any], problems: list[str]) -> None:
    assert [str(one) for one in env_problems(variable, "env[0]")] == [f"env[0].valueFrom{one}" for one in problems]


@pytest.mark.parametrize(
    ("source", "problems"),
    [
        ({"prefix": "X_", "configMapRef": {"name": "c"}}, []),
        ({"prefix": "X_"}, [': Invalid value: "": must specify one of: `configMapRef` or `secretRef`']),
        (
            {"secretRef": {"name": "s"}, "configMapRef": {}},
            [
                ': Invalid value: "": may not have more than one field specified at a time',
                ".configMapRef.name: Required value",
            ],
        ),
    ],
)
def test_sources_of_variables(source: dict[str, Any], problems: list[str]) -> None:
    assert [str(one) for one in env_from_problems(source, "envFrom[0]")] == [f"envFrom[0]{one}" for one in problems]


def test_a_volume_of_the_host_stays_below_its_path() -> None:
    def said(path: str) -> list[str]:
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": path}}
        volume: dict[str, Any] = {"metadata": {"name": "v"}, "spec": spec}
        PERSISTENT_VOLUME.default(volume)
        return [str(one) for one in PERSISTENT_VOLUME.validate(volume, None)]

    assert said("/mnt/..data") == []
    assert said("/mnt/../etc") == ["spec.hostPath.path: Invalid value: \"/mnt/../etc\": must not contain '..'"]
