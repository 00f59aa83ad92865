"""What a command needs in its sandbox before it starts: ``CommandInfo.uris``, copied or downloaded, unpacked."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
DOWNLOAD_SECONDS = 600.0


async def fetch(uris: Iterable[Mapping[str, Any]], sandbox: Path, *, user: str | None) -> None:
    """Raises OSError saying which URI failed and why."""
    for uri in uris:
        try:
            target = await _fetch_one(uri, sandbox)
        except (OSError, ValueError, shutil.ReadError) as error:
            raise OSError(f"Failed to fetch '{uri['value']}': {error}") from error
        if user and os.geteuid() == 0 and target.exists():
            shutil.chown(target, user)


async def _fetch_one(uri: Mapping[str, Any], sandbox: Path) -> Path:
    address = urlsplit(uri["value"])
    target = _place(uri.get("output_file") or Path(unquote(address.path)).name, sandbox)
    match address.scheme:
        case "http" | "https":
            await _download(uri["value"], target)
        case "file" | "":
            await asyncio.to_thread(shutil.copyfile, unquote(address.path), target)
        case other:
            raise ValueError(f"this agent cannot fetch {other}://")
    if uri.get("executable"):
        target.chmod(target.stat().st_mode | 0o111)
    elif uri.get("extract", True) and target.name.endswith(ARCHIVES):
        await asyncio.to_thread(shutil.unpack_archive, target, sandbox)
    return target


def _place(name: str, sandbox: Path) -> Path:
    """Where in the sandbox ``name`` goes. Raises ValueError when that is not in it."""
    target = (sandbox / name).resolve()
    if not name or not target.is_relative_to(sandbox.resolve()):
        raise ValueError(f"{name!r} is not a place in the sandbox")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


async def _download(url: str, target: Path) -> None:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=DOWNLOAD_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            if response.status != 200:
                raise OSError(f"HTTP status {response.status}")
            with target.open("wb") as file:
                async for chunk in response.content.iter_chunked(1 << 16):
                    file.write(chunk)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise OSError(f"{type(error).__name__} {error}") from error
