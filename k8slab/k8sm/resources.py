"""Mesos resources and attributes as plain values, and the resources a pod takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube import quantity

MINIMUM_CPUS: Final = 0.01
MINIMUM_MEM: Final = 32.0

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

    def scalar(self, name: str) -> float:
        """Cores of "cpus", MB of "mem" and "disk"."""
        amounts = (float(one["scalar"]["value"]) for one in self.resources if one["name"] == name and "scalar" in one)
        return round(sum(amounts), 3)

    @property
    def ports(self) -> tuple[Range, ...]:
        return tuple(one for resource in self.resources if resource["name"] == "ports" for one in _ranges(resource))

    def has_port(self, port: int) -> bool:
        return any(begin <= port <= end for begin, end in self.ports)

    def take(self, cpus: float, mem: float, ports: Sequence[int] = (), *, unreserved: bool = False) -> Taken | None:
        """Take so much, reserved resources first; None when it is not all there."""
        left = list(self.resources)
        taken: list[dict[str, Any]] = []
        for name, amount in (("cpus", cpus), ("mem", mem)):
            if not _take_scalar(left, taken, name, amount, unreserved=unreserved):
                return None
        for port in ports:
            if not _take_port(left, taken, port):
                return None
        return Taken(tuple(taken), Pool(tuple(left)))


@dataclass(frozen=True)
class Taken:
    resources: tuple[Mapping[str, Any], ...]
    rest: Pool


@dataclass(frozen=True)
class PodResources:
    """What a pod's task takes: cores, MB, and the ports of its node that it asks for by number."""

    cpus: float
    mem: float
    ports: tuple[int, ...] = ()


def unreserved(cpus: float, mem: float) -> list[dict[str, Any]]:
    return [
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": round(cpus, 3)}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": round(mem, 3)}},
    ]


def pod_resources(pod: Mapping[str, Any], defaults: Defaults) -> PodResources:
    """The sum of the containers' limits, after filling in what is not said."""
    cpus = mem = 0.0
    ports: list[int] = []
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        cpu = limits.get("cpu", requests.get("cpu"))
        memory = limits.get("memory", requests.get("memory"))
        cpus += max(MINIMUM_CPUS, defaults.cpus if cpu is None else quantity.cores(cpu))
        mem += max(MINIMUM_MEM, defaults.mem if memory is None else quantity.whole(memory) / _MIB)
        ports += [int(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")]
    return PodResources(round(cpus, 3), round(mem, 3), tuple(ports))


def attributes(raw: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """TEXT and SCALAR attributes as text: {"rack": "r0", "level": "10"}."""
    result: dict[str, str] = {}
    for attribute in raw:
        if attribute["type"] == "TEXT":
            result[attribute["name"]] = str(attribute["text"]["value"])
        elif attribute["type"] == "SCALAR":
            result[attribute["name"]] = f"{float(attribute['scalar']['value']):g}"
    return result


def _take_scalar(
    left: list[Mapping[str, Any]], taken: list[dict[str, Any]], name: str, amount: float, *, unreserved: bool
) -> bool:
    wanted = amount
    for resource in _by_role(left, name):
        if wanted < _STEP:
            break
        if unreserved and _is_reserved(resource):
            continue
        has = float(resource["scalar"]["value"])
        piece = min(has, wanted)
        taken.append({**resource, "scalar": {"value": round(piece, 3)}})
        left.remove(resource)
        if has - piece >= _STEP:
            left.append({**resource, "scalar": {"value": round(has - piece, 3)}})
        wanted -= piece
    return wanted < _STEP


def _take_port(left: list[Mapping[str, Any]], taken: list[dict[str, Any]], port: int) -> bool:
    for resource in _by_role(left, "ports"):
        ranges = _ranges(resource)
        if not any(begin <= port <= end for begin, end in ranges):
            continue
        taken.append({**resource, "ranges": {"range": [{"begin": port, "end": port}]}})
        left.remove(resource)
        if rest := _without(ranges, port):
            left.append({**resource, "ranges": {"range": [{"begin": begin, "end": end} for begin, end in rest]}})
        return True
    return False


def _by_role(resources: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return sorted((one for one in resources if one["name"] == name), key=lambda one: not _is_reserved(one))


def _is_reserved(resource: Mapping[str, Any]) -> bool:
    return bool(resource.get("reservations")) or resource.get("role", "*") != "*"


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
