"""All that a container of a pod is made of, gathered: its variables, its mounts, its settings in the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from k8slab.kube.client import ApiUnavailable, Object
from k8slab.kube.kubelet import containers, security
from k8slab.kube.kubelet.context import Context, Pod
from k8slab.kube.kubelet.environment import ConfigError, container_environment, expand, service_environment
from k8slab.kube.kubelet.privileges import this_machine
from k8slab.kube.kubelet.resolver import hosts_of, names_of, resolver_of
from k8slab.kube.kubelet.resolver import parse as resolver_parse
from k8slab.kube.kubelet.spec import Container, is_static
from k8slab.kube.kubelet.volumes import PodDirectory

HOSTS: Final = Path("/etc/hosts")


Warning = tuple[str, str]


@dataclass(frozen=True)
class Recipe:
    """``config``: the engine's creation request; ``warnings``: of what was left out: reason and sentence."""

    config: dict[str, Any]
    warnings: tuple[Warning, ...]


async def container_recipe(
    context: Context,
    directory: PodDirectory,
    pod: Pod,
    container: Container,
    *,
    image: str,
    attempt: int,
    sandbox: str,
    pod_ip: str,
) -> Recipe:
    """``sandbox``: the id of the pod's pause container, ``pod_ip`` its address.

    Raises ConfigError, VolumeError, EngineError, EngineUnavailable, ApiError and ApiUnavailable.
    """
    image_user = ""
    if security.needs_image_user(pod, container):
        image_user = await context.engine.image_user(image)
    user = security.user(pod, container, image_user)
    placed = _placed(pod, context, pod_ip)
    links = pod["spec"].get("enableServiceLinks") is not False
    services = service_environment(await _services(context, pod), pod["metadata"]["namespace"], links=links)
    environment = await container_environment(placed, container, services, context.supplies)
    variables = environment.variables
    volumes = await directory.prepare(placed)
    mounts = container.get("volumeMounts") or ()
    sources = directory.sources(container, volumes, [_path_in_volume(mount, variables) for mount in mounts])
    names, cut = _names(context, directory, pod, container, pod_ip)
    message_file = directory.message_file(container["name"], attempt)
    config = containers.container_config(
        pod,
        container,
        image=image,
        node=context.node,
        attempt=attempt,
        sandbox=sandbox,
        environment=variables,
        binds=[*containers.binds(pod, container, sources, message_file), *names],
        user=user,
        machine=this_machine(),
    )
    invalid = [("InvalidEnvironmentVariableNames", sentence) for sentence in environment.skipped]
    return Recipe(config, (*invalid, *(("DNSConfigForming", sentence) for sentence in cut)))


async def _services(context: Context, pod: Pod) -> list[Object]:
    try:
        return await context.services()
    except ApiUnavailable:
        # A static pod may be the very API that is not there.
        if not is_static(pod):
            raise
        return []


def _placed(pod: Pod, context: Context, pod_ip: str) -> dict[str, Any]:
    """The pod with what it has got to know of itself by being here."""
    status = {**(pod.get("status") or {}), "podIP": pod_ip, "hostIP": context.address}
    return {**pod, "spec": {**pod["spec"], "nodeName": context.node}, "status": status}


def _names(
    context: Context, directory: PodDirectory, pod: Pod, container: Container, pod_ip: str
) -> tuple[list[str], list[str]]:
    """Binds of the files by which names are resolved, but for those that the container brings itself; and what was
    cut off from them."""
    dns = context.dns
    resolver, cut = resolver_of(pod, dns, resolver_parse(_text(dns.node)))
    hosts = hosts_of(pod, pod_ip, *names_of(pod, dns.domain), _text(HOSTS))
    files = {"/etc/resolv.conf": ("resolv.conf", resolver.text()), str(HOSTS): ("etc-hosts", hosts)}
    taken = {mount["mountPath"].rstrip("/") for mount in container.get("volumeMounts") or ()}
    made = [f"{directory.text_file(*file)}:{place}" for place, file in files.items() if place not in taken]
    return made, cut


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _path_in_volume(mount: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    if not (expression := mount.get("subPathExpr")):
        return str(mount.get("subPath") or "")
    path = expand(expression, variables)
    # What is left of a reference is one to a variable that the container does not have.
    if "$(" in path.replace("$$", ""):
        raise ConfigError(f'missing value for "{path.partition("$(")[2].partition(")")[0]}"')
    return path
