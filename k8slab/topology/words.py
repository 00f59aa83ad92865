"""Single words a topology may write, each with the rule that the engine or the kernel would apply far too late."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE = (
    rf"^(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$"
)
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
SYSCTL = r"^[a-z0-9_-]+(?:[./][A-Za-z0-9_-]+)+$"
VOLUME_END = r"[A-Za-z0-9_.-]+"
# See capabilities(7).
CAPABILITIES = (
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
)


def _rule(obeys: Callable[[str], object], saying: str) -> AfterValidator:
    def check(word: str) -> str:
        if not obeys(word):
            raise ValueError(f"{word!r} {saying}")
        return word

    return AfterValidator(check)


def _pattern(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


def _is_path(path: str) -> bool:
    # Two slashes at the start survive normalization.
    normal = path.startswith("/") and not path.startswith("//") and posixpath.normpath(path) == path != "/"
    return normal and path.isprintable()


def _is_volume_path(path: str) -> bool:
    # The last part becomes part of the volume's name, and a colon ends the path on the engine's command line.
    return _is_path(path) and ":" not in path and bool(re.fullmatch(VOLUME_END, posixpath.basename(path)))


Image = Annotated[
    str,
    _rule(re.compile(IMAGE).fullmatch, "is no image's name, such as base or registry.example:5000/team/web:1.2"),
    WithJsonSchema(_pattern(IMAGE)),
]
Variable = Annotated[
    str,
    _rule(re.compile(VARIABLE).fullmatch, "cannot name a variable: letters, digits and _, no digit first"),
    WithJsonSchema(_pattern(VARIABLE)),
]
Sysctl = Annotated[
    str,
    _rule(re.compile(SYSCTL).fullmatch, "is no kernel setting's name, such as net.ipv4.ip_forward"),
    WithJsonSchema(_pattern(SYSCTL)),
]
Capability = Annotated[
    str,
    _rule(CAPABILITIES.__contains__, "is no Linux capability; they are written without CAP_, such as NET_ADMIN"),
    WithJsonSchema({"type": "string", "enum": list(CAPABILITIES)}),
]
FilePath = Annotated[
    str,
    _rule(_is_path, "is no absolute path in its shortest form (no .., no double or last slash)"),
    WithJsonSchema(_pattern("^/.")),
]
VolumePath = Annotated[
    str,
    _rule(_is_volume_path, "is no absolute path in its shortest form that ends in letters, digits, _, . or -"),
    WithJsonSchema(_pattern(rf"^/(?:.*/)?{VOLUME_END}$")),
]
