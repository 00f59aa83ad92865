from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from k8slab.mesos.files import LONGEST_READ, Files
from k8slab.mesos.http import Routes


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    folder = tmp_path / "slaves" / "run"
    folder.mkdir(parents=True)
    (folder / "stdout").write_bytes(b"0123456789\xff")
    (folder / "nested").mkdir()
    (folder.parent / "latest").symlink_to(folder)
    (tmp_path / "secret").write_text("meta")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    (folder / "circle").symlink_to(folder / "circle")
    return folder


@pytest.fixture
async def client(sandbox: Path) -> AsyncIterator[TestClient[Any, Any]]:
    files, routes = Files(), Routes("slave(1)")
    files.attach("/sandboxes", sandbox.parent)
    files.add_to(routes)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", routes.dispatch)
    async with TestClient(TestServer(app)) as client:
        yield client


async def answer(client: TestClient[Any, Any], route: str, **query: str) -> tuple[int, Any]:
    async with client.get(route, params=query) as response:
        if response.content_type == "application/json":
            return response.status, await response.json()
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ({"offset": "0", "length": "4"}, {"data": "0123", "offset": 0}),
        ({"offset": "8"}, {"data": "89\ufffd", "offset": 8}),
        ({"offset": "8", "length": "-1"}, {"data": "89\ufffd", "offset": 8}),
        ({"offset": "-1"}, {"data": "", "offset": 11}),
        ({}, {"data": "", "offset": 11}),
        ({"offset": "400", "length": "4"}, {"data": "", "offset": 11}),
    ],
)
async def test_a_part_of_a_file(client: TestClient[Any, Any], query: dict[str, str], read: Any) -> None:
    assert await answer(client, "/files/read", path="/sandboxes/run/stdout", **query) == (200, read)
    assert await answer(client, "/slave(1)/files/read", path="/sandboxes/latest/stdout", **query) == (200, read)


async def test_no_more_than_sixteen_pages_come_at_a_time(client: TestClient[Any, Any], sandbox: Path) -> None:
    (sandbox / "long").write_bytes(b"x" * (LONGEST_READ + 1))
    for length in ("-1", "99999999"):
        _, read = await answer(client, "/files/read", path="/sandboxes/run/long", offset="0", length=length)
        assert len(read["data"]) == LONGEST_READ


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 400),
        ({"path": "/sandboxes/run/none"}, 404),
        ({"path": "/sandboxes/run/dangling"}, 400),
        ({"path": "/elsewhere"}, 404),
        ({"path": "/sandboxesrun/stdout"}, 404),
        ({"path": "/sandboxes/run/out"}, 400),
        ({"path": "/sandboxes/../secret"}, 400),
        ({"path": "/sandboxes/run"}, 400),
        ({"path": "/sandboxes/run/circle"}, 404),
        ({"path": "/sandboxes/run/zero\0"}, 404),
        ({"path": "/sandboxes/run/stdout", "offset": "x"}, 400),
        ({"path": "/sandboxes/run/stdout", "offset": "-2"}, 400),
        ({"path": "/sandboxes/run/stdout", "offset": "0", "length": "-2"}, 400),
    ],
)
async def test_what_cannot_be_read(client: TestClient[Any, Any], query: dict[str, str], status: int) -> None:
    assert (await answer(client, "/files/read", **query))[0] == status


async def test_a_folder_is_browsed(client: TestClient[Any, Any]) -> None:
    status, entries = await answer(client, "/files/browse", path="/sandboxes/run/")
    assert status == 200
    assert [entry["path"] for entry in entries] == [f"/sandboxes/run/{name}" for name in ("nested", "out", "stdout")]
    assert set(entries[0]) == {"path", "nlink", "size", "mtime", "mode", "uid", "gid"}
    assert (entries[0]["mode"][0], entries[2]["mode"][0], entries[2]["size"]) == ("d", "-", 11)
    for path in ("/sandboxes/run/stdout", "/nowhere"):
        assert (await answer(client, "/files/browse", path=path))[0] == 404


async def test_a_file_is_downloaded_as_it_is(client: TestClient[Any, Any]) -> None:
    async with client.get("/files/download", params={"path": "/sandboxes/run/stdout"}) as response:
        assert await response.read() == b"0123456789\xff"
        assert response.headers["Content-Disposition"] == 'attachment; filename="stdout"'
        assert response.content_type == "application/octet-stream"
    assert (await answer(client, "/files/download", path="/sandboxes/run"))[0] == 400
    assert (await answer(client, "/files/download", path="/sandboxes/run/out"))[0] == 400


async def test_names_are_what_tasks_make_of_them(client: TestClient[Any, Any], sandbox: Path) -> None:
    odd = 'two\nlines "quoted"'
    (sandbox / odd).write_text("odd")
    (sandbox / os.fsdecode(b"latin-\xe9")).write_text("old")
    status, entries = await answer(client, "/files/browse", path="/sandboxes/run")
    assert status == 200
    names = {entry["path"].removeprefix("/sandboxes/run/") for entry in entries}
    assert names == {"latin-\ufffd", "nested", "out", "stdout", odd}
    async with client.get("/files/download", params={"path": f"/sandboxes/run/{odd}"}) as response:
        assert (response.status, await response.read()) == (200, b"odd")


async def test_a_pipe_is_not_waited_for(client: TestClient[Any, Any], sandbox: Path) -> None:
    os.mkfifo(sandbox / "pipe")
    async with asyncio.timeout(5):
        assert (await answer(client, "/files/download", path="/sandboxes/run/pipe"))[0] == 400
        assert await answer(client, "/files/read", path="/sandboxes/run/pipe", offset="0") == (
            200,
            {"data": "", "offset": 0},
        )


async def test_what_goes_away_while_a_folder_is_browsed_is_not_there(
    client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_seen(folder: Path) -> Iterator[Path]:
        return iter([folder / "stdout", folder / "just-gone"])

    monkeypatch.setattr(Path, "exists", lambda _path: True)
    monkeypatch.setattr(Path, "iterdir", last_seen)
    status, entries = await answer(client, "/files/browse", path="/sandboxes/run")
    assert (status, [entry["path"] for entry in entries]) == (200, ["/sandboxes/run/stdout"])
