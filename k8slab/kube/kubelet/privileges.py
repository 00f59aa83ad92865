"""What the machine lets this process do, and with it the engine beside it."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# In the kernel's order: the bit of each is its place here.
CAPABILITIES: Final = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)


@dataclass(frozen=True)
class Machine:
    """``missing``: capabilities that it gives to nobody, without CAP_; ``memory``: bytes; ``oom_score``: the lowest
    oom_score_adj that a process may be given."""

    missing: frozenset[str] = frozenset()
    memory: int = 0
    oom_score: int = -1000


@functools.cache
def this_machine() -> Machine:
    able = _bits("/proc/self/status", "CapBnd:")
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    missing = frozenset(name for bit, name in enumerate(CAPABILITIES[: last + 1]) if not able >> bit & 1)
    own_score = int(Path("/proc/self/oom_score_adj").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(missing, memory, own_score if "SYS_RESOURCE" in missing else -1000)


def _bits(path: str, key: str) -> int:
    lines = Path(path).read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(key))
