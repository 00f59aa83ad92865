"""What a node says about itself in status.nodeInfo: kernel, system, engine."""

from __future__ import annotations

import asyncio
import logging
import platform
from pathlib import Path
from typing import Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.kubelet.engine import Engine, EngineError, EngineUnavailable

log = logging.getLogger(__name__)

_RETRY: Final = 2.0
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


async def describe_node(client: KubeClient, engine: Engine, node: str) -> None:
    """Write nodeInfo into the node's status; waits for the engine, the API and the node to be there."""
    while True:
        try:
            info = await node_info(engine)
            await client.patch("nodes", node, {"status": {"nodeInfo": info}}, subresource="status")
            return
        except (EngineError, EngineUnavailable, ApiUnavailable) as trouble:
            log.info("node %s not described yet: %s", node, trouble)
        except ApiError as error:
            if not (error.is_not_found or error.is_temporary):
                log.warning("node %s not described: %s", node, error)
                return
        await asyncio.sleep(_RETRY)


async def node_info(engine: Engine) -> Object:
    version = await engine.version()
    return {
        "kernelVersion": platform.release(),
        "osImage": _os_release().get("PRETTY_NAME", ""),
        "containerRuntimeVersion": f"docker://{version.get('Version', '')}",
        "operatingSystem": platform.system().lower(),
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "machineID": _text("/etc/machine-id"),
        "bootID": _text("/proc/sys/kernel/random/boot_id"),
    }


def _os_release() -> dict[str, str]:
    lines = (line.partition("=") for line in _text("/etc/os-release").splitlines())
    return {key: value.strip('"') for key, equals, value in lines if equals}


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
