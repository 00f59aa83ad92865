"""What the operator APIs of masters and agents share: taking a call, and those that ask both for the same."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from k8slab.mesos.files import Files, Refused
from k8slab.mesos.http import accepts_json, json_answer, read_call, refuse
from k8slab.mesos.log_level import LogLevel

FILES = frozenset(("LIST_FILES", "READ_FILE"))
NANOSECONDS = 1e9


@dataclass(frozen=True)
class Asked:
    """``arguments``: the message named as the call; empty for one that needs none and has none."""

    kind: str
    arguments: dict[str, Any]


async def read_operator_call(
    request: web.Request, message: str, *, package: str, needs: frozenset[str]
) -> Asked | web.Response:
    """The call in a request, or the answer of the first row of the ladder that it does not pass.

    ``package``: whose Call it is, ``master`` or ``agent``; ``needs``: the calls that mean nothing without arguments.
    """
    call = await read_call(request, message, name="Call")
    if isinstance(call, web.Response):
        return call
    kind = call.get("type")
    if kind is None:
        return refuse(400, f"Failed to validate {package}::Call: Expecting 'type' to be present")
    if kind in needs and kind.lower() not in call:
        return refuse(400, f"Failed to validate {package}::Call: Expecting '{kind.lower()}' to be present")
    if not accepts_json(request):
        return refuse(406, "Expecting 'Accept' to allow application/json")
    return Asked(kind, call.get(kind.lower(), {}))


def answer(request: web.Request, kind: str, body: Mapping[str, Any]) -> web.Response:
    """``body`` is there even when there is nothing in it: clients look into it without asking."""
    return json_answer(request, {"type": kind, kind.lower(): body})


async def look_into_files(request: web.Request, files: Files, asked: Asked) -> web.Response:
    """Answer one of ``FILES``, in a thread: a slow disk must not hold up the daemon."""
    wanted = asked.arguments
    try:
        if asked.kind == "LIST_FILES":
            found = filled(file_infos=await asyncio.to_thread(files.list_v1, wanted["path"]))
        else:
            found = await asyncio.to_thread(files.read_v1, wanted["path"], wanted["offset"], wanted.get("length"))
    except Refused as refused:
        return refuse(refused.status, refused.text)
    except PermissionError:
        return refuse(403, "")
    except OSError as error:
        return refuse(500, str(error.strerror))
    return answer(request, asked.kind, found)


def set_logging_level(log_level: LogLevel, asked: Asked) -> web.Response:
    try:
        log_level.set(asked.arguments["level"], asked.arguments["duration"]["nanoseconds"] / NANOSECONDS)
    except ValueError as error:
        return refuse(400, str(error))
    return web.Response()


def pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Flags and metrics as lists of names and values."""
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def filled(**fields: Any) -> dict[str, Any]:
    """Without the fields that have nothing in them: no empty repeated field is printed."""
    return {name: value for name, value in fields.items() if value}
