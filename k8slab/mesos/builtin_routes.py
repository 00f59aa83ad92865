"""Routes that every daemon of Mesos has, whatever it does: /system/stats.json and /help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aiohttp import web

from k8slab.mesos.authentication import Realm
from k8slab.mesos.http import Routes, json_answer

KIBIBYTE = 1024


def system_metrics() -> dict[str, float]:
    """``system/*`` of /metrics/snapshot: this machine's processors, load averages, and memory in bytes."""
    load = os.getloadavg()
    memory = _memory()
    return {
        "system/cpus_total": float(os.cpu_count() or 0),
        "system/load_1min": load[0],
        "system/load_5min": load[1],
        "system/load_15min": load[2],
        "system/mem_total_bytes": float(memory["MemTotal"]),
        "system/mem_free_bytes": float(memory["MemFree"]),
    }


def add_builtin_routes(table: Routes, process_id: str) -> None:
    async def stats(request: web.Request) -> web.Response:
        shown = {name.removeprefix("system/"): value for name, value in system_metrics().items()}
        for minutes in ("1", "5", "15"):
            shown[f"avg_load_{minutes}min"] = shown.pop(f"load_{minutes}min")
        return json_answer(request, shown)

    async def help(request: web.Request) -> web.Response:
        endpoints: list[dict[str, Any]] = [{"name": path} for path in table.paths]
        return json_answer(request, {"processes": [{"id": process_id, "endpoints": endpoints}]})

    table.add("/system/stats.json", stats, realm=Realm.READONLY)
    table.add("/help", help)


def _memory() -> dict[str, int]:
    lines = (line.partition(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return {name: int(amount.split()[0]) * KIBIBYTE for name, _, amount in lines}
