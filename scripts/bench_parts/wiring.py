#!/usr/bin/env python3
"""Wire N fresh namespaces to a bridge and print the median and the worst time a node, as JSON (needs root).

Runs in a network namespace of its own (it starts itself again under unshare), so the host's network is left alone.
Usage: wiring.py [N] [rounds]
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import statistics
import sys
import threading
import time
from ipaddress import IPv4Address, IPv4Network

from k8slab.lab.switch.config import Config
from k8slab.lab.switch.kernel import KernelWire
from k8slab.lab.switch.namespaces import open_namespace
from k8slab.lab.switch.wire import HOST, Namespace, Plug, Probe, Source

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def fresh_namespaces(count: int) -> list[Namespace]:
    """Anonymous namespaces, made in a thread that ends afterwards."""
    made: list[Namespace] = []

    def make() -> None:
        for _ in range(count):
            if _libc.unshare(_CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            made.append(open_namespace("/proc/thread-self/ns/net"))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if len(made) != count:
        raise SystemExit("namespaces cannot be made: this needs root")
    return made


async def measure(count: int) -> tuple[list[float], float, float]:
    """(each node's milliseconds, wall milliseconds a node, seconds until all have answered a neighbour's packet)."""
    subnet = IPv4Network("10.212.0.0/16")
    wire = KernelWire()
    config = Config(lab="bench", subnet=subnet, gateway=IPv4Address("10.212.0.1"), mtu=1500, egress=True)
    bridge = await wire.open(config)
    spaces = fresh_namespaces(count)
    try:
        plugs = [
            Plug(
                node=f"node-{i}",
                namespace=space,
                address=str(subnet[0x100 + i]),
                prefix=16,
                mac=f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}",
                mtu=1500,
                gateway=bridge.address,
            )
            for i, space in enumerate(spaces)
        ]
        began = time.perf_counter()
        plugged = await wire.plug(plugs)
        wall = (time.perf_counter() - began) * 1000 / count
        problems = [each for each in plugged if each.problem]
        if problems:
            raise SystemExit(f"not wired: {problems[0]}")
        began = time.perf_counter()
        probes = [
            Probe(
                plug.node,
                plug.address,
                (Source(plugs[i - 1].node, plugs[i - 1].namespace) if i else Source(HOST, None),),
            )
            for i, plug in enumerate(plugs)
        ]
        reached = await wire.reach(probes, timeout=5)
        proof = time.perf_counter() - began
        if not all(reached.values()):
            raise SystemExit(f"not reached: {[node for node, source in reached.items() if not source]}")
        return [each.milliseconds for each in plugged], wall, proof
    finally:
        await wire.remove("bench")
        for space in spaces:
            space.close()
        wire.close()


def main(argv: list[str]) -> int:
    if os.environ.setdefault("K8SLAB_BENCH_NAMESPACE", "host") == "host":
        os.environ["K8SLAB_BENCH_NAMESPACE"] = "own"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    count = int(argv[0]) if argv else 64
    rounds = int(argv[1]) if len(argv) > 1 else 5
    nodes: list[float] = []
    walls, proofs = [], []
    for _ in range(rounds):
        each, wall, proof = asyncio.run(measure(count))
        nodes += each
        walls.append(wall)
        proofs.append(proof)
    print(
        json.dumps(
            {
                "nodes": count,
                "rounds": rounds,
                "milliseconds_a_node": round(statistics.median(nodes), 3),
                "worst_milliseconds": round(max(nodes), 3),
                "wall_milliseconds_a_node": round(statistics.median(walls), 3),
                "all_reached_seconds": round(statistics.median(proofs), 3),
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
