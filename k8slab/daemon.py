"""What every daemon of ours does the same way: flags, log lines, readiness, a clean end on SIGTERM.

Flags take the originals' forms: ``--name=value``, ``--name value``, ``-name=value``, ``--bool`` and ``--no-bool``.
A number that is none ends the daemon with one line.
Readiness is s6's: the supervisor names a file descriptor in ``READY_FD`` and the daemon writes one newline to it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import math
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

READY_FD = "READY_FD"
LAST_PORT: Final = 65535

# What int() would take besides, as "1_000", " 5" and digits of other scripts, nobody means.
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")


class FlagParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line and exits with 2, as the originals do."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def flag(self, name: str, help: str, *, default: str | None = None, required: bool = False) -> None:
        """A string flag, reachable as ``-name`` too, in dashes and in underscores."""
        self.add_argument(*_spellings(name), help=help, default=default, required=required, metavar="VALUE")

    def switch(self, name: str, help: str, *, default: bool = False) -> None:
        """A boolean flag: ``--name``, ``--no-name``, ``--name=true|false``."""
        self.add_argument(
            *_spellings(name), help=help, default=default, nargs="?", const=True, type=_boolean, metavar="BOOL"
        )
        dest = name.replace("-", "_")
        self.add_argument(f"--no-{name}", dest=dest, action="store_false", help=argparse.SUPPRESS)


def _spellings(name: str) -> list[str]:
    names = dict.fromkeys([name, name.replace("-", "_"), name.replace("_", "-")])
    return [dash + spelling for spelling in names for dash in ("--", "-")]


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "t":
            return True
        case "false" | "0" | "f":
            return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def whole(flag: str, text: str, least: int = 0, most: float = math.inf) -> int:
    """The number that a flag gives. Raises ValueError with one line."""
    found = int(text) if _WHOLE.fullmatch(text) else None
    if found is None or not least <= found <= most:
        raise ValueError(f"{flag}: {text!r} is not a whole number from {least} {_up_to(most)}")
    return found


def number(flag: str, text: str, most: float = math.inf) -> float:
    """As ``whole``, with a fraction; none is negative."""
    found = float(text) if _NUMBER.fullmatch(text) else math.inf
    if found > most or found == math.inf:
        raise ValueError(f"{flag}: {text!r} is not a number from 0 {_up_to(most)}")
    return found


def _up_to(most: float) -> str:
    return "upwards" if most == math.inf else f"to {most}"


def notify_ready() -> None:
    """Tell the supervisor, once, that this daemon serves; does nothing when nobody asked to be told."""
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        # A supervisor that has gone away meanwhile is no reason to stop serving.
        with contextlib.suppress(BrokenPipeError):
            os.write(int(descriptor), b"\n")
        os.close(int(descriptor))


def configure_logging(verbosity: int = 0) -> None:
    """Log lines to stderr in one form for all daemons: time, level, module, message."""
    logging.basicConfig(
        level=logging.DEBUG if verbosity > 0 else logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname).1s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )


# A daemon keeps much for long, and each message makes hundreds of objects that die at once. At Python's own thresholds
# it would search all that it keeps for cycles, every few hundred objects: up to half of the time of what takes longest.
_GARBAGE_THRESHOLDS: Final = (10_000, 50, 100)


def run(serve: Callable[[asyncio.Event], Awaitable[int | None]]) -> int:
    """Run ``serve(stop)`` until it returns; SIGTERM and SIGINT set ``stop``. Returns the exit code."""
    import uvloop

    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)

    async def supervise() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await serve(stop) or 0

    return uvloop.run(supervise())


async def work_until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` until it ends or ``stop`` is set. Raises what it raises."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopped):
        task.cancel()
    await asyncio.wait([working, stopped])
    if not working.cancelled():
        working.result()
