"""A node's own end of its wire, seen and set from inside its namespace. Everything here runs in the hopping thread."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass

from k8slab.lab.switch import echo, messages, resolver
from k8slab.lab.switch.netlink import Netlink, read_address, read_link, read_route
from k8slab.lab.switch.wire import Plug, WireError

log = logging.getLogger("k8slab.switch")

DEVICE = "eth0"
_LOOPBACK = 1
_DEFAULT = "0.0.0.0/0"


@dataclass(frozen=True)
class Inside:
    """``index`` is 0 when the node has no eth0; ``peer`` is the index that eth0 says its other end has."""

    index: int
    peer: int
    kind: str
    mac: str
    mtu: int
    up: bool
    loopback: bool
    addresses: frozenset[tuple[str, int]]
    routes: frozenset[tuple[str, str]]

    def lacks(self, plug: Plug) -> list[str]:
        """What of the plug is not so; what the node has beyond it is its own affair."""
        lacking = []
        if not self.loopback:
            lacking.append("loopback")
        if not self.up:
            lacking.append("link")
        if self.mac != plug.mac:
            lacking.append("mac")
        if self.mtu != plug.mtu:
            lacking.append("mtu")
        if (plug.address, plug.prefix) not in self.addresses:
            lacking.append("address")
        return lacking + [f"route {to}" for to, via in wanted_routes(plug) if (to, via) not in self.routes]


def wanted_routes(plug: Plug) -> list[tuple[str, str]]:
    default = [(_DEFAULT, plug.gateway)] if plug.gateway else []
    return default + [(route.to, route.via) for route in plug.routes if route.via != plug.address]


def look() -> Inside:
    with Netlink() as inside:
        links = {link.name: link for link in map(read_link, inside.dump(messages.dump_links()))}
        device, loopback = links.get(DEVICE), links.get("lo")
        found = [read_address(each) for each in inside.dump(messages.dump_addresses())]
        routes = [read_route(each) for each in inside.dump(messages.dump_routes())]
    if device is None:
        return Inside(0, 0, "", "", 0, False, bool(loopback and loopback.up), frozenset(), frozenset())
    return Inside(
        index=device.index,
        peer=device.peer,
        kind=device.kind,
        mac=device.mac,
        mtu=device.mtu,
        up=device.up,
        loopback=bool(loopback and loopback.up),
        addresses=frozenset((address, prefix) for index, address, prefix in found if index == device.index),
        routes=frozenset((to, via) for to, via, out in routes if out == device.index),
    )


def configure(plug: Plug) -> Callable[[], None]:
    """Set everything that the plug says, in one send, and announce the address. Returns what closes the announcement's
    socket. Raises WireError."""
    if plug.gateway:
        # Before the link is up: the node waits for that alone.
        _give_name_servers(plug)
    device = socket.if_nametoindex(DEVICE)
    requests = [
        messages.set_link(_LOOPBACK),
        messages.put_address(device, plug.address, plug.prefix),
        messages.set_link(device, mac=plug.mac, mtu=plug.mtu),
    ]
    requests += [messages.put_route(to, via, device) for to, via in wanted_routes(plug)]
    with Netlink() as inside:
        answers = inside.transact(requests)
    steps = ["its loopback", "its address", "its link", *(f"its route to {to}" for to, _ in wanted_routes(plug))]
    problems = [f"{step}: {answer}" for step, answer in zip(steps, answers, strict=True) if answer.code]
    if problems:
        raise WireError(f"The kernel refused {'; '.join(problems)}.")
    return echo.announce(DEVICE, plug.mac, plug.address)


def _give_name_servers(plug: Plug) -> None:
    text = resolver.of_host()
    if not text:
        log.warning("%s: the host has no name server that nodes can reach (only some on its own loopback)", plug.node)
        return
    try:
        resolver.place(plug.namespace.root, text)
    except OSError as error:
        log.warning("%s: its name servers cannot be set: %s", plug.node, error)
