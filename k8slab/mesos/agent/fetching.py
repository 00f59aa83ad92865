"""Running the fetcher for a sandbox, and the cache of what was fetched before."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from k8slab.mesos.agent import programs
from k8slab.mesos.agent.paths import make_sandbox
from k8slab.mesos.agent.processes import identity, open_output

log = logging.getLogger(__name__)

Item = dict[str, Any]


@dataclass
class Entry:
    """One cached file. ``users``: how many fetches need it right now."""

    path: Path
    size: int = 0
    used: float = 0.0
    users: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class FetcherCache:
    """What URIs marked ``cache`` named, once for each user; the longest unused go when there is more than ``size``."""

    def __init__(self, directory: Path, *, size: int) -> None:
        """``size`` in bytes. What an agent before left there is removed: nobody knows how old it is."""
        self._directory = directory
        self._size = size
        self._entries: dict[tuple[str, str], Entry] = {}
        self._numbers = itertools.count(1)
        shutil.rmtree(directory, ignore_errors=True)

    @property
    def known(self) -> int:
        """How many files are there or on their way."""
        return len(self._entries)

    @contextlib.asynccontextmanager
    async def holding(self, uri: str, *, user: str | None) -> AsyncIterator[Path]:
        """The file, downloaded when it is not there. Raises OSError, KeyError when there is no such ``user``."""
        # Not any text that came as the name of a user: it becomes a folder, which may be made with root's rights.
        home = self._directory / (pwd.getpwnam(user).pw_name if user else "agent")
        name = Path(unquote(urlsplit(uri).path)).name
        key = (user or "", uri)
        entry = self._entries.setdefault(key, Entry(home / f"c{next(self._numbers)}-{name}"))
        entry.users += 1
        try:
            async with entry.turn:
                if not entry.path.exists():
                    self._directory.mkdir(parents=True, exist_ok=True)
                    make_sandbox(home, user)
                    await run_fetcher([{"value": uri, "into": str(entry.path)}], home, user=user)
                    entry.size = entry.path.stat().st_size
            entry.used = time.monotonic()
            yield entry.path
        finally:
            entry.users -= 1
            if not entry.users and not entry.path.exists():
                del self._entries[key]
            self._make_room()

    def _make_room(self) -> None:
        for key, entry in sorted(self._entries.items(), key=lambda item: item[1].used):
            if sum(other.size for other in self._entries.values()) <= self._size:
                return
            if not entry.users:
                entry.path.unlink(missing_ok=True)
                del self._entries[key]


async def fetch(
    uris: Iterable[Mapping[str, Any]], sandbox: Path, *, user: str | None, cache: FetcherCache | None = None
) -> None:
    """``CommandInfo.uris`` into the sandbox. Raises OSError saying which URI failed and why."""
    items = [dict(uri) for uri in uris]
    if not items:
        return
    async with contextlib.AsyncExitStack() as held:
        for item in items:
            if item.get("cache") and cache is not None:
                item["from"] = str(await held.enter_async_context(cache.holding(item["value"], user=user)))
        await run_fetcher(items, sandbox, user=user, log_to=sandbox / "stderr")


async def run_fetcher(items: list[Item], directory: Path, *, user: str | None, log_to: Path | None = None) -> None:
    """Raises OSError saying which item failed and why."""
    who = identity(user)
    kept = {key: os.environ[key] for key in ("PATH", "http_proxy", "https_proxy", "no_proxy") if key in os.environ}
    info = orjson.dumps({"directory": str(directory), "items": items}).decode()
    with contextlib.ExitStack() as files:
        log_file: Any = asyncio.subprocess.DEVNULL
        if log_to is not None:
            log_file = files.enter_context(open_output(log_to, who))
        try:
            process = await asyncio.create_subprocess_exec(
                *programs.argv("fetcher"),
                env={**kept, "MESOS_FETCHER_INFO": info},
                cwd=directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
                # Not user= and group=, which uvloop does not know.
                preexec_fn=(lambda: _become(*who)) if who else None,
            )
        except subprocess.SubprocessError as error:
            # All that is told of a failure in preexec_fn.
            raise OSError(f"cannot become user '{user}'") from error
    try:
        reason, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        wanted = " or ".join(f"'{item['value']}'" for item in items)
        silent = f"Failed to fetch {wanted}: the fetcher ended with status {process.returncode}"
        raise OSError(reason.decode(errors="replace").strip() or silent)


def _become(user: int, group: int, groups: Sequence[int]) -> None:
    os.setgroups(groups)
    os.setgid(group)
    os.setuid(user)
