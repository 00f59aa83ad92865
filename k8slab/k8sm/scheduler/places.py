"""Agents as places for pods within one round: what they have left, and whether a pod fits in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from k8slab.k8sm.mapping import Executor
from k8slab.k8sm.resources import PodResources, WantedPort
from k8slab.k8sm.scheduler.offers import Slot
from k8slab.kube import quantity
from k8slab.kube.scheduler.census import Resident
from k8slab.kube.scheduler.extended import Amounts

CPU_SHORT: Final = "Insufficient cpu"
MEMORY_SHORT: Final = "Insufficient memory"
NO_PORT: Final = "node(s) didn't have free ports for the requested pod ports"
TOO_MANY: Final = "Too many pods"
NO_NODE: Final = "node(s) had no node object yet"

_UNRESERVED: Final = ("*",)


@dataclass(frozen=True)
class Misfit:
    """``reason``: as kube-scheduler says it; ``detail``: what this one agent has, "" where there is nothing to say."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Fitted:
    """``resources``: the pieces of the offers that the task takes; ``ports``: the host ports, in the pod's order."""

    resources: tuple[Mapping[str, Any], ...]
    ports: tuple[int, ...]


class Place:
    """One agent's offers. ``residents``: the pods that are there already."""

    def __init__(self, slot: Slot, node: Mapping[str, Any] | None, residents: Iterable[Resident]) -> None:
        self.slot = slot
        self.node = node
        self._held: list[Amounts] = [one.extended for one in residents]
        self._pool = slot.pool
        self._has_executor = bool(slot.executors)
        self._amounts: dict[Sequence[str], tuple[float, float]] = {}
        allocatable = ((node or {}).get("status") or {}).get("allocatable") or {}
        taints = ((node or {}).get("spec") or {}).get("taints") or ()
        self.is_disliked = any(one["effect"] == "PreferNoSchedule" for one in taints)
        self._allocatable = allocatable
        self._most_pods = int(_amount(allocatable.get("pods", "110")))
        cpus, mem = self._usable(())
        self._whole = (
            max(_amount(allocatable.get("cpu", "0")), cpus, 0.001),
            max(_amount(allocatable.get("memory", "0")) / 2**20, mem, 0.001),
        )

    def misfit(
        self, wanted: PodResources, roles: Sequence[str], executor: Executor, *, counted: bool = False
    ) -> Misfit | None:
        """Why the pod does not fit in, None when it does. ``counted``: it is one of those that are there already."""
        if len(self._held) >= self._most_pods and not counted:
            return Misfit(TOO_MANY)
        for name, amount in () if counted else wanted.extended:
            taken = sum(held for amounts in self._held for other, held in amounts if other == name)
            if (has := _amount(self._allocatable.get(name, "0")) - taken) < amount:
                return Misfit(f"Insufficient {name}", f"has {has:g}")
        has_cpus, has_mem = self._usable(roles)
        more_cpus, more_mem, beside = (0.0, 0.0, "") if self._has_executor else (executor.cpus, executor.mem, "")
        if not self._has_executor:
            beside = ", its executor needs {} of it"
            free_cpus, free_mem = self._usable(_UNRESERVED)
            if free_cpus < executor.cpus:
                return Misfit(CPU_SHORT, f"has {free_cpus:g} for an executor of {executor.cpus:g}")
            if free_mem < executor.mem:
                return Misfit(MEMORY_SHORT, f"has {free_mem:g} MB for an executor of {executor.mem:g} MB")
            if roles and "*" not in roles:
                more_cpus = more_mem = 0.0
                beside = ""
        if has_cpus - more_cpus < wanted.cpus - 1e-6:
            return Misfit(CPU_SHORT, f"has {has_cpus:g}{beside.format(f'{more_cpus:g}')}")
        if has_mem - more_mem < wanted.mem - 1e-6:
            return Misfit(MEMORY_SHORT, f"has {has_mem:g} MB{beside.format(f'{more_mem:g} MB')}")
        if wanted.ports and self._ports(wanted.ports, roles) is None:
            return Misfit(NO_PORT)
        return None

    def take(
        self, wanted: PodResources, roles: Sequence[str], executor: Executor, *, counted: bool = False
    ) -> Fitted | None:
        """Take what the pod needs, and its executor's share where none runs yet; None when it is not there."""
        pool = self._pool
        if not self._has_executor:
            for_executor = pool.take(executor.cpus, executor.mem, roles=_UNRESERVED)
            if for_executor is None:
                return None
            pool = for_executor.rest
        ports = self._ports(wanted.ports, roles) if wanted.ports else ()
        if ports is None or (taken := pool.take(wanted.cpus, wanted.mem, ports, roles=roles)) is None:
            return None
        self._pool, self._has_executor = taken.rest, True
        self._amounts.clear()
        if not counted:
            self._held.append(wanted.extended)
        return Fitted(taken.resources, ports)

    def left(self) -> Slot:
        """What stays of the offers; its pods' executor is counted as running."""
        return replace(self.slot, pool=self._pool, executors=self.slot.executors or ("",))

    def free_share(self) -> float:
        """What is left of the machine, from 0 to 1."""
        cpus, mem = self._usable(())
        return (cpus / self._whole[0] + mem / self._whole[1]) / 2

    def _usable(self, roles: Sequence[str]) -> tuple[float, float]:
        found = self._amounts.get(roles)
        if found is None:
            pool = self._pool.of_roles(roles)
            found = self._amounts[roles] = (pool.scalar("cpus"), pool.scalar("mem"))
        return found

    def _ports(self, wanted: Sequence[WantedPort], roles: Sequence[str]) -> tuple[int, ...] | None:
        """A host port for each, those asked for by number first served."""
        ranges = self._pool.of_roles(roles).ports
        taken = [one.number for one in wanted if one.number]
        if len(set(taken)) < len(taken) or not all(any(a <= port <= b for a, b in ranges) for port in taken):
            return None
        free = (port for begin, end in ranges for port in range(begin, end + 1) if port not in taken)
        found: list[int] = []
        for one in wanted:
            number = one.number or next(free, 0)
            if not number:
                return None
            found.append(number)
        return tuple(found)


def too_small(node: Mapping[str, Any], wanted: PodResources) -> Misfit | None:
    """Why the pod would not fit even if the node's agent offered all that it has."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    if "cpu" in allocatable and (cpus := _amount(allocatable["cpu"])) < wanted.cpus:
        return Misfit(CPU_SHORT, f"has {cpus:g}")
    if "memory" in allocatable and (mem := _amount(allocatable["memory"]) / 2**20) < wanted.mem:
        return Misfit(MEMORY_SHORT, f"has {mem:g} MB")
    return None


@lru_cache(maxsize=1024)
def _amount(text: str) -> float:
    return float(quantity.parse(text))


def shortage(reason: str, wanted: PodResources) -> str:
    """What the pod needs of the resource that a reason is about."""
    match reason:
        case "Insufficient cpu":
            return f"needs {wanted.cpus:g}"
        case "Insufficient memory":
            return f"needs {wanted.mem:g} MB"
        case _ if reason == NO_PORT:
            return f"needs {', '.join(str(one.number) if one.number else 'any' for one in wanted.ports)}"
    amounts = {f"Insufficient {name}": f"needs {amount:g}" for name, amount in wanted.extended}
    return amounts.get(reason, "")
