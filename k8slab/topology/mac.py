"""Fixed hardware addresses: a node that comes back under another one would be unreachable until caches expire."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address

# Locally administered, unicast.
FIRST_BYTE = bytes([0x02])


def mac_of(lab: str, address: IPv4Address) -> str:
    """The MAC of a node, from its address; told apart between labs by the lab's name."""
    lab_byte = hashlib.sha256(lab.encode()).digest()[:1]
    return ":".join(f"{byte:02x}" for byte in FIRST_BYTE + lab_byte + address.packed)
