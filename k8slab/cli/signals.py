"""Names of signals as people write them."""

from __future__ import annotations

import signal

from k8slab.errors import UsageError


def checked_signal(text: str) -> str:
    """``SIGKILL``, ``kill`` or ``9`` as ``KILL``; "" stays "". Raises UsageError."""
    if not text:
        return ""
    name = text.upper().removeprefix("SIG")
    if name.isdigit() and int(name) in {one.value for one in signal.Signals}:
        return signal.Signals(int(name)).name.removeprefix("SIG")
    if f"SIG{name}" not in signal.Signals.__members__:
        raise UsageError(f"There is no signal {text!r}.", remedy="For example: --signal KILL, TERM, INT, QUIT or HUP.")
    return name
