"""The bridge of a node's pods: a pod that reaches itself by a service has to get its packets back.

A bridge sends nothing out where it came from unless the port is a hairpin. The pods' engine makes none of them.
"""

from __future__ import annotations

import json

from k8slab.kube.proxy.programs import run


async def let_pods_reach_themselves(bridge: str) -> None:
    """Make every port of ``bridge`` a hairpin. Raises ProgramFailed."""
    listed = json.loads(await run("bridge", "-json", "-details", "link", "show") or "[]")
    for port in listed:
        if port.get("master") == bridge and not port.get("hairpin"):
            await run("bridge", "link", "set", "dev", port["ifname"], "hairpin", "on")
