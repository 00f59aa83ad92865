"""Flows of datagrams that go on to where a service leads no more.

Rules decide for the first packet of a flow alone; the kernel keeps the way that it took for as long as the flow is
used. A connection ends with its endpoint. Datagrams would be sent to a pod that is gone, or, begun when the service
had no endpoints, to nobody, until their sender falls silent.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from k8slab.kube.proxy.services import ServicePort

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flow:
    """``to``: where its sender sends; ``answers``: who is to answer, "address:port". ``entry``: what the kernel has."""

    to: tuple[str, int]
    answers: str
    entry: Any = None


def stale(flows: Iterable[Flow], ports: Sequence[ServicePort]) -> list[Flow]:
    """The flows to services of which none of the service's endpoints answers."""
    by_address: dict[tuple[str, int], set[str]] = {}
    by_node_port: dict[int, set[str]] = {}
    for port in ports:
        if port.protocol != "udp":
            continue
        usable = {str(one) for one in (*port.cluster_endpoints, *port.local_endpoints)}
        for address in (port.address, *port.external_addresses, *port.load_balancers):
            by_address[address, port.port] = usable
        if port.node_port:
            by_node_port[port.node_port] = usable
    found = []
    for flow in flows:
        usable = by_address.get(flow.to, by_node_port.get(flow.to[1], {flow.answers}))
        if flow.answers not in usable:
            found.append(flow)
    return found


async def forget_stale(ports: Sequence[ServicePort]) -> None:
    """Make the kernel forget them: the next packet of each meets the rules again."""
    if any(port.protocol == "udp" for port in ports):
        await asyncio.to_thread(_forget, ports)


def _forget(ports: Sequence[ServicePort]) -> None:
    # Slow to import, and most nodes never need it.
    from pyroute2 import Conntrack, NetlinkError

    try:
        with Conntrack() as kernel:
            flows = [
                Flow((entry.tuple_orig.daddr, entry.tuple_orig.dport), f"{reply.saddr}:{reply.sport}", entry)
                for entry in list(kernel.dump_entries())
                if (reply := entry.tuple_reply).proto == socket.IPPROTO_UDP and ":" not in reply.saddr
            ]
            for flow in stale(flows, ports):
                log.info("a flow to %s:%d is led to %s no more", *flow.to, flow.answers)
                kernel.entry("del", tuple_orig=flow.entry.tuple_orig)
    except (NetlinkError, OSError) as trouble:
        # Most likely it has just ended by itself; the next sync looks again.
        log.warning("flows of datagrams that are out of date may have stayed: %s", trouble)
