"""This node's packet filter, spoken to by iptables' own programs: whichever backend they have, nft or legacy."""

from __future__ import annotations

from typing import Final

from k8slab.kube.proxy import chains
from k8slab.kube.proxy.chains import Present
from k8slab.kube.proxy.programs import run

# Others change rules too; with the legacy backend one at a time.
LOCK_SECONDS: Final = 5


async def present() -> dict[str, Present]:
    """The tables as they are now. Raises ProgramFailed."""
    saved = "".join([await run("iptables-save", "-t", table) for table in chains.FIXED])
    return chains.parse(saved)


async def restore(text: str) -> None:
    """Put it in force, each table as one change or not at all; what it does not name is left as it is."""
    await run("iptables-restore", "-w", str(LOCK_SECONDS), "--noflush", "--counters", stdin=text)
