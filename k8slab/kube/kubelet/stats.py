"""What the node, its pods and their containers use: /stats/summary and /metrics/resource.

Rates need two samples: the one before, or, when there is none, one taken a moment earlier for the purpose.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.client import Object
from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.engine import Engine

INTERVAL: Final = 0.5
_NODE: Final = ""
_SECOND: Final = 1_000_000_000
_V2: Final = Path("/sys/fs/cgroup")
_CPU_V1: Final = (_V2 / "cpuacct/cpuacct.usage", _V2 / "cpu,cpuacct/cpuacct.usage")
_MEMORY_V1: Final = _V2 / "memory"


@dataclass(frozen=True)
class Usage:
    """``at``: monotonic seconds; ``cpu``: nanoseconds of a core since the beginning; the rest in bytes."""

    at: float
    cpu: int
    memory: int
    working_set: int
    rss: int = 0
    limit: int = 0
    networks: Mapping[str, Mapping[str, int]] | None = None


class Sampler:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last: dict[str, tuple[Usage, int, float]] = {}
        self._turn = asyncio.Lock()

    async def summary(self, node: str, pods: Iterable[Pod]) -> Object:
        """Raises EngineError and EngineUnavailable."""
        async with self._turn:
            listed = await self._engine.containers({naming.LABEL_NODE: node})
            running = {one["Id"]: one["Labels"] for one in listed if one["State"] == "running"}
            found = await self._sample(running)
            if any(identity not in self._last for identity in found):
                self._remember(found)
                await asyncio.sleep(INTERVAL)
                found = await self._sample(running)
            self._remember(found)
            for identity in self._last.keys() - found.keys():
                del self._last[identity]
            now = clock.rfc3339()
            by_pod: dict[str, dict[str, str]] = {}
            for identity, labels in running.items():
                if identity in found:
                    by_pod.setdefault(labels[naming.LABEL_UID], {})[labels[naming.LABEL_CONTAINER]] = identity
            return {
                "node": {"nodeName": node, "startTime": _boot_time(), **self._shown(_NODE, now)},
                "pods": [self._pod(pod, by_pod.get(pod["metadata"]["uid"], {}), now) for pod in pods],
            }

    async def _sample(self, identities: Iterable[str]) -> dict[str, Usage]:
        async def one(identity: str) -> tuple[str, Usage | None]:
            stats = await self._engine.stats(identity)
            return identity, usage_of(stats) if stats else None

        sampled = await asyncio.gather(*map(one, identities))
        return {_NODE: node_usage(), **{identity: usage for identity, usage in sampled if usage is not None}}

    def _remember(self, found: Mapping[str, Usage]) -> None:
        for identity, usage in found.items():
            before = self._last.get(identity)
            if before is None:
                self._last[identity] = (usage, 0, 0.0)
            elif usage.at - before[0].at >= INTERVAL:
                window = usage.at - before[0].at
                rate = max(0, int((usage.cpu - before[0].cpu) / window))
                self._last[identity] = (usage, rate, round(window, 3))

    def _shown(self, identity: str, now: str) -> Object:
        usage, rate, window = self._last[identity]
        memory: Object = {
            "time": now,
            "usageBytes": usage.memory,
            "workingSetBytes": usage.working_set,
            "rssBytes": usage.rss,
        }
        if usage.limit:
            memory["availableBytes"] = max(0, usage.limit - usage.working_set)
        return {"cpu": _cpu(now, rate, usage.cpu, window), "memory": memory}

    def _pod(self, pod: Pod, containers: Mapping[str, str], now: str) -> Object:
        meta, status = pod["metadata"], pod.get("status") or {}
        started = {
            one.get("name"): ((one.get("state") or {}).get("running") or {}).get("startedAt", "")
            for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        }
        shown = [
            {"name": name, "startTime": started.get(name, ""), **self._shown(identity, now)}
            for name, identity in containers.items()
            if name != naming.SANDBOX
        ]
        parts = [self._last[identity] for identity in containers.values()]
        result: Object = {
            "podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "startTime": status.get("startTime", ""),
            "containers": shown,
            "cpu": _cpu(
                now,
                sum(rate for _, rate, _ in parts),
                sum(usage.cpu for usage, _, _ in parts),
                max((window for _, _, window in parts), default=0.0),
            ),
            "memory": {
                "time": now,
                "usageBytes": sum(usage.memory for usage, _, _ in parts),
                "workingSetBytes": sum(usage.working_set for usage, _, _ in parts),
                "rssBytes": sum(usage.rss for usage, _, _ in parts),
            },
        }
        networks = self._last[containers[naming.SANDBOX]][0].networks if naming.SANDBOX in containers else None
        if networks:
            interfaces = [
                {
                    "name": name,
                    "rxBytes": one.get("rx_bytes", 0),
                    "rxErrors": one.get("rx_errors", 0),
                    "txBytes": one.get("tx_bytes", 0),
                    "txErrors": one.get("tx_errors", 0),
                }
                for name, one in networks.items()
            ]
            result["network"] = {"time": now, **interfaces[0], "interfaces": interfaces}
        return result


def _cpu(now: str, rate: int, total: int, window: float) -> Object:
    """``windowSeconds``, which the original does not tell: the time that the rate was taken over."""
    return {"time": now, "usageNanoCores": rate, "usageCoreNanoSeconds": total, "windowSeconds": window}


def usage_of(stats: Mapping[str, Any]) -> Usage:
    """From the engine's sample of a container; one that has just ended has none of it."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    used = int(memory.get("usage") or 0)
    # As the node would reclaim it first: version 1 of control groups counts whole trees under "total_".
    idle = int(details.get("total_inactive_file", details.get("inactive_file", 0)))
    return Usage(
        at=time.monotonic(),
        cpu=int(((stats.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0),
        memory=used,
        working_set=max(0, used - idle),
        rss=int(details.get("total_rss", details.get("anon", 0))),
        limit=int(memory.get("limit") or 0),
        networks=stats.get("networks"),
    )


def node_usage() -> Usage:
    """Of this node's own part of the control groups; of the whole machine where that is not to be seen."""
    total, free = _meminfo("MemTotal"), _meminfo("MemAvailable")
    used, working_set, rss = total - _meminfo("MemFree"), total - free, _meminfo("AnonPages")
    for current, details, idle, anonymous in (
        (_V2 / "memory.current", _V2 / "memory.stat", "inactive_file", "anon"),
        (_MEMORY_V1 / "memory.usage_in_bytes", _MEMORY_V1 / "memory.stat", "total_inactive_file", "total_rss"),
    ):
        if text := _text(current):
            values = _pairs(details)
            used, rss = int(text), values.get(anonymous, 0)
            working_set = max(0, used - values.get(idle, 0))
            break
    return Usage(at=time.monotonic(), cpu=_node_cpu(), memory=used, working_set=working_set, rss=rss, limit=total)


def _node_cpu() -> int:
    if usage := _pairs(_V2 / "cpu.stat").get("usage_usec"):
        return usage * 1000
    for path in _CPU_V1:
        if text := _text(path):
            return int(text)
    ticks = [int(word) for word in _text(Path("/proc/stat")).partition("\n")[0].split()[1:]]
    idle = sum(ticks[3:5])
    return (sum(ticks[:8]) - idle) * _SECOND // os.sysconf("SC_CLK_TCK")


def _meminfo(name: str) -> int:
    for line in _text(Path("/proc/meminfo")).splitlines():
        key, _, rest = line.partition(":")
        if key == name:
            return int(rest.split()[0]) * 1024
    return 0


def _boot_time() -> str:
    return clock.rfc3339(clock.from_epoch(float(_pairs(Path("/proc/stat")).get("btime", 0))))


def _pairs(path: Path) -> dict[str, int]:
    lines = (line.split() for line in _text(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) >= 2 and words[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def metrics(summary: Object) -> str:
    """The summary in the text form that metrics collectors read."""
    lines: list[str] = []

    def family(name: str, kind: str, help: str, samples: Iterable[tuple[str, float]]) -> None:
        lines.extend((f"# HELP {name} [STABLE] {help}", f"# TYPE {name} {kind}"))
        lines.extend(f"{name}{labels} {value:.9g}" for labels, value in samples)

    node = summary["node"]
    pods = [(one["podRef"], one) for one in summary["pods"]]
    containers = [(ref, one) for ref, pod in pods for one in pod["containers"]]

    def of_pod(ref: Mapping[str, str]) -> str:
        return f'{{namespace="{ref["namespace"]}",pod="{ref["name"]}"}}'

    def of_container(ref: Mapping[str, str], one: Mapping[str, Any]) -> str:
        return f'{{container="{one["name"]}",namespace="{ref["namespace"]}",pod="{ref["name"]}"}}'

    def seconds(one: Mapping[str, Any]) -> float:
        return float(one["cpu"]["usageCoreNanoSeconds"]) / _SECOND

    def working_set(one: Mapping[str, Any]) -> float:
        return float(one["memory"]["workingSetBytes"])

    cpu, memory = "Cumulative cpu time consumed by the {} in core-seconds", "Current working set of the {} in bytes"
    for what, values in (
        ("container", [(of_container(ref, one), one) for ref, one in containers]),
        ("node", [("", node)]),
        ("pod", [(of_pod(ref), one) for ref, one in pods]),
    ):
        samples = [(labels, seconds(one)) for labels, one in values]
        family(f"{what}_cpu_usage_seconds_total", "counter", cpu.format(what), samples)
        samples = [(labels, working_set(one)) for labels, one in values]
        family(f"{what}_memory_working_set_bytes", "gauge", memory.format(what), samples)
    started = [
        (of_container(ref, one), clock.parse(one["startTime"]).timestamp())
        for ref, one in containers
        if one["startTime"]
    ]
    family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds", started)
    family("resource_scrape_error", "gauge", "1 if there was an error while getting container metrics", [("", 0)])
    return "\n".join([*lines, ""])
