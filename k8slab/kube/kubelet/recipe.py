"""All that a container of a pod is made of, gathered: its variables, its mounts, its settings in the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8slab.kube.kubelet import containers
from k8slab.kube.kubelet.context import Context, Pod
from k8slab.kube.kubelet.environment import ConfigError, container_environment, expand, service_environment
from k8slab.kube.kubelet.volumes import PodDirectory


@dataclass(frozen=True)
class Recipe:
    """``config``: the engine's creation request; ``skipped``: a sentence for each source of variables left out."""

    config: dict[str, Any]
    skipped: tuple[str, ...]


async def container_recipe(
    context: Context,
    directory: PodDirectory,
    pod: Pod,
    container: Mapping[str, Any],
    *,
    image: str,
    attempt: int,
    sandbox: str,
    pod_ip: str,
) -> Recipe:
    """``sandbox``: the id of the pod's pause container, ``pod_ip`` its address.

    Raises ConfigError, VolumeError, ApiError and ApiUnavailable.
    """
    spec = pod["spec"]
    services = service_environment(
        await context.services(), pod["metadata"]["namespace"], links=spec.get("enableServiceLinks") is not False
    )
    addresses = {"podIP": pod_ip, "hostIP": context.address}
    placed = {
        **pod,
        "spec": {**spec, "nodeName": context.node},
        "status": {**(pod.get("status") or {}), **addresses},
    }
    environment = await container_environment(placed, container, services, context.supplies)
    variables = environment.variables
    volumes = await directory.prepare(placed)
    mounts = container.get("volumeMounts") or ()
    sources = directory.sources(container, volumes, [_path_in_volume(mount, variables) for mount in mounts])
    config = containers.container_config(
        pod,
        container,
        image=image,
        node=context.node,
        attempt=attempt,
        sandbox=sandbox,
        environment=variables,
        binds=containers.binds(pod, container, sources, directory.message_file(container["name"], attempt)),
    )
    return Recipe(config, environment.skipped)


def _path_in_volume(mount: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    if not (expression := mount.get("subPathExpr")):
        return str(mount.get("subPath") or "")
    path = expand(expression, variables)
    # What is left of a reference is one to a variable that the container does not have.
    if "$(" in path.replace("$$", ""):
        raise ConfigError(f'missing value for "{path.partition("$(")[2].partition(")")[0]}"')
    return path
