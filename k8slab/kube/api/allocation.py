"""Addresses and node ports of services, owned by keys of their own that are written in the service's transaction.

Two servers on one etcd can therefore never give the same one away: the second transaction is refused and tries another.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address
from typing import Any, Final

import orjson

from k8slab.kube.api import validation
from k8slab.kube.api.errors import ApiFailure, internal, invalid
from k8slab.kube.api.kinds.service import NODE_PORTS, WITH_NODE_PORTS, needs_cluster_ip
from k8slab.kube.api.meta import Object
from k8slab.kube.api.storage.base import Check, Record, Storage, Write

ADDRESSES: Final = "/registry/ipaddresses/"
PORTS: Final = "/registry/servicenodeports/"
RANDOM_TRIES: Final = 3
LEAST_BAND: Final = 16
MOST_BAND: Final = 256


@dataclass
class Claims:
    """What a service's transaction must hold and write besides the service itself; ``chosen`` were not asked for."""

    checks: list[Check] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    chosen: set[str] = field(default_factory=set)

    def take(self, key: str, owner: Object, *, chosen: bool) -> None:
        meta = owner["metadata"]
        reference = {"resource": "services", "namespace": meta.get("namespace"), "name": meta["name"]}
        self.checks.append(Check(key, 0))
        self.writes.append(Write(key, orjson.dumps({"spec": {"parentRef": reference}})))
        if chosen:
            self.chosen.add(key)

    def release(self, key: str) -> None:
        self.writes.append(Write(key, None))


class Allocator:
    """``network``: the service range; its first address is the API server's own."""

    def __init__(self, storage: Storage, network: IPv4Network) -> None:
        self._storage = storage
        self.network = network

    async def claims(self, new: Object | None, old: Object | None, *, attempt: int) -> Claims:
        """Fills in what ``new`` needs and was not given. A later ``attempt`` looks at what is taken before choosing."""
        claims = Claims()
        before, after = _held(old), await self._wanted(new, old, claims, attempt)
        for key in before - after:
            claims.release(key)
        return claims

    async def _wanted(self, new: Object | None, old: Object | None, claims: Claims, attempt: int) -> set[str]:
        if new is None:
            return set()
        had = _held(old)
        spec = new["spec"]
        if needs_cluster_ip(spec):
            address = spec.get("clusterIP")
            if not address:
                address = await self._free_address(attempt)
                spec["clusterIP"], spec["clusterIPs"] = address, [address]
                claims.take(ADDRESSES + address, new, chosen=True)
            elif ADDRESSES + address not in had:
                self._in_range(new, address)
                claims.take(ADDRESSES + address, new, chosen=False)
        if spec["type"] in WITH_NODE_PORTS and spec.get("allocateLoadBalancerNodePorts", True):
            await self._node_ports(new, had, claims, attempt)
        return _held(new)

    async def _node_ports(self, new: Object, had: set[str], claims: Claims, attempt: int) -> None:
        """A number serves both protocols of a port that has them, as DNS has."""
        ports = new["spec"].get("ports") or ()
        taken = {port["nodePort"] for port in ports if port.get("nodePort")}
        given = {port.get("port"): port["nodePort"] for port in reversed(ports) if port.get("nodePort")}
        used = await self._used(PORTS) if attempt > RANDOM_TRIES else set()
        claimed = {*had}
        for index, port in enumerate(ports):
            number, chosen = port.get("nodePort") or _shared(port, ports, given), False
            if not number:
                free = [one for one in NODE_PORTS if one not in taken and str(one) not in used]
                if not free:
                    raise internal("failed to allocate a nodePort: range is full")
                number, chosen = random.choice(free), True
                taken.add(number)
                given[port.get("port")] = number
            port["nodePort"] = number
            key = f"{PORTS}{number}"
            if key in claimed:
                continue
            if number not in NODE_PORTS:
                why = "provided port is not in the valid range. The range of valid ports is 30000-32767"
                raise _refused(new, f"spec.ports[{index}].nodePort", number, why)
            claims.take(key, new, chosen=chosen)
            claimed.add(key)

    def refusal(self, new: Object, claims: Claims, found: dict[str, Record | None]) -> ApiFailure | None:
        """Why a claim cannot be had, when it was asked for by name; None when another try may choose better."""
        for check in claims.checks:
            if not check.key.startswith((ADDRESSES, PORTS)):
                continue
            if found.get(check.key) is None or check.key in claims.chosen:
                continue
            value = check.key.rsplit("/", 1)[-1]
            if check.key.startswith(PORTS):
                for index, port in enumerate(new["spec"].get("ports") or ()):
                    if str(port.get("nodePort")) == value:
                        return _refused(
                            new, f"spec.ports[{index}].nodePort", int(value), "provided port is already allocated"
                        )
            why = f"failed to allocate IP {value}: provided IP is already allocated"
            return _refused(new, "spec.clusterIPs", [value], why)
        return None

    def _in_range(self, new: Object, address: str) -> None:
        try:
            inside = ip_address(address) in self.network and ip_address(address) not in (
                self.network.network_address,
                self.network.broadcast_address,
            )
        except ValueError:
            inside = False
        if not inside:
            why = (
                f"failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. "
                f"The range of valid IPs is {self.network}"
            )
            raise _refused(new, "spec.clusterIPs", [address], why)

    async def _free_address(self, attempt: int) -> str:
        """One of the upper band, while there is one: the lower is left to those who ask for an address by name."""
        first, last = 2, self.network.num_addresses - 2
        band = max(first, _static_band(self.network.num_addresses) + 1)
        if attempt <= RANDOM_TRIES and last >= band:
            return str(self.network[random.randint(band, last)])
        used = await self._used(ADDRESSES)
        free = [place for place in range(first, last + 1) if str(self.network[place]) not in used]
        upper = [place for place in free if place >= band]
        return str(self.network[random.choice(upper or free)]) if free else self._full()

    def _full(self) -> str:
        raise internal("failed to allocate a serviceIP: range is full")

    async def _used(self, prefix: str) -> set[str]:
        page = await self._storage.page(prefix)
        return {record.key[len(prefix) :] for record in page.records}


def _shared(port: Object, ports: Sequence[Object], given: Mapping[Any, int]) -> int:
    """The node port that the same port has for another protocol; 0 when there is none, or this protocol has it."""
    number = given.get(port.get("port"), 0)
    mine = any(one.get("nodePort") == number and one.get("protocol") == port.get("protocol") for one in ports)
    return 0 if mine else number


def _static_band(size: int) -> int:
    """How many addresses at the beginning of a range are not given away by chance; the original's rule."""
    return 0 if size <= LEAST_BAND + 2 else min(max(LEAST_BAND, size // LEAST_BAND), MOST_BAND)


def _held(service: Object | None) -> set[str]:
    """The keys that a service's address and node ports stand for."""
    if service is None:
        return set()
    spec = service["spec"]
    keys = {f"{PORTS}{port['nodePort']}" for port in spec.get("ports") or () if port.get("nodePort")}
    if needs_cluster_ip(spec) and spec.get("clusterIP"):
        keys.add(ADDRESSES + spec["clusterIP"])
    return keys


def _refused(service: Object, path: str, value: Any, why: str) -> ApiFailure:
    problems: Sequence[Any] = [validation.invalid(path, value, why)]
    return invalid("", "Service", service["metadata"]["name"], problems)
