"""Services and their endpoints, as the API has them, as the ports that a node has to forward.

What people have written becomes words of the packet filter's rules, all of which are refused for a single wrong one:
here is let through only what is an address, a network or a number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
# Services and endpoints that carry these are another proxy's, or nobody's.
OTHER_PROXY_LABEL: Final = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL: Final = "service.kubernetes.io/headless"

DEFAULT_AFFINITY_SECONDS: Final = 10800
LONGEST_AFFINITY: Final = 86400

Object = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Endpoint:
    """``serving``: still answers, though it may be ``ready`` no more because it is being ended."""

    address: str
    port: int
    local: bool = False
    ready: bool = True
    serving: bool = True
    terminating: bool = False

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class ServicePort:
    """One port of a service. ``name``: "namespace/service:port", without the colon for a port that has no name.

    ``protocol``: "tcp", "udp" or "sctp". ``affinity``: seconds for which a client keeps its endpoint, 0 for none.
    ``load_balancers``: addresses that somebody else's load balancer has, open to ``source_ranges`` only, if any.
    """

    name: str
    protocol: str
    address: str
    port: int
    node_port: int = 0
    external_addresses: tuple[str, ...] = ()
    load_balancers: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity: int = 0
    internal_local: bool = False
    external_local: bool = False
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def is_external(self) -> bool:
        """Whether anything but the cluster address leads to it."""
        return bool(self.node_port or self.external_addresses or self.load_balancers)

    @property
    def cluster_endpoints(self) -> tuple[Endpoint, ...]:
        return usable(self.endpoints)

    @property
    def local_endpoints(self) -> tuple[Endpoint, ...]:
        return usable([one for one in self.endpoints if one.local])


def usable(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """The ready ones; where there is none, those that still serve while they are being ended."""
    ready = tuple(one for one in endpoints if one.ready)
    return ready or tuple(one for one in endpoints if one.serving and one.terminating)


def service_ports(
    services: Iterable[Object], slices: Iterable[Object], endpoints: Iterable[Object], node: str
) -> list[ServicePort]:
    """Every port that this node has to forward, by name.

    A service that has EndpointSlices is served from them, any other one from its Endpoints. ``node`` is this node's
    name: endpoints on it are local.
    """
    sliced: dict[str, list[Object]] = defaultdict(list)
    for one in slices:
        owner = (one["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
        if owner:
            sliced[f"{one['metadata']['namespace']}/{owner}"].append(one)
    listed = {_key(one): one for one in endpoints if HEADLESS_LABEL not in (one["metadata"].get("labels") or {})}
    found: list[ServicePort] = []
    for service in services:
        if not _is_forwarded(service):
            continue
        key = _key(service)
        behind = _from_slices(sliced[key], node) if key in sliced else _from_endpoints(listed.get(key), node)
        found += _ports(service, behind)
    return sorted(found, key=lambda port: (port.name, port.protocol))


def _is_forwarded(service: Object) -> bool:
    spec, labels = service["spec"], service["metadata"].get("labels") or {}
    address = spec.get("clusterIP") or "None"
    of_ours = OTHER_PROXY_LABEL not in labels
    return of_ours and spec.get("type") != "ExternalName" and address != "None" and ":" not in address


def _ports(service: Object, behind: Mapping[tuple[str, str], Sequence[Endpoint]]) -> Iterator[ServicePort]:
    spec = service["spec"]
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        affinity = max(1, min(int(config.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS), LONGEST_AFFINITY))
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    for port in spec.get("ports") or ():
        name, protocol = port.get("name") or "", port.get("protocol") or "TCP"
        yield ServicePort(
            name=f"{_key(service)}:{name}" if name else _key(service),
            protocol=protocol.lower(),
            address=spec["clusterIP"],
            port=int(port["port"]),
            node_port=int(port.get("nodePort") or 0),
            external_addresses=_of_this_family(spec.get("externalIPs") or ()),
            load_balancers=_of_this_family([one["ip"] for one in ingress if one.get("ip")]),
            source_ranges=_networks(spec.get("loadBalancerSourceRanges") or ()),
            affinity=affinity,
            internal_local=spec.get("internalTrafficPolicy") == "Local",
            external_local=spec.get("externalTrafficPolicy") == "Local",
            endpoints=tuple(sorted(set(behind.get((name, protocol), ())))),
        )


def _from_slices(slices: Sequence[Object], node: str) -> dict[tuple[str, str], list[Endpoint]]:
    """Endpoints by the name and the protocol of their port. One that moves between slices counts once, the last."""
    found: dict[tuple[str, str], dict[tuple[str, int], Endpoint]] = defaultdict(dict)
    for one in sorted(slices, key=lambda each: str(each["metadata"]["name"])):
        if one.get("addressType") != "IPv4":
            continue
        for endpoint in one.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            ready = conditions.get("ready") is not False
            serving = conditions.get("serving")
            for port in one.get("ports") or ():
                here = _of_this_family(endpoint.get("addresses") or ())
                if not _is_port(port.get("port")) or not here:
                    continue
                made = Endpoint(
                    address=here[0],
                    port=int(port["port"]),
                    local=endpoint.get("nodeName") == node,
                    ready=ready,
                    serving=ready if serving is None else bool(serving),
                    terminating=conditions.get("terminating") is True,
                )
                key = (port.get("name") or "", port.get("protocol") or "TCP")
                found[key][made.address, made.port] = made
    return {key: list(members.values()) for key, members in found.items()}


def _from_endpoints(endpoints: Object | None, node: str) -> dict[tuple[str, str], list[Endpoint]]:
    found: dict[tuple[str, str], list[Endpoint]] = defaultdict(list)
    for subset in (endpoints or {}).get("subsets") or ():
        for port in subset.get("ports") or ():
            key = (port.get("name") or "", port.get("protocol") or "TCP")
            found[key] += [
                Endpoint(one["ip"], int(port["port"]), local=one.get("nodeName") == node)
                for one in subset.get("addresses") or ()
                if _is_port(port.get("port")) and _of_this_family([one["ip"]])
            ]
    return found


def _of_this_family(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in addresses if _is_ipv4(one)))


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _networks(ranges: Iterable[str]) -> tuple[str, ...]:
    found = []
    for one in ranges:
        try:
            # Spaces around them have always been allowed.
            found.append(str(IPv4Network(one.strip(), strict=False)))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def _is_port(number: Any) -> bool:
    return isinstance(number, int) and 0 < number < 65536


def _key(obj: Object) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
