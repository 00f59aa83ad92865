"""The sentence that says why a pod waits, in kube-scheduler's form, with the agents and amounts it is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from k8slab.k8sm.resources import PodResources
from k8slab.k8sm.scheduler.places import Misfit, shortage

SILENT: Final = "node(s) offered nothing"
NOBODY: Final = "no nodes available to schedule pods: no Mesos agent has registered"

NAMED: Final = 4


def summary(misfits: Mapping[str, Misfit], wanted: PodResources) -> str:
    """ "0/4 nodes are available: 3 Insufficient cpu (needs 8; minion-0 has 4, …), 1 Too many pods (…)." """
    if not misfits:
        return NOBODY
    hosts: dict[str, list[str]] = defaultdict(list)
    for host, misfit in misfits.items():
        hosts[misfit.reason].append(f"{host} {misfit.detail}" if misfit.detail else host)
    parts = [
        f"{len(found)} {reason} ({_details(shortage(reason, wanted), sorted(found))})"
        for reason, found in sorted(hosts.items())
    ]
    return f"0/{len(misfits)} nodes are available: {', '.join(parts)}."


def is_hopeful(reason: str) -> bool:
    """Whether the pod fits an agent that only offers nothing for now."""
    return SILENT in reason


def _details(needs: str, agents: Sequence[str]) -> str:
    named = ", ".join(agents[:NAMED])
    if len(agents) > NAMED:
        named += f" and {len(agents) - NAMED} more"
    return f"{needs}; {named}" if needs else named
