"""This node's packet filter, spoken to by iptables' own programs: whichever backend they have, nft or legacy."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Final

from k8slab.kube.proxy import chains
from k8slab.kube.proxy.chains import Present

# Others change rules too; with the legacy backend one at a time.
LOCK_SECONDS: Final = 5
PATIENCE: Final = 60.0


class FilterFailed(Exception):
    """A program of iptables is missing or refused; the message has its words."""


async def present() -> dict[str, Present]:
    """The tables as they are now."""
    saved = "".join([await _run("iptables-save", "-t", table) for table in chains.FIXED])
    return chains.parse(saved)


async def restore(text: str) -> None:
    """Put it in force, each table as one change or not at all; what it does not name is left as it is."""
    await _run("iptables-restore", "-w", str(LOCK_SECONDS), "--noflush", "--counters", stdin=text)


async def _run(*command: str, stdin: str = "") -> str:
    # In a thread: a process that ends before it has read all is no trouble there.
    return await asyncio.to_thread(_ran, command, stdin)


def _ran(command: tuple[str, ...], stdin: str) -> str:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=PATIENCE, errors="replace")
    except OSError as trouble:
        raise FilterFailed(f"{command[0]}: {trouble.strerror}") from None
    except subprocess.TimeoutExpired:
        raise FilterFailed(f"{command[0]} did not end within {PATIENCE:g} s") from None
    if done.returncode:
        raise FilterFailed(f"{command[0]}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
