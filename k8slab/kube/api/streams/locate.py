"""Where things run: a node's kubelet, a pod's container, the pods behind a service."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.api import errors
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.service import ENDPOINTS, SERVICE
from k8slab.kube.api.meta import Object, dig
from k8slab.kube.api.registry import Registry

KUBELET_PORT: Final = 10250
_SCHEMES: Final = ("", "http", "https")
_HOST: Final = re.compile(r"[0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True)
class Place:
    """``port``: 0 for the scheme's own."""

    host: str
    port: int
    scheme: str = "http"

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


async def read(registry: Registry, kind: Kind, namespace: str, name: str) -> Object:
    """Raises NotFound."""
    record = await registry.get(kind, namespace, name)
    return kind.decode(record.value, record.revision)


async def kubelet(registry: Registry, node_name: str) -> Place:
    """Raises NotFound for a node that is not there."""
    return kubelet_of(await read(registry, NODE, "", node_name))


def kubelet_of(node: Object) -> Place:
    addresses = {one.get("type"): one.get("address") for one in dig(node, "status", "addresses") or ()}
    host = addresses.get("InternalIP") or addresses.get("Hostname") or node["metadata"]["name"]
    port = dig(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port") or KUBELET_PORT
    if not _is_host(host) or not (isinstance(port, int) and 0 < port < 1 << 16):
        raise ApiFailure(500, "", f"error dialing backend: dial tcp: lookup {host}: no such host")
    return Place(str(host), port)


def _is_host(text: Any) -> bool:
    """Whether it can stand in an address; whether it is there is another matter."""
    return isinstance(text, str) and _HOST.fullmatch(text) is not None


def container(pod: Object, asked: str) -> str:
    """The container that is meant. Raises BadRequest."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    main, first = _names(spec.get("containers")), _names(spec.get("initContainers"))
    if asked:
        if asked not in (*main, *first, *_names(spec.get("ephemeralContainers"))):
            raise errors.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(main) == 1:
        return main[0]
    if not main:
        raise errors.bad_request(f"a container name must be specified for pod {name}")
    choices = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
    raise errors.bad_request(f"{choices} or one of the init containers: [{' '.join(first)}]" if first else choices)


def _names(containers: Any) -> list[str]:
    return [str(one["name"]) for one in containers or ()]


def split(identity: str, what: str) -> tuple[str, str, str]:
    """ "name", "name:port" or "scheme:name:port" as (scheme, name, port). Raises BadRequest."""
    parts = identity.split(":")
    if len(parts) == 3:
        scheme, name, port = parts
        # "https:name:" asks for the scheme and leaves the port open.
        if name and scheme in _SCHEMES:
            return scheme, name, port
    elif len(parts) <= 2 and parts[0] and parts[-1]:
        return "", parts[0], parts[1] if len(parts) == 2 else ""
    raise errors.bad_request(f'invalid {what} request "{identity}"')


def _number(port: str, what: str, identity: str) -> int:
    if port.isascii() and port.isdigit() and 0 < int(port[:6]) < 1 << 16:
        return int(port)
    raise errors.bad_request(f'invalid {what} request "{identity}"')


async def pod_place(registry: Registry, namespace: str, identity: str) -> Place:
    scheme, name, port = split(identity, "pod")
    pod = await read(registry, POD, namespace, name)
    host = dig(pod, "status", "podIP")
    if not _is_host(host):
        raise errors.bad_request("address not allowed")
    if not port:
        ports = [one["ports"][0]["containerPort"] for one in pod["spec"]["containers"] if one.get("ports")]
        return Place(host, int(ports[0]) if ports else 0, scheme or "http")
    return Place(host, _number(port, "pod", identity), scheme or "http")


async def node_place(registry: Registry, identity: str) -> Place:
    scheme, name, port = split(identity, "node")
    own = await kubelet(registry, name)
    if not port or port == str(own.port):
        return own
    return Place(own.host, _number(port, "node", identity), scheme or "http")


async def service_place(registry: Registry, namespace: str, identity: str) -> Place:
    """One of the ready addresses behind it, by chance. Raises 503 when there is none."""
    scheme, name, port = split(identity, "service")
    if port.isascii() and port.isdigit():
        service = await read(registry, SERVICE, namespace, name)
        ports = [one for one in service["spec"].get("ports") or () if str(one.get("port")) == port]
        if not ports:
            raise unavailable(f'no service port {port} found for service "{name}"')
        port = str(ports[0].get("name") or "")
    endpoints = await read(registry, ENDPOINTS, namespace, name)
    subsets = list(endpoints.get("subsets") or ())
    if not subsets:
        raise unavailable(f'no endpoints available for service "{name}"')
    random.shuffle(subsets)
    for subset in subsets:
        addresses = subset.get("addresses")
        for one in subset.get("ports") or ():
            if addresses and (one.get("name") or "") == port:
                host = random.choice(addresses).get("ip")
                if _is_host(host):
                    return Place(str(host), int(one["port"]), scheme or "http")
    raise unavailable(f'no endpoints available for service "{identity}"')


def unavailable(message: str) -> ApiFailure:
    return ApiFailure(503, "ServiceUnavailable", message)
