"""This node's packet filter, spoken to by iptables' own programs: whichever backend they have, nft or legacy."""

from __future__ import annotations

import asyncio
import shutil
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


async def _run(program: str, *words: str, stdin: str = "") -> str:
    if shutil.which(program) is None:
        raise FilterFailed(f"{program} is not installed")
    process = await asyncio.create_subprocess_exec(
        program, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, error = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise FilterFailed(f"{program} did not end within {PATIENCE:g} s") from None
    if process.returncode:
        raise FilterFailed(f"{program}: {error.decode(errors='replace').strip() or f'exit code {process.returncode}'}")
    return out.decode(errors="replace")
