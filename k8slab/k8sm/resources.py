"""Mesos resources and attributes as plain values, and the resources a pod takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube import quantity
from k8slab.kube.scheduler.extended import Amounts, extended

MINIMUM_CPUS: Final = 0.01
MINIMUM_MEM: Final = 32.0
PORT_MAPPING: Final = "k8s.mesosphere.io/portMapping"

_MIB: Final = 1024 * 1024
# Mesos counts scalars in thousandths.
_STEP: Final = 0.0005

Range = tuple[int, int]


@dataclass(frozen=True)
class Defaults:
    """What a container that names neither request nor limit takes: cores and MB."""

    cpus: float = 0.25
    mem: float = 64.0


@dataclass(frozen=True)
class Pool:
    """Mesos resources that can be taken from, piece by piece; every piece keeps its role and reservation."""

    resources: tuple[Mapping[str, Any], ...] = ()

    @staticmethod
    def of(resources: Iterable[Mapping[str, Any]]) -> Pool:
        """Revocable resources are left out: a pod must not lose what it stands on."""
        return Pool(tuple(resource for resource in resources if "revocable" not in resource))

    def __add__(self, other: Pool) -> Pool:
        return Pool(self.resources + other.resources)

    def of_roles(self, roles: Sequence[str]) -> Pool:
        """What is left when only resources of these roles may be used; all of them when none is named."""
        return Pool(tuple(one for one in self.resources if role_of(one) in roles)) if roles else self

    def scalar(self, name: str) -> float:
        """Cores of "cpus", MB of "mem" and "disk"."""
        amounts = (float(one["scalar"]["value"]) for one in self.resources if one["name"] == name and "scalar" in one)
        return round(sum(amounts), 3)

    @property
    def ports(self) -> tuple[Range, ...]:
        return tuple(one for resource in self.resources if resource["name"] == "ports" for one in _ranges(resource))

    def has_port(self, port: int) -> bool:
        return any(begin <= port <= end for begin, end in self.ports)

    def take(self, cpus: float, mem: float, ports: Sequence[int] = (), *, roles: Sequence[str] = ()) -> Taken | None:
        """Take so much, of ``roles`` in their order, or reserved resources first; None when it is not all there."""
        usable = [one for one in self.resources if not roles or role_of(one) in roles]
        kept = tuple(one for one in self.resources if roles and role_of(one) not in roles)
        taken: list[dict[str, Any]] = []
        for name, amount in (("cpus", cpus), ("mem", mem)):
            if not _take_scalar(usable, taken, name, amount, roles):
                return None
        for port in ports:
            if not _take_port(usable, taken, port, roles):
                return None
        return Taken(tuple(taken), Pool((*kept, *usable)))


@dataclass(frozen=True)
class Taken:
    resources: tuple[Mapping[str, Any], ...]
    rest: Pool


@dataclass(frozen=True)
class WantedPort:
    """A host port for the container's port at these places in the spec; ``number`` 0 takes any that is offered."""

    container: int
    port: int
    number: int


@dataclass(frozen=True)
class PodResources:
    """What a pod's task takes: cores, MB, and ports of its node.

    ``extended``: what else it asks for, by name, that a node must say it has.
    """

    cpus: float
    mem: float
    ports: tuple[WantedPort, ...] = ()
    extended: Amounts = ()


def unreserved(cpus: float, mem: float) -> list[dict[str, Any]]:
    return [
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": round(cpus, 3)}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": round(mem, 3)}},
    ]


def pod_resources(pod: Mapping[str, Any], defaults: Defaults, *, wildcard: bool = False) -> PodResources:
    """The sum of the containers' limits after filling in what is not said, or what an init container takes if more;
    both beside the sidecars that run then.

    ``wildcard``: whether container ports without a host port get one, where the pod does not say it itself.
    """
    spec = pod["spec"]
    sidecars, highest = (0.0, 0.0), (0.0, 0.0)
    for one in spec.get("initContainers") or ():
        with_it = _plus(sidecars, _container_resources(one, defaults))
        highest = (max(highest[0], with_it[0]), max(highest[1], with_it[1]))
        sidecars = with_it if one.get("restartPolicy") == "Always" else sidecars
    main = sidecars
    for one in spec["containers"]:
        main = _plus(main, _container_resources(one, defaults))
    cpus, mem = max(main[0], highest[0]), max(main[1], highest[1])
    ports = _wanted_ports(pod, _maps_all(pod, wildcard))
    return PodResources(round(cpus, 3), round(mem, 3), ports, extended(spec["containers"]))


def _plus(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return one[0] + other[0], one[1] + other[1]


def _container_resources(container: Mapping[str, Any], defaults: Defaults) -> tuple[float, float]:
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    cpu = limits.get("cpu", requests.get("cpu"))
    memory = limits.get("memory", requests.get("memory"))
    return (
        max(MINIMUM_CPUS, defaults.cpus if cpu is None else quantity.cores(cpu)),
        max(MINIMUM_MEM, defaults.mem if memory is None else quantity.whole(memory) / _MIB),
    )


def _wanted_ports(pod: Mapping[str, Any], wildcard: bool) -> tuple[WantedPort, ...]:
    return tuple(
        WantedPort(container, index, int(port.get("hostPort") or 0))
        for container, one in enumerate(pod["spec"]["containers"])
        for index, port in enumerate(one.get("ports") or ())
        if port.get("hostPort") or wildcard
    )


def _maps_all(pod: Mapping[str, Any], default: bool) -> bool:
    """The pod's own word, as a label or an annotation; one that is not known counts for nothing."""
    meta = pod["metadata"]
    for said in (meta.get("labels") or {}, meta.get("annotations") or {}):
        if (word := said.get(PORT_MAPPING)) in ("wildcard", "fixed"):
            return bool(word == "wildcard")
    return default


def attributes(raw: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """TEXT and SCALAR attributes as text: {"rack": "r0", "level": "10"}."""
    result: dict[str, str] = {}
    for attribute in raw:
        if attribute["type"] == "TEXT":
            result[attribute["name"]] = str(attribute["text"]["value"])
        elif attribute["type"] == "SCALAR":
            result[attribute["name"]] = f"{float(attribute['scalar']['value']):g}"
    return result


def role_of(resource: Mapping[str, Any]) -> str:
    """The role that a resource is reserved for, "*" for none."""
    if reservations := resource.get("reservations"):
        return str(reservations[-1].get("role", "*"))
    return str(resource.get("role", "*"))


def _take_scalar(
    left: list[Mapping[str, Any]], taken: list[dict[str, Any]], name: str, amount: float, roles: Sequence[str]
) -> bool:
    wanted = amount
    for resource in _in_turn(left, name, roles):
        if wanted < _STEP:
            break
        has = float(resource["scalar"]["value"])
        piece = min(has, wanted)
        taken.append({**resource, "scalar": {"value": round(piece, 3)}})
        left.remove(resource)
        if has - piece >= _STEP:
            left.append({**resource, "scalar": {"value": round(has - piece, 3)}})
        wanted -= piece
    return wanted < _STEP


def _take_port(left: list[Mapping[str, Any]], taken: list[dict[str, Any]], port: int, roles: Sequence[str]) -> bool:
    for resource in _in_turn(left, "ports", roles):
        ranges = _ranges(resource)
        if not any(begin <= port <= end for begin, end in ranges):
            continue
        taken.append({**resource, "ranges": {"range": [{"begin": port, "end": port}]}})
        left.remove(resource)
        if rest := _without(ranges, port):
            left.append({**resource, "ranges": {"range": [{"begin": begin, "end": end} for begin, end in rest]}})
        return True
    return False


def _in_turn(resources: Iterable[Mapping[str, Any]], name: str, roles: Sequence[str]) -> list[Mapping[str, Any]]:
    found = [one for one in resources if one["name"] == name]
    if len(found) < 2:
        return found
    if roles:
        return sorted(found, key=lambda one: roles.index(role_of(one)))
    return sorted(found, key=lambda one: role_of(one) == "*")


def _ranges(resource: Mapping[str, Any]) -> list[Range]:
    return [(int(one["begin"]), int(one["end"])) for one in (resource.get("ranges") or {}).get("range") or ()]


def _without(ranges: Iterable[Range], port: int) -> tuple[Range, ...]:
    result: list[Range] = []
    for begin, end in ranges:
        if begin <= port <= end:
            result += [part for part in ((begin, port - 1), (port + 1, end)) if part[0] <= part[1]]
        else:
            result.append((begin, end))
    return tuple(result)
