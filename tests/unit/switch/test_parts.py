"""Bytes: what is read from the kernel and from the wire; and the published file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from k8slab.lab.switch import echo, messages, netlink
from k8slab.lab.switch.config import Route
from k8slab.lab.switch.node import Inside, wanted_routes
from k8slab.lab.switch.state import BridgeState, NodeState, State, publish
from k8slab.lab.switch.wire import Namespace, Plug


def test_a_link_reads_back_as_it_was_composed() -> None:
    wire = messages.new_wire(name="vethk1", group=1 << 24, master=5, mtu=1400, mac="02:00:00:00:00:01", namespace_fd=3)
    link = netlink.read_link(wire)
    assert (link.name, link.group, link.master, link.mtu, link.kind) == ("vethk1", 1 << 24, 5, 1400, "veth")
    assert link.up
    assert netlink.read_link(messages.add_altname(name="vethk1", altname="k8slab.a.b")).altnames == ("k8slab.a.b",)


def test_addresses_and_routes_read_back() -> None:
    assert netlink.read_address(messages.put_address(4, "10.9.0.2", 24)) == (4, "10.9.0.2", 24)
    assert netlink.read_route(messages.put_route("10.1.0.0/24", "10.9.0.3", 7))[:2] == ("10.1.0.0/24", "10.9.0.3")
    assert netlink.read_route(messages.put_route("0.0.0.0/0", "10.9.0.1", 7))[:2] == ("0.0.0.0/0", "10.9.0.1")
    assert netlink.read_route(messages.put_route("10.0.0.0/16", "", 7)) == ("10.0.0.0/16", "", 7)


def test_an_echo_request_sums_to_nothing_and_its_answer_is_known() -> None:
    request = echo.echo_request(77, 3, b"k8slab")
    assert echo.checksum(request) == 0
    header = bytes([0x45]) + bytes(11) + bytes([10, 9, 0, 2]) + bytes(4)
    answer = header + struct.pack("!BBHHH", 0, 0, 0, 77, 3) + b"k8slab"
    assert echo.read_reply(answer, 77, b"k8slab") == ("10.9.0.2", 3)
    assert echo.read_reply(answer, 78, b"k8slab") is None
    assert echo.read_reply(answer, 77, b"other!") is None
    assert echo.read_reply(header + request, 77, b"k8slab") is None
    assert echo.read_reply(header, 77, b"k8slab") is None


def test_an_odd_length_has_a_checksum() -> None:
    assert echo.checksum(b"\x01\x02\x03") == 0xFFFF - (0x0102 + 0x0300)


def plug(gateway: str = "10.9.0.1") -> Plug:
    routes = (Route("10.1.0.0/24", "10.9.0.2"), Route("10.1.1.0/24", "10.9.0.3"))
    return Plug("a", Namespace(3, (1, 2)), "10.9.0.2", 24, "02:00:00:00:00:01", 1500, gateway, routes)


def test_a_node_gets_no_route_through_itself_and_a_hermetic_one_no_way_out() -> None:
    assert wanted_routes(plug()) == [("0.0.0.0/0", "10.9.0.1"), ("10.1.1.0/24", "10.9.0.3")]
    assert wanted_routes(plug("")) == [("10.1.1.0/24", "10.9.0.3")]


def test_what_a_node_lacks_is_named_and_what_it_has_besides_is_its_own() -> None:
    right = Inside(
        index=2,
        peer=9,
        kind="veth",
        mac="02:00:00:00:00:01",
        mtu=1500,
        up=True,
        loopback=True,
        addresses=frozenset({("10.9.0.2", 24), ("10.9.0.99", 32)}),
        routes=frozenset({("0.0.0.0/0", "10.9.0.1"), ("10.1.1.0/24", "10.9.0.3"), ("10.7.0.0/16", "10.9.0.9")}),
    )
    assert right.lacks(plug()) == []
    nothing = Inside(2, 9, "veth", "02:00:00:00:00:02", 1400, False, False, frozenset(), frozenset())
    lacking = ["loopback", "link", "mac", "mtu", "address", "route 0.0.0.0/0", "route 10.1.1.0/24"]
    assert nothing.lacks(plug()) == lacking


def test_the_picture_is_published_whole(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "wires.json"
    node = NodeState("abc", 7, "10.9.0.2", "02:00:00:00:00:01", True, "b", "", 1.4)
    publish(State(pid=3, ready=True, bridge=BridgeState("br0", "10.9.0.1", True, 7), nodes={"a": node}), path)
    read = json.loads(path.read_text())
    assert (read["schema"], read["ready"], read["error"]) == (1, True, "")
    assert read["bridge"]["name"] == "br0"
    assert read["nodes"]["a"] == {
        "container": "abc",
        "pid": 7,
        "wired": True,
        "address": "10.9.0.2",
        "mac": "02:00:00:00:00:01",
        "verified_from": "b",
        "problem": "",
        "milliseconds": 1.4,
    }
    assert list(path.parent.iterdir()) == [path]
