"""What the host's own network looks like before a lab is made, read without any privilege."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from threading import Event
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from k8slab.topology.mac import mac_of

# The neighbour states in which somebody has answered.
ANSWERED = 0x02 | 0x04 | 0x08 | 0x10  # reachable, stale, delay, probe
ARP_PATIENCE = 0.25
LOOK_EVERY = 0.02
DISCARD_PORT = 9


@dataclass(frozen=True)
class HostRoute:
    to: IPv4Network
    device: str
    is_bridge: bool
    connected: bool


def routes() -> list[HostRoute]:
    """Every IPv4 unicast route of the host but defaults and loopback, of all routing tables."""
    with IPRoute() as ipr:
        links = {link["index"]: link for link in ipr.get_links()}
        found = []
        for route in ipr.get_routes(family=socket.AF_INET):
            destination, index = route.get_attr("RTA_DST"), route.get_attr("RTA_OIF")
            if destination is None or index is None or route["type"] != 1:
                continue
            link = links.get(index)
            name = link.get_attr("IFLA_IFNAME") if link else f"interface {index}"
            if name == "lo":
                continue
            network = IPv4Network((destination, route["dst_len"]), strict=False)
            found.append(HostRoute(network, name, link is not None and _kind(link) == "bridge", route["proto"] == 2))
        return found


def overlapping(subnet: IPv4Network, found: Iterable[HostRoute]) -> HostRoute | None:
    """The route that stands in the way of ``subnet``; a bridge that owns exactly the subnet does not."""
    for route in found:
        if route.to.overlaps(subnet) and not (route.is_bridge and route.connected and route.to == subnet):
            return route
    return None


def bridge_of(subnet: IPv4Network, found: Iterable[HostRoute]) -> str:
    """The name of the bridge that owns exactly ``subnet``; "" when none does."""
    return next((one.device for one in found if one.is_bridge and one.connected and one.to == subnet), "")


def answering(bridge: str, lab: str, addresses: Collection[IPv4Address]) -> dict[IPv4Address, str]:
    """Those of ``addresses`` that a stranger on ``bridge`` answers for by ARP, with the MAC that answered.

    The kernel asks: a datagram to the discard port makes it resolve the address, and its neighbour table has the
    outcome. No privilege is needed, and silence costs a quarter of a second for all addresses together. A MAC that is
    the lab's own for that address is what the kernel remembers of a node that was there before.
    """
    with IPRoute() as ipr, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        index = next(iter(ipr.link_lookup(ifname=bridge)), None)
        if index is None:
            return {}
        before = _neighbours(ipr, index)
        for address in addresses:
            # Refused, unreachable: the answer we look for is in the neighbour table.
            with contextlib.suppress(OSError):
                probe.sendto(b"", (str(address), DISCARD_PORT))
        deadline = time.monotonic() + ARP_PATIENCE
        while time.monotonic() < deadline:
            Event().wait(LOOK_EVERY)
        wanted = set(addresses)
        after = _neighbours(ipr, index)
        return {
            address: mac
            for address, (mac, state) in after.items()
            if address in wanted
            and state & ANSWERED
            and mac != mac_of(lab, address)
            and _is_fresh(before.get(address), state)
        }


def forget_neighbours(lab: str) -> None:
    """Take the lab's nodes out of the host's neighbour table, so that whoever has their addresses next is found."""
    with IPRoute() as ipr:
        for entry in ipr.get_neighbours(family=socket.AF_INET):
            address, mac = entry.get_attr("NDA_DST"), entry.get_attr("NDA_LLADDR")
            if mac == mac_of(lab, IPv4Address(address)):
                # The kernel may have dropped it meanwhile.
                with contextlib.suppress(NetlinkError):
                    ipr.neigh("del", dst=address, ifindex=entry["ifindex"])


def lab_of_bridge(bridge: str) -> str:
    """The lab that made ``bridge`` for itself; "" for anybody else's."""
    with IPRoute() as ipr:
        for link in ipr.get_links(ifname=bridge):
            for name in _alternatives(link, "k8slab."):
                return name.removeprefix("k8slab.").removesuffix(".bridge")
    return ""


def marked_links(lab: str) -> list[str]:
    """The names of the host's links that carry the lab's mark."""
    prefix = f"k8slab.{lab}."
    with IPRoute() as ipr:
        return [link.get_attr("IFLA_IFNAME") for link in ipr.get_links() if _alternatives(link, prefix)]


def _is_fresh(before: tuple[str, int] | None, state: int) -> bool:
    """A remembered neighbour may be long gone: it counts only once it was confirmed anew."""
    return before is None or state & 0x02 != 0


def _neighbours(ipr: IPRoute, index: int) -> dict[IPv4Address, tuple[str, int]]:
    return {
        IPv4Address(entry.get_attr("NDA_DST")): (entry.get_attr("NDA_LLADDR") or "", entry["state"])
        for entry in ipr.get_neighbours(family=socket.AF_INET, ifindex=index)
    }


def _kind(link: Any) -> str:
    information = link.get_attr("IFLA_LINKINFO")
    return information.get_attr("IFLA_INFO_KIND") or "" if information else ""


def _alternatives(link: Any, prefix: str) -> list[str]:
    listed = link.get_attr("IFLA_PROP_LIST")
    names = listed.get_attrs("IFLA_ALT_IFNAME") if listed else []
    return [name for name in names if name.startswith(prefix)]
