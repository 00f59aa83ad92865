"""What is said to the kernel, composed by pyroute2: each function returns one netlink request, ready to send."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE, _DUMP = 0x1, 0x4, 0x100, 0x200, 0x400, 0x300
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE = 20, 22, 24, 26
_NEWLINKPROP = 108
_AF_INET = 2
_IFF_UP = 1
_SKIP_STATISTICS = 8
_MAIN_TABLE, _PROTO_STATIC, _SCOPE_UNIVERSE, _SCOPE_LINK, _UNICAST = 254, 4, 0, 253, 1


def _compose(message: Any, kind: int, options: int, attrs: list[tuple[str, Any]], **fields: int) -> bytes:
    message["header"]["type"] = kind
    message["header"]["flags"] = _REQUEST | options
    message["header"]["sequence_number"] = 0
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attrs
    message.encode()
    return bytes(message.data)


def _link(kind: int, options: int, attrs: list[tuple[str, Any]], **fields: int) -> bytes:
    return _compose(ifinfmsg(), kind, options, attrs, **fields)


def new_wire(*, name: str, group: int, master: int, mtu: int, mac: str, namespace_fd: int) -> bytes:
    """The pair, born in place: host end enslaved and up, the peer already in the node under its final name and MAC.

    The peer cannot be born up: a veth refuses to open before its partner exists.
    """
    peer = [
        ("IFLA_IFNAME", "eth0"),
        ("IFLA_MTU", mtu),
        ("IFLA_ADDRESS", mac),
        ("IFLA_NET_NS_FD", namespace_fd),
    ]
    info = [
        ("IFLA_INFO_KIND", "veth"),
        ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]}),
    ]
    attrs = [
        ("IFLA_IFNAME", name),
        ("IFLA_MTU", mtu),
        ("IFLA_GROUP", group),
        ("IFLA_MASTER", master),
        ("IFLA_LINKINFO", {"attrs": info}),
    ]
    return _link(_NEWLINK, _ACK | _CREATE | _EXCL, attrs, flags=_IFF_UP, change=_IFF_UP)


def new_bridge(*, name: str, group: int, mtu: int, mac: str) -> bytes:
    """A bridge without spanning tree (which would hold every new port back for 30 s) and without IGMP snooping."""
    options = [("IFLA_BR_STP_STATE", 0), ("IFLA_BR_FORWARD_DELAY", 0), ("IFLA_BR_MCAST_SNOOPING", 0)]
    info = [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": options})]
    attrs = [
        ("IFLA_IFNAME", name),
        ("IFLA_MTU", mtu),
        ("IFLA_GROUP", group),
        ("IFLA_ADDRESS", mac),
        ("IFLA_LINKINFO", {"attrs": info}),
    ]
    return _link(_NEWLINK, _ACK | _CREATE | _EXCL, attrs, flags=_IFF_UP, change=_IFF_UP)


def add_altname(*, name: str, altname: str) -> bytes:
    attrs = [("IFLA_IFNAME", name), ("IFLA_PROP_LIST", {"attrs": [("IFLA_ALT_IFNAME", altname)]})]
    return _link(_NEWLINKPROP, _ACK | _CREATE | _EXCL, attrs)


def get_link(name: str) -> bytes:
    return _link(_GETLINK, _ACK, [("IFLA_IFNAME", name), ("IFLA_EXT_MASK", _SKIP_STATISTICS)])


def dump_links() -> bytes:
    return _link(_GETLINK, _DUMP, [("IFLA_EXT_MASK", _SKIP_STATISTICS)])


def set_link(
    index: int, *, master: int | None = None, mtu: int | None = None, mac: str = "", group: int | None = None
) -> bytes:
    """Raise an interface, and change what is given."""
    attrs: list[tuple[str, Any]] = []
    if mac:
        attrs.append(("IFLA_ADDRESS", mac))
    for name, value in (("IFLA_MTU", mtu), ("IFLA_MASTER", master), ("IFLA_GROUP", group)):
        if value is not None:
            attrs.append((name, value))
    return _link(_SETLINK, _ACK, attrs, index=index, flags=_IFF_UP, change=_IFF_UP)


def delete_link(index: int) -> bytes:
    return _link(_DELLINK, _ACK, [], index=index)


def delete_group(group: int) -> bytes:
    """Every link of the group in one request."""
    return _link(_DELLINK, _ACK, [("IFLA_GROUP", group)])


def put_address(index: int, address: str, prefix: int) -> bytes:
    attrs = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
    return _compose(
        ifaddrmsg(), _NEWADDR, _ACK | _CREATE | _REPLACE, attrs, family=_AF_INET, prefixlen=prefix, index=index
    )


def dump_addresses() -> bytes:
    return _compose(ifaddrmsg(), _GETADDR, _DUMP, [], family=_AF_INET)


def put_route(to: str, via: str, device: int) -> bytes:
    """``to`` in CIDR form; ``0.0.0.0/0`` is the default route. Without ``via``: on the wire of ``device``."""
    destination, _, length = to.partition("/")
    attrs: list[tuple[str, object]] = [("RTA_GATEWAY", via) if via else ("RTA_OIF", device)]
    if int(length):
        attrs.insert(0, ("RTA_DST", destination))
    return _compose(
        rtmsg(),
        _NEWROUTE,
        _ACK | _CREATE | _REPLACE,
        attrs,
        family=_AF_INET,
        dst_len=int(length),
        table=_MAIN_TABLE,
        proto=_PROTO_STATIC,
        scope=_SCOPE_UNIVERSE if via else _SCOPE_LINK,
        type=_UNICAST,
    )


def dump_routes() -> bytes:
    return _compose(rtmsg(), _GETROUTE, _DUMP, [], family=_AF_INET)
