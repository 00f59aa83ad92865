"""Names of signals as people write them."""

from __future__ import annotations

import signal

from k8slab.errors import UsageError

# Those that end a process which does not care for them. A real-time signal does too, but no daemon is stopped by one.
ENDING = frozenset(
    [
        *("TERM", "KILL", "INT", "QUIT", "HUP", "ABRT", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "PIPE", "IO", "PWR"),
        *("ILL", "TRAP", "BUS", "FPE", "SEGV", "SYS", "STKFLT", "XCPU", "XFSZ"),
    ]
)


def checked_signal(text: str) -> str:
    """``SIGKILL``, ``kill`` or ``9`` as ``KILL``; "" stays "". Raises UsageError for any that ends no process."""
    if not text:
        return ""
    name = text.upper().removeprefix("SIG")
    try:
        found = signal.Signals(int(name)) if name.isdecimal() else signal.Signals[f"SIG{name}"]
    except (KeyError, ValueError) as error:
        known = "For example: --signal KILL, TERM, INT, QUIT or HUP."
        raise UsageError(f"There is no signal {text!r}.", remedy=known) from error
    # By its number: several names are one signal, as IOT and ABRT.
    name = found.name.removeprefix("SIG")
    if name not in ENDING:
        raise UsageError(
            f"{name} ends no process, and `kill` is to end one.",
            remedy="Use --signal KILL, TERM, INT, QUIT or HUP; `k8slab node pause` freezes a machine.",
        )
    return name
