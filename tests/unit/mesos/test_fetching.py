"""The cache of fetched files, and what is said of what cannot be fetched."""

from __future__ import annotations

import asyncio
import lzma
import os
import socket
import zipfile
from pathlib import Path

import pytest

from k8slab.mesos.agent.fetching import FetcherCache, fetch

USER = "root" if os.geteuid() == 0 else None


async def nonsense_server() -> tuple[asyncio.Server, str]:
    """Answers what is not HTTP."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/file"


def broken_archives(folder: Path) -> list[Path]:
    whole = lzma.compress(os.urandom(4096))
    (folder / "broken.tar.xz").write_bytes(whole[:2000] + bytes(500) + whole[2500:])
    with zipfile.ZipFile(folder / "strange.zip", "w") as packed:
        packed.writestr("inside", "text")
    content = bytearray((folder / "strange.zip").read_bytes())
    for header, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        # A method of compression that nobody knows.
        content[content.index(header) + offset] = 77
    (folder / "strange.zip").write_bytes(content)
    return [folder / "broken.tar.xz", folder / "strange.zip"]


async def test_what_cannot_be_fetched_is_named_with_the_reason(tmp_path: Path) -> None:
    sandbox = tmp_path / "sandbox"
    sandbox.mkdir()
    server, url = await nonsense_server()
    async with server:
        for uri in [url, *map(str, broken_archives(tmp_path))]:
            with pytest.raises(OSError, match="Failed to fetch") as failed:
                await fetch([{"value": uri}], sandbox, user=None)
            text = str(failed.value)
            assert text.startswith(f"Failed to fetch '{uri}': "), text
            assert len(text) > len(f"Failed to fetch '{uri}': ") + 5, text


async def test_a_cache_forgets_what_it_could_not_get(tmp_path: Path) -> None:
    cache = FetcherCache(tmp_path / "fetch", size=1 << 20)
    wanted = tmp_path / "wanted"
    for _ in range(2):
        with pytest.raises(OSError, match=str(wanted)):
            async with cache.holding(str(wanted), user=USER):
                pass
        assert cache.known == 0
    wanted.write_text("at last")
    async with cache.holding(str(wanted), user=USER) as path:
        assert path.read_text() == "at last"
    assert cache.known == 1


async def test_a_user_is_no_path(tmp_path: Path) -> None:
    cache = FetcherCache(tmp_path / "fetch", size=1 << 20)
    (tmp_path / "wanted").write_text("x")
    for user in ("../made", "nobody-of-that-name", str(tmp_path / "made")):
        with pytest.raises(KeyError):
            async with cache.holding(str(tmp_path / "wanted"), user=user):
                pass
    assert not (tmp_path / "made").exists()


async def test_what_the_fetcher_says_goes_through_no_link(tmp_path: Path) -> None:
    precious, sandbox = tmp_path / "precious", tmp_path / "sandbox"
    precious.write_text("precious")
    sandbox.mkdir()
    (sandbox / "stderr").symlink_to(precious)
    (tmp_path / "wanted").write_text("x")
    with pytest.raises(OSError, match="stderr"):
        await fetch([{"value": str(tmp_path / "wanted")}], sandbox, user=None)
    assert precious.read_text() == "precious"


async def test_a_cancelled_fetch_has_ended(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/never"
        fetching = asyncio.create_task(fetch([{"value": url}], tmp_path, user=None))
        connection, _ = await asyncio.to_thread(silent.accept)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        with connection:
            connection.settimeout(1.0)
            while connection.recv(4096):
                pass
