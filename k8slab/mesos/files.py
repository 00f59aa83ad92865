"""``/files``: what a daemon lets everybody read, by names that begin with those it has attached."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.helpers import content_disposition_header

from k8slab.mesos.authentication import Realm
from k8slab.mesos.http import Handler, Routes, json_answer, refuse

# Sixteen pages, as the original hands out at a time.
LONGEST_READ = 16 * 4096


class Refused(Exception):
    """``status`` and text of the answer to a request that cannot be served."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Files:
    """Attached directories and files. What is not below one of them is not there, however a path winds or links."""

    def __init__(self) -> None:
        self._attached: dict[str, Path] = {}

    def attach(self, name: str, path: Path) -> None:
        """Serve ``path`` as ``name``, such as ``/master/log``."""
        self._attached[name.rstrip("/")] = path

    def add_to(self, routes: Routes) -> None:
        routes.add("/files/browse", _answered(self._browse), realm=Realm.READONLY)
        routes.add("/files/browse.json", _answered(self._browse), realm=Realm.READONLY)
        routes.add("/files/read", _answered(self._read), realm=Realm.READONLY)
        routes.add("/files/read.json", _answered(self._read), realm=Realm.READONLY)
        routes.add("/files/download", self._download, realm=Realm.READONLY)
        routes.add("/files/download.json", self._download, realm=Realm.READONLY)

    def resolve(self, name: str) -> Path:
        """The file behind a name. Raises Refused: 404 not there, 400 when it leads out of what is attached."""
        name = name.rstrip("/")
        for attached in sorted(self._attached, key=len, reverse=True):
            if name == attached or name.startswith(f"{attached}/"):
                root = self._attached[attached].resolve()
                try:
                    found = (root / name[len(attached) :].lstrip("/")).resolve()
                except (ValueError, RuntimeError) as error:
                    # A name with a zero in it, or links that lead in circles.
                    raise Refused(404) from error
                if not found.is_relative_to(root):
                    raise Refused(400, f"Resolved path '{found}' is inaccessible")
                if not found.exists():
                    raise Refused(404)
                return found
        raise Refused(404)

    def _browse(self, query: Any) -> list[dict[str, Any]]:
        name = _path(query)
        folder = self.resolve(name)
        if not folder.is_dir():
            raise Refused(404)
        return _listed(name, folder, _entry)

    def _read(self, query: Any) -> dict[str, Any]:
        """``offset`` −1 asks for the size alone; no more than ``LONGEST_READ`` bytes come at a time."""
        offset = _number(query, "offset", -1)
        length = _number(query, "length", LONGEST_READ)
        if offset < -1:
            raise Refused(400, f"Negative offset provided: {offset}.\n")
        if length < -1:
            raise Refused(400, f"Negative length provided: {length}.\n")
        path = self.resolve(_path(query))
        if path.is_dir():
            raise Refused(400, "Cannot read a directory.\n")
        size = path.stat().st_size
        if offset == -1 or offset >= size:
            return {"data": "", "offset": size}
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(LONGEST_READ if length == -1 else min(length, LONGEST_READ))
        return {"data": data.decode(errors="replace"), "offset": offset}

    def list_v1(self, name: str) -> list[dict[str, Any]]:
        """FileInfos of the operator API. Raises Refused."""
        folder = self.resolve(name)
        if not folder.is_dir():
            raise Refused(404)
        return _listed(name, folder, _info)

    def read_v1(self, name: str, offset: int, length: int | None) -> dict[str, Any]:
        """``{"size": bytes of the file, "data": base64}``; without ``length`` what fits. Raises Refused."""
        if offset < 0 or (length is not None and length < 0):
            raise Refused(400, "Negative offset or length provided")
        path = self.resolve(name)
        if path.is_dir():
            raise Refused(400, "Cannot read a directory")
        size = path.stat().st_size
        if offset >= size:
            return {"size": size, "data": ""}
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(LONGEST_READ if length is None else min(length, LONGEST_READ))
        return {"size": size, "data": base64.b64encode(data).decode()}

    async def _download(self, request: web.Request) -> web.StreamResponse:
        try:
            path = await asyncio.to_thread(self.resolve, _path(request.query))
            if await asyncio.to_thread(path.is_dir):
                raise Refused(400, "Cannot download a directory.\n")
            if not await asyncio.to_thread(path.is_file):
                # Opening a pipe waits for somebody to write.
                raise Refused(400, "Cannot download what is no file.\n")
        except Refused as refused:
            return refuse(refused.status, refused.text)
        disposition = content_disposition_header("attachment", filename=_shown(path.name))
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": disposition}
        return web.FileResponse(path, headers=headers)


def _answered(view: Any) -> Handler:
    """Files are looked at in a thread: a slow disk must not hold up the daemon."""

    async def handler(request: web.Request) -> web.Response:
        try:
            return json_answer(request, await asyncio.to_thread(view, request.query))
        except Refused as refused:
            return refuse(refused.status, refused.text)
        except PermissionError:
            return refuse(403, "")
        except OSError as error:
            return refuse(500, f"{error.strerror}\n")

    return handler


def _path(query: Any) -> str:
    path = query.get("path", "")
    if not path:
        raise Refused(400, "Expecting 'path=value' in query.\n")
    return str(path)


def _number(query: Any, name: str, default: int) -> int:
    try:
        return int(query.get(name) or default)
    except ValueError as error:
        raise Refused(400, f"Failed to parse {name}: {query[name]}.\n") from error


def _listed(name: str, folder: Path, described: Callable[[str, Path], dict[str, Any]]) -> list[dict[str, Any]]:
    """What is in ``folder``, without links to nowhere or in circles, and what goes away while we look."""
    listed = []
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(OSError):
            listed.append(described(f"{name.rstrip('/')}/{_shown(path.name)}", path))
    return listed


def _shown(name: str) -> str:
    """A file's name may be any bytes; JSON is text."""
    return os.fsencode(name).decode(errors="replace")


def _entry(name: str, path: Path) -> dict[str, Any]:
    found = path.stat()
    return {
        "path": name,
        "nlink": found.st_nlink,
        "size": found.st_size,
        "mtime": int(found.st_mtime),
        "mode": stat.filemode(found.st_mode),
        "uid": _name(pwd.getpwuid, "pw_name", found.st_uid),
        "gid": _name(grp.getgrgid, "gr_name", found.st_gid),
    }


def _info(name: str, path: Path) -> dict[str, Any]:
    found = path.stat()
    entry = _entry(name, path)
    modified = {"mtime": {"nanoseconds": found.st_mtime_ns}, "mode": found.st_mode}
    return {key: entry[key] for key in ("path", "nlink", "size", "uid", "gid")} | modified


def _name(look_up: Any, field: str, number: int) -> str:
    """The owner's name; their number where nobody has it."""
    try:
        return str(getattr(look_up(number), field))
    except KeyError:
        return str(number)
