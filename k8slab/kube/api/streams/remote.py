"""exec, attach and portforward of pods: judged here, served by the kubelet of the pod's node at its own endpoint."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode

from aiohttp import web

from k8slab.kube.api import errors
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.meta import Object
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked, truthy
from k8slab.kube.api.streams import locate
from k8slab.kube.api.streams.passing import backend_error, pass_upgrade, upgrade_required
from k8slab.kube.streams.takeover import upgrade_of

# The API's names of the streams, and the kubelet's.
_STREAMS: Final = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))


async def execute(request: web.BaseRequest, registry: Registry, asked: Asked) -> web.StreamResponse:
    command = [("command", word) for word in request.query.getall("command", [])]
    return await _remote_command(request, registry, asked, "exec", command)


async def attach(request: web.BaseRequest, registry: Registry, asked: Asked) -> web.StreamResponse:
    return await _remote_command(request, registry, asked, "attach", [])


async def forward_ports(request: web.BaseRequest, registry: Registry, asked: Asked) -> web.StreamResponse:
    _check_method(request)
    pod = await locate.read(registry, POD, asked.namespace, asked.name)
    ports = [("port", port) for value in request.query.getall("ports", []) for port in value.split(",")]
    return await _pass(request, registry, pod, f"/portForward/{_path(asked.namespace, asked.name)}", ports)


async def _remote_command(
    request: web.BaseRequest, registry: Registry, asked: Asked, what: str, query: list[tuple[str, str]]
) -> web.StreamResponse:
    _check_method(request)
    pod = await locate.read(registry, POD, asked.namespace, asked.name)
    container = locate.container(pod, request.query.get("container", ""))
    wished = [(kubelet_name, "1") for name, kubelet_name in _STREAMS if truthy(request.query, name)]
    target = f"/{what}/{_path(asked.namespace, asked.name, container)}"
    return await _pass(request, registry, pod, target, [*wished, *query])


async def _pass(
    request: web.BaseRequest, registry: Registry, pod: Object, path: str, query: list[tuple[str, str]]
) -> web.StreamResponse:
    node = pod["spec"].get("nodeName")
    if not node:
        raise errors.bad_request(f"pod {pod['metadata']['name']} does not have a host assigned")
    place = await locate.kubelet(registry, node)
    if not upgrade_of(request):
        raise upgrade_required()
    target = f"{path}?{urlencode(query)}" if query else path
    return await pass_upgrade(request, place, target, unreachable=backend_error)


def _check_method(request: web.BaseRequest) -> None:
    if request.method not in ("GET", "POST"):
        raise errors.method_not_allowed()


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)
