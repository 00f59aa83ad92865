"""Names, marks and numbers of what a lab owns in the host's network, all derived from the lab's name.

Interface names hold 15 bytes, so they are hashes; the altname carries the long name and is the mark of ownership:
``k8slab.<lab>.<node>`` on a node's host end, ``k8slab.<lab>.bridge`` on the bridge of the lab's own.
"""

from __future__ import annotations

import hashlib

PREFIX = "k8slab."
_BRIDGE = "bridge"
_COMMENT = "k8slab:"
# Group 0 is everybody's; this range leaves the small numbers, which people and tools pick by hand, alone.
_GROUP_BASE = 0x6B000000
_GROUP_SPAN = 0x00FFFFFF


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def short(lab: str) -> str:
    return _digest("lab", lab)[:10]


def link_name(lab: str, node: str) -> str:
    """The host end of a node's wire: 15 characters; the leading ``veth`` keeps network managers from taking it over."""
    return f"vethk{_digest('wire', lab, node)[:10]}"


def bridge_name(lab: str) -> str:
    return f"brk{_digest('bridge', lab)[:10]}"


def bridge_mac(lab: str) -> str:
    """Fixed, because a bridge without one takes its lowest port's and changes it as nodes come and go."""
    octets = _digest("mac", lab)[:10]
    return "02:" + ":".join(octets[i : i + 2] for i in range(0, 10, 2))


def link_altname(lab: str, node: str) -> str:
    return f"{PREFIX}{lab}.{node}"


def bridge_altname(lab: str) -> str:
    return f"{PREFIX}{lab}.{_BRIDGE}"


def comment(lab: str) -> str:
    """The comment on every firewall rule of the lab."""
    return f"{_COMMENT}{lab}"


def lab_of_comment(text: str) -> str:
    """The lab whose rule carries the comment, or "" when it is a stranger's."""
    return text.removeprefix(_COMMENT) if text.startswith(_COMMENT) else ""


def groups(lab: str, *, attempts: int = 16) -> tuple[int, ...]:
    """The lab's link group, then the ones to take when a stranger already uses it."""
    first = int(_digest("group", lab)[:6], 16)
    return tuple(_GROUP_BASE | ((first + i) & _GROUP_SPAN) for i in range(attempts))


def owner(name: str, altname: str) -> str:
    """The lab that owns an interface, or "" when it is a stranger's.

    Both names must agree: an altname alone would make lab ``a`` the owner of what lab ``a.b`` made.
    """
    if not altname.startswith(PREFIX):
        return ""
    long = altname.removeprefix(PREFIX)
    for at in (i for i, letter in enumerate(long) if letter == "."):
        lab, node = long[:at], long[at + 1 :]
        if name == link_name(lab, node) or (node == _BRIDGE and name == bridge_name(lab)):
            return lab
    return ""
