"""A remote command's session: its streams and how it ends, whatever wire it comes over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

LARGEST_SIZE: Final = 4096


class Source(Protocol):
    async def read(self) -> bytes:
        """Some bytes; none at the end."""


class Sink(Protocol):
    async def write(self, content: bytes) -> None:
        """Returns when the client keeps up. Raises ConnectionError when it has gone."""


@dataclass(frozen=True)
class Wish:
    """Which streams the client asked for. With a terminal there is one output, so no stderr."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    @property
    def nothing(self) -> bool:
        return not (self.stdin or self.stdout or self.stderr)


@dataclass(frozen=True)
class Outcome:
    """How a command ended: ``exit_code``, or without one ``error``, a sentence; neither: well."""

    exit_code: int = 0
    error: str = ""

    def status(self) -> bytes:
        """As a Status, which clients read since v4."""
        if self.error:
            status: dict[str, Any] = {"status": "Failure", "reason": "InternalError", "message": self.error}
            message = f"Internal error occurred: {self.error}"
            status |= {"message": message, "details": {"causes": [{"message": self.error}]}, "code": 500}
        elif self.exit_code:
            causes = [{"reason": "ExitCode", "message": str(self.exit_code)}]
            status = {"status": "Failure", "reason": "NonZeroExitCode", "message": self.text()}
            status["details"] = {"causes": causes}
        else:
            status = {"status": "Success"}
        return orjson.dumps({"metadata": {}, **status})

    def text(self) -> str:
        """As a sentence, for clients before v4; empty when all is well."""
        if self.error:
            return self.error
        return f"command terminated with non-zero exit code: {self.exit_code}" if self.exit_code else ""


class Session(Protocol):
    """What was not asked for is None. ``gone`` is set when the client is no longer there.

    ``answer``: what the request's handler is to return.
    """

    @property
    def answer(self) -> web.StreamResponse: ...

    @property
    def stdin(self) -> Source | None: ...

    @property
    def stdout(self) -> Sink | None: ...

    @property
    def stderr(self) -> Sink | None: ...

    @property
    def resizes(self) -> Source | None: ...

    @property
    def gone(self) -> asyncio.Event: ...

    async def finish(self, outcome: Outcome) -> None:
        """Tell how it ended, and end the streams."""


async def sizes(source: Source) -> AsyncIterator[tuple[int, int]]:
    """Columns and rows of the client's terminal, each time they change; ends at what is no size."""
    decoder = json.JSONDecoder()
    held = ""
    while piece := await source.read():
        held = (held + piece.decode(errors="replace")).lstrip()
        while held:
            try:
                value, end = decoder.raw_decode(held)
            except json.JSONDecodeError:
                break
            held = held[end:].lstrip()
            if not isinstance(value, dict):
                return
            width, height = value.get("Width"), value.get("Height")
            if not (isinstance(width, int) and isinstance(height, int) and min(width, height) >= 0):
                return
            if max(width, height) > 0xFFFF:
                return
            yield width, height
        if len(held) > LARGEST_SIZE:
            return
