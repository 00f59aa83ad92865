"""EndpointSlice: some of a service's endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.kinds.service import PROTOCOLS
from k8slab.kube.api.meta import Object

TYPES: Final = ("FQDN", "IPv4", "IPv6")
SHOWN: Final = 3
MOST: Final = 1000
MOST_ADDRESSES: Final = 100
MOST_PORTS: Final = 20000


def _defaults(obj: Object) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    kind = new.get("addressType") or ""
    found = validation.one_of("addressType", kind, TYPES) if kind else [validation.required("addressType")]
    endpoints = new.get("endpoints") or ()
    found += validation.too_many("endpoints", endpoints, MOST)
    if len(endpoints) <= MOST:
        for index, endpoint in enumerate(endpoints):
            found += _endpoint_problems(endpoint, f"endpoints[{index}]", kind)
    found += _port_problems(new.get("ports") or ())
    if old is not None and kind != old.get("addressType"):
        found.append(validation.immutable("addressType", kind))
    return found


def _endpoint_problems(endpoint: Mapping[str, Any], path: str, kind: str) -> list[FieldProblem]:
    addresses, where = endpoint.get("addresses") or (), f"{path}.addresses"
    found: list[FieldProblem] = []
    if not addresses:
        found.append(validation.required(where, "must contain at least 1 address"))
    found += validation.too_many(where, addresses, MOST_ADDRESSES)
    for place, address in enumerate(addresses):
        if kind in ("IPv4", "IPv6"):
            found += validation.family_address(f"{where}[{place}]", address, kind)
            found += validation.reachable_address(f"{where}[{place}]", address)
        elif kind == "FQDN":
            found += validation.domain(f"{where}[{place}]", address)
    for field, check in (("nodeName", validation.subdomain), ("hostname", validation.label)):
        if (name := endpoint.get(field)) is not None:
            found += validation.checked(f"{path}.{field}", name, check)
    return found


def _port_problems(ports: Sequence[Mapping[str, Any]]) -> list[FieldProblem]:
    if len(ports) > MOST_PORTS:
        return validation.too_many("ports", ports, MOST_PORTS)
    found: list[FieldProblem] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"ports[{index}]", port["name"]
        if name:
            found += validation.checked(f"{path}.name", name, validation.label)
        if name in names:
            found.append(validation.duplicate(f"{path}.name", name))
        names.add(name)
        found += validation.one_of(f"{path}.protocol", port["protocol"], PROTOCOLS)
        if (protocol := port.get("appProtocol")) is not None:
            found += validation.checked(f"{path}.appProtocol", protocol, validation.qualified_name)
    return found


def _first(values: list[str], none: str) -> str:
    if not values:
        return none
    return ",".join(values[:SHOWN]) + (f" + {len(values) - SHOWN} more..." if len(values) > SHOWN else "")


def _ports(obj: Object) -> str:
    return _first([str(port.get("port") or "*") for port in obj.get("ports") or ()], "<unset>")


def _endpoints(obj: Object) -> str:
    return _first(
        [one for endpoint in obj.get("endpoints") or () for one in endpoint.get("addresses") or ()], "<unset>"
    )


ENDPOINT_SLICE: Final = Kind(
    kind="EndpointSlice",
    plural="endpointslices",
    singular="endpointslice",
    group="discovery.k8s.io",
    columns=(
        NAME,
        Column("AddressType", lambda obj: obj.get("addressType") or ""),
        Column("Ports", _ports),
        Column("Endpoints", _endpoints),
        AGE,
    ),
    default=_defaults,
    validate=_problems,
    generation=True,
)
