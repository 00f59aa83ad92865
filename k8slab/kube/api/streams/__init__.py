"""What the server only passes on: pods' logs, remote commands, forwarded ports, and requests to what runs behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked
from k8slab.kube.api.streams.podlog import pod_log
from k8slab.kube.api.streams.proxy import proxy
from k8slab.kube.api.streams.remote import attach, execute, forward_ports

# Raises ApiFailure for what goes wrong before the first byte of the answer.
Stream = Callable[[web.BaseRequest, Registry, Asked], Awaitable[web.StreamResponse]]

STREAMS: Final[Mapping[str, Stream]] = {
    "attach": attach,
    "exec": execute,
    "log": pod_log,
    "portforward": forward_ports,
    "proxy": proxy,
}
