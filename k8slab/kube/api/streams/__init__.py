"""What the server only passes on: pods' logs, remote commands, forwarded ports, and requests to what runs behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from k8slab.kube.api import errors
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked
from k8slab.kube.api.streams.podlog import pod_log
from k8slab.kube.api.streams.proxy import proxy
from k8slab.kube.api.streams.remote import attach, execute, forward_ports

_Serve = Callable[[web.BaseRequest, Registry, Asked], Awaitable[web.StreamResponse]]

SERVED: Final[Mapping[tuple[str, str], _Serve]] = {
    ("pods", "attach"): attach,
    ("pods", "exec"): execute,
    ("pods", "log"): pod_log,
    ("pods", "portforward"): forward_ports,
    ("pods", "proxy"): proxy,
    ("services", "proxy"): proxy,
    ("nodes", "proxy"): proxy,
}


class Connector:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def connect(self, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        """Raises ApiFailure for what goes wrong before the first byte of the answer."""
        serve = SERVED.get((asked.resource, asked.subresource))
        if serve is None or asked.group or (asked.rest and asked.subresource != "proxy"):
            raise errors.unknown_resource()
        return await serve(request, self._registry, asked)
