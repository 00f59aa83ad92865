"""Variables as a shell reads them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

SHELLS = ("bash", "zsh", "fish", "sh", "dash", "ash", "ksh", "mksh")


def exports(variables: Mapping[str, str], shell: str) -> str:
    """One line for each variable, in the syntax of ``shell``; all of SHELLS but fish understand the same."""
    if shell == "fish":
        return "\n".join(f"set -gx {name} {_fish(value)};" for name, value in variables.items())
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _fish(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
