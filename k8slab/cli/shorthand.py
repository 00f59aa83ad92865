"""The single letters by which the scripts this lab grew from knew their daemons."""

from __future__ import annotations

from collections.abc import Sequence

from k8slab.topology import targets
from k8slab.topology.resolved import Topology

LETTERS = {"e": "etcd", "a": "api", "s": "sd", "c": "cm"}


def spelled_out(topology: Topology, words: Sequence[str]) -> list[str]:
    """``words`` with each letter replaced, unless the topology itself has something of that name."""
    known = targets.names(topology)
    return [word if word in known else LETTERS.get(word, word) for word in words]
