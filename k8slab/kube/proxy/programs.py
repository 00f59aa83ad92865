"""The node's own programs that the proxy lets speak to the kernel."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Final

PATIENCE: Final = 60.0


class ProgramFailed(Exception):
    """A program is missing or refused; the message has its words."""


async def run(*command: str, stdin: str = "") -> str:
    """What it writes. Raises ProgramFailed."""
    # In a thread: a process that ends before it has read all is no trouble there.
    return await asyncio.to_thread(_ran, command, stdin)


def _ran(command: tuple[str, ...], stdin: str) -> str:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=PATIENCE, errors="replace")
    except OSError as trouble:
        raise ProgramFailed(f"{command[0]}: {trouble.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"{command[0]} did not end within {PATIENCE:g} s") from None
    if done.returncode:
        raise ProgramFailed(f"{command[0]}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
