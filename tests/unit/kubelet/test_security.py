"""Whom containers run as and what they may do."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.kubelet.environment import ConfigError
from k8slab.kube.kubelet.privileges import CAPABILITIES, this_machine
from k8slab.kube.kubelet.security import groups, needs_image_user, privileges, user
from tests.unit.kubelet.pods import a_container, a_pod

NONE: dict[str, Any] = {}


def pod_of(pod: dict[str, Any], container: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    made = a_container(securityContext=container)
    return a_pod(made, securityContext=pod), made


@pytest.mark.parametrize(
    ("pod", "container", "image", "expected"),
    [
        (NONE, NONE, "www", ""),
        ({"runAsUser": 5}, NONE, "www", "5"),
        ({"runAsUser": 5}, {"runAsUser": 6}, "", "6"),
        ({"runAsUser": 5}, {"runAsUser": 0}, "", "0"),
        ({"runAsUser": 5, "runAsGroup": 7}, NONE, "", "5:7"),
        (NONE, {"runAsGroup": 7}, "www:web", "www:7"),
        (NONE, {"runAsGroup": 7}, "", "0:7"),
        ({"runAsNonRoot": True}, NONE, "1000", ""),
        ({"runAsNonRoot": True}, {"runAsNonRoot": False}, "", ""),
    ],
)
def test_users(pod: dict[str, Any], container: dict[str, Any], image: str, expected: str) -> None:
    assert user(*pod_of(pod, container), image) == expected


@pytest.mark.parametrize(
    ("container", "image", "why"),
    [
        (NONE, "", "container has runAsNonRoot and image will run as root"),
        (NONE, "0:0", "container has runAsNonRoot and image will run as root"),
        (
            NONE,
            "www",
            "container has runAsNonRoot and image has non-numeric user (www), cannot verify user is non-root",
        ),
        ({"runAsUser": 0}, "5", "container's runAsUser breaks non-root policy"),
    ],
)
def test_who_must_not_be_root_is_not_started_as_root(container: dict[str, Any], image: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        user(*pod_of({"runAsNonRoot": True}, container), image)
    assert str(refused.value) == f'{why} (pod: "nginx_default(u-1)", container: web)'


@pytest.mark.parametrize(
    ("container", "needs"),
    [
        (NONE, False),
        ({"runAsUser": 1, "runAsNonRoot": True}, False),
        ({"runAsNonRoot": True}, True),
        ({"runAsGroup": 3}, True),
    ],
)
def test_the_image_is_asked_only_when_it_matters(container: dict[str, Any], needs: bool) -> None:
    assert needs_image_user(*pod_of({}, container)) is needs


def test_privileges_are_the_engines() -> None:
    context = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
    }
    shared = {"seccompProfile": {"type": "Unconfined"}, "fsGroup": 7, "supplementalGroups": [8, 7]}
    assert privileges(*pod_of(shared, context)) == {
        "ReadonlyRootfs": True,
        "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
        "CapAdd": ["NET_ADMIN"],
        "CapDrop": ["ALL"],
        "GroupAdd": ["8", "7"],
    }
    assert privileges(*pod_of({}, {"privileged": True})) == {"Privileged": True}
    assert groups(a_pod()) == []


def test_this_machine_is_known() -> None:
    machine = this_machine()
    assert machine.memory > 2**20
    assert machine.missing <= set(CAPABILITIES)
