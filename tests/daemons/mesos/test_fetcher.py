"""What is in a sandbox before its command starts."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.daemons.mesos.cluster import Cluster, Driver, command
from tests.daemons.processes import free_port


class FileServer:
    """Files of a folder over HTTP; how often each was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: Counter[str] = Counter()
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        path = self.folder / request.path.lstrip("/")
        return web.FileResponse(path) if path.exists() else web.Response(status=404)


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[FileServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    server = FileServer(folder)
    app = web.Application()
    app.router.add_get("/{path:.*}", server.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    server.url = f"http://127.0.0.1:{port}"
    yield server
    await runner.cleanup()


def fetched(task_id: str, line: str, *uris: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return command(task_id, "") | {"command": {"value": line, "uris": list(uris), **fields}}


def archive(folder: Path, name: str) -> Path:
    content = folder / "content"
    content.write_text("#!/bin/sh\necho packed\n")
    content.chmod(0o755)
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as packed:
            packed.write(content, "inside/content")
    else:
        kind = {"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz", "tgz": "w:gz"}.get(name.rpartition(".")[2], "w")
        with tarfile.open(path, kind) as tar:
            tar.add(content, "inside/content")
    return path


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.zip"])
async def test_archives_are_unpacked_by_their_suffix(small: Cluster, files: FileServer, name: str) -> None:
    archive(files.folder, name)
    async with Driver(small.master_flag) as driver:
        await driver.launch(
            fetched("unpacked", 'test "$(./inside/content)" = packed', {"value": f"{files.url}/{name}"})
        )
        assert (await driver.status("unpacked", "TASK_FINISHED", "TASK_FAILED"))["state"] == "TASK_FINISHED"


async def test_uris_are_told_what_to_become(small: Cluster, files: FileServer) -> None:
    packed, plain = archive(files.folder, "packed.tar.gz"), files.folder / "plain"
    plain.write_text("#!/bin/sh\nexit 0\n")
    async with Driver(small.master_flag) as driver:
        await driver.launch(
            fetched(
                "told",
                "set -e; test ! -e inside; test -e packed.tar.gz; ./bin/run; test ! -x plain",
                {"value": str(packed), "extract": False},
                {"value": f"file://{plain}", "executable": True, "output_file": "bin/run"},
                {"value": f"{files.url}/plain"},
            )
        )
        status = await driver.status("told", "TASK_FINISHED", "TASK_FAILED")
        assert status["message"] == "Command exited with status 0"


async def test_what_is_cached_is_asked_for_once(small: Cluster, files: FileServer) -> None:
    (files.folder / "once").write_text("same\n")
    (files.folder / "always").write_text("same\n")
    uris = [{"value": f"{files.url}/once", "cache": True}, {"value": f"{files.url}/always"}]
    async with Driver(small.master_flag) as driver:
        for task_id in ("first", "second", "third"):
            await driver.launch(fetched(task_id, "cmp once always", *uris), refuse_seconds=0)
            assert (await driver.status(task_id, "TASK_FINISHED", "TASK_FAILED"))["state"] == "TASK_FINISHED"
    assert files.asked == {"/once": 1, "/always": 3}


async def test_a_full_cache_gives_up_what_was_unused_longest(master: Cluster, files: FileServer) -> None:
    agent = master.agent("--fetcher_cache_size=3KB")
    for name in ("a", "b"):
        (files.folder / name).write_bytes(bytes(2048))
    async with Driver(master.master_flag) as driver:
        for number, name in enumerate("aabba"):
            uri = {"value": f"{files.url}/{name}", "cache": True}
            await driver.launch(fetched(f"t{number}", "true", uri), refuse_seconds=0)
            await driver.status(f"t{number}", "TASK_FINISHED")
    assert files.asked == {"/a": 2, "/b": 1}
    assert len(list((agent.work_dir / "fetch" / "root").iterdir())) == 1


async def test_what_cannot_be_fetched_fails_with_the_reason(small: Cluster, files: FileServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    evil = files.folder / "evil.tar"
    with tarfile.open(evil, "w") as tar:
        tar.add(secret, "../../outside")
    cases = {
        "missing": (f"{files.url}/missing", "HTTP status 404"),
        "refused": (f"http://127.0.0.1:{free_port()}/x", "refused"),
        "absent": ("/nowhere/at/all", "No such file"),
        "strange": ("gopher://x/y", "cannot fetch gopher://"),
        "evil": (f"{files.url}/evil.tar", "does not belong into a sandbox"),
    }
    async with Driver(small.master_flag) as driver:
        await driver.launch(*(fetched(task_id, "true", {"value": uri}) for task_id, (uri, _) in cases.items()))
        for task_id, (uri, words) in cases.items():
            status = await driver.status(task_id, "TASK_FAILED")
            assert (status["source"], status["reason"]) == ("SOURCE_AGENT", "REASON_CONTAINER_LAUNCH_FAILED")
            assert uri in status["message"]
            assert words in status["message"]


async def test_files_are_fetched_with_the_rights_of_the_tasks_user(small: Cluster) -> None:
    secret = small.supervisor.directory / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    os.chown(secret, 0, 0)
    async with Driver(small.master_flag) as driver:
        await driver.launch(fetched("curious", "true", {"value": str(secret)}, user="nobody"))
        status = await driver.status("curious", "TASK_FAILED", "TASK_FINISHED")
        assert status["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
        assert "Permission denied" in status["message"]
        await driver.launch(fetched("entitled", "cat secret", {"value": str(secret)}))
        await driver.status("entitled", "TASK_FINISHED")
