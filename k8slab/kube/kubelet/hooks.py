"""What a container wants done right after its start and right before its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.kubelet.engine import EngineError, EngineUnavailable
from k8slab.kube.kubelet.probes import ProbeError, Target, execute, http_get

AGENT: Final = "kube-lifecycle/1.32"


class HookError(Exception):
    """It was not done; a sentence."""


async def run_hook(target: Target, handler: Mapping[str, Any]) -> None:
    """``handler``: a LifecycleHandler of the API; takes as long as it takes. Raises HookError."""
    name = target.container["name"]
    try:
        if command := (handler.get("exec") or {}).get("command"):
            result = await execute(target, command, None)
            if not result.well:
                raise HookError(f"Exec lifecycle hook ({command}) for Container {name!r} failed: {result.said.strip()}")
        elif http := handler.get("httpGet"):
            result = await http_get(target, http, None, agent=AGENT)
            if not result.answered:
                where = http.get("path") or ""
                raise HookError(f"HTTP lifecycle hook ({where}) for Container {name!r} failed: {result.said}")
        elif sleep := handler.get("sleep"):
            await asyncio.sleep(float(sleep["seconds"]))
        else:
            raise HookError(f"invalid handler for Container {name!r}")
    except (ProbeError, EngineError, EngineUnavailable) as trouble:
        raise HookError(f"lifecycle hook for Container {name!r} failed: {trouble}") from None
