"""Whom a container runs as and what it may do, as the engine is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.environment import ConfigError
from k8slab.kube.kubelet.spec import Container

Pod = Mapping[str, Any]

# What the pod's own context may say for its containers; the rest of it is about the pod.
_SHARED: Final = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "appArmorProfile", "seLinuxOptions")


def of_pod(pod: Pod) -> Mapping[str, Any]:
    return pod["spec"].get("securityContext") or {}


def of_container(pod: Pod, container: Container) -> dict[str, Any]:
    """The container's security context, with what the pod's says for all of them."""
    shared = {key: value for key, value in of_pod(pod).items() if key in _SHARED and value is not None}
    own = {key: value for key, value in (container.get("securityContext") or {}).items() if value is not None}
    return {**shared, **own}


def needs_image_user(pod: Pod, container: Container) -> bool:
    context = of_container(pod, container)
    return context.get("runAsUser") is None and bool(context.get("runAsNonRoot") or "runAsGroup" in context)


def user(pod: Pod, container: Container, image_user: str) -> str:
    """ "user[:group]" as numbers or names, empty for the image's own. ``image_user``: what the image says.

    Raises ConfigError when the container must not be root and is, or may be.
    """
    context = of_container(pod, container)
    if context.get("runAsNonRoot"):
        _check_not_root(pod, container, context, image_user.partition(":")[0])
    own, group = context.get("runAsUser"), context.get("runAsGroup")
    if own is None and group is None:
        return ""
    name = image_user.partition(":")[0] or "0" if own is None else str(own)
    return name if group is None else f"{name}:{group}"


def groups(pod: Pod) -> list[str]:
    """The groups that all of the pod's processes are in besides their own."""
    context = of_pod(pod)
    more = [] if context.get("fsGroup") is None else [context["fsGroup"]]
    return [str(group) for group in dict.fromkeys([*(context.get("supplementalGroups") or ()), *more])]


def privileges(pod: Pod, container: Container) -> dict[str, Any]:
    """The engine's settings for what the container may do."""
    context = of_container(pod, container)
    options = []
    if context.get("allowPrivilegeEscalation") is False:
        options.append("no-new-privileges")
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        options.append("seccomp=unconfined")
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        options.append("apparmor=unconfined")
    capabilities = context.get("capabilities") or {}
    wanted = {
        "Privileged": bool(context.get("privileged")),
        "ReadonlyRootfs": bool(context.get("readOnlyRootFilesystem")),
        "SecurityOpt": options,
        "CapAdd": list(capabilities.get("add") or ()),
        "CapDrop": list(capabilities.get("drop") or ()),
        "GroupAdd": groups(pod),
    }
    return {key: value for key, value in wanted.items() if value}


def _check_not_root(pod: Pod, container: Container, context: Mapping[str, Any], image_user: str) -> None:
    where = f'(pod: "{naming.full_name(pod)}({pod["metadata"]["uid"]})", container: {container["name"]})'
    if context.get("runAsUser") is not None:
        if context["runAsUser"] == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    elif not image_user or (image_user.isdigit() and int(image_user) == 0):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    elif not image_user.isdigit():
        why = (
            f"container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
        )
        raise ConfigError(f"{why} {where}")
