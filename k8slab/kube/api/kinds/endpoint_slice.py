"""EndpointSlice: some of a service's endpoints."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.kinds.service import PROTOCOLS
from k8slab.kube.api.meta import Object

TYPES: Final = ("FQDN", "IPv4", "IPv6")
SHOWN: Final = 3
MOST: Final = 1000


def _defaults(obj: Object) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    kind = new.get("addressType")
    found: list[FieldProblem] = []
    if not kind:
        found.append(validation.required("addressType"))
    else:
        found += validation.one_of("addressType", kind, TYPES)
    if old is not None and kind != old.get("addressType"):
        found.append(validation.immutable("addressType", kind or ""))
    endpoints = new.get("endpoints") or ()
    if len(endpoints) > MOST:
        why = f"Too many: {len(endpoints)}: must have at most {MOST} items"
        found.append(FieldProblem("endpoints", "FieldValueTooMany", why))
    for index, endpoint in enumerate(endpoints):
        path = f"endpoints[{index}].addresses"
        addresses = endpoint.get("addresses") or ()
        if not addresses:
            found.append(validation.required(path, "must contain at least 1 address"))
        for place, address in enumerate(addresses):
            if kind in ("IPv4", "IPv6"):
                found += validation.address(f"{path}[{place}]", address)
            elif kind == "FQDN":
                found += [validation.invalid(f"{path}[{place}]", address, why) for why in validation.subdomain(address)]
    names: set[str] = set()
    for index, port in enumerate(new.get("ports") or ()):
        path = f"ports[{index}]"
        if port["name"] in names:
            found.append(validation.duplicate(f"{path}.name", port["name"]))
        names.add(port["name"])
        found += validation.one_of(f"{path}.protocol", port["protocol"], PROTOCOLS)
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
