"""`km monitor`: tells a webhook when a package starts, when all its daemons are ready, and when one of them fails.

It watches the supervised services of its own machine, as their supervisors' files and `s6-svstat` show them. A daemon
that was killed on purpose has not failed.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import aiohttp
import orjson

from k8slab import daemon

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 0.25
POST_SECONDS: Final = 5.0
LAST_CALL_SECONDS: Final = 2.0
TRIES: Final = 5
FIRST_PAUSE: Final = 0.5
Fields = dict[str, str]


@dataclass(frozen=True)
class Service:
    """``deaths`` counts those that nobody asked for, since the machine booted; ``cause`` is the last one's."""

    ready: bool
    deaths: int = 0
    cause: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """What the webhook knows: whether the package has started and is ready, and the deaths of each service."""

    started: bool = False
    ready: bool = False
    deaths: Mapping[str, int] = field(default_factory=dict)


def news(told: Told, seen: Mapping[str, Service]) -> tuple[Told, list[Fields]]:
    """What there is to tell of what was ``seen``, in order, and what is known once it is told."""
    events: list[Fields] = []
    if not told.started:
        events.append({"event": "start"})
    # A count that is being written reads as none; it never falls while the machine runs.
    failed = {name: one for name, one in seen.items() if one.deaths > told.deaths.get(name, 0)}
    events += [{"event": "failure", "daemon": name, **one.cause} for name, one in failed.items()]
    was_ready = told.ready and not failed
    now_ready = all(one.ready for one in seen.values())
    if now_ready and not was_ready:
        events.append({"event": "ready"})
    deaths = {**told.deaths, **{name: max(one.deaths, told.deaths.get(name, 0)) for name, one in seen.items()}}
    # Who was killed on purpose and started again is ready again, which is worth no call.
    return Told(True, now_ready or was_ready, deaths), events


class Services:
    """The services below ``folder``; each is asked about only when its supervisor has written something new."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names
        self._known: dict[str, tuple[int, bool]] = {}

    def look(self) -> dict[str, Service]:
        return {name: self._service(self._folder / name, name) for name in self._names}

    def _service(self, folder: Path, name: str) -> Service:
        return Service(self._ready(folder, name), int(_text(folder / "restarts") or 0), _cause(folder))

    def _ready(self, folder: Path, name: str) -> bool:
        try:
            written = (folder / "supervise" / "status").stat().st_mtime_ns
        except OSError:
            return False
        before, ready = self._known.get(name, (0, False))
        if written != before:
            asked = subprocess.run(["s6-svstat", "-o", "ready", str(folder)], capture_output=True, text=True)
            ready = asked.stdout.strip() == "true"
            self._known[name] = (written, ready)
        return ready


@dataclass(frozen=True)
class Webhook:
    """``tell`` is in every call beside its event."""

    url: str
    content_type: str
    tell: Fields

    async def post(self, session: aiohttp.ClientSession, event: Fields) -> None:
        """Try until it was heard, or several times in vain: who listens must not keep the package from working."""
        body = urlencode({**event, **self.tell})
        pause = FIRST_PAUSE
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(pause)
                pause *= 2
            try:
                async with session.post(
                    self.url, data=body, headers={"Content-Type": self.content_type}, allow_redirects=False
                ) as response:
                    log.info("POST %s %s: %s", self.url, body, response.status)
                    if response.status < 500:
                        return
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                # ValueError: of a name that cannot be put into a question for its address.
                log.warning("POST %s %s: %s %s", self.url, body, type(error).__name__, error)
        log.error("nobody at %s was told of %s", self.url, body)


class Memory:
    """What was told, in a file that is gone when the machine boots: a monitor that comes back does not repeat it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def recall(self) -> Told:
        with suppress(OSError, ValueError, TypeError):
            return Told(**orjson.loads(self._file.read_bytes()))
        return Told()

    def keep(self, told: Told) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".draft")
        draft.write_bytes(orjson.dumps(told))
        draft.replace(self._file)


def run(argv: Sequence[str]) -> int:
    parser = daemon.FlagParser(prog="km monitor", allow_abbrev=False, description="Tells a webhook of a package.")
    parser.flag("watch", "the services that make the package, separated by commas", required=True)
    parser.flag("webhook-url", "where to POST", required=True)
    parser.flag("webhook-content-type", "of what", default="application/x-www-form-urlencoded")
    parser.add_argument("--tell", metavar="NAME=VALUE", action="append", default=[], help="told with every event")
    parser.flag("services", "where they are", default="/etc/service")
    parser.flag("state", "what was told since the machine booted", default="/run/k8slab/monitor.json")
    parser.flag("v", "how much to log", default="0")
    flags = parser.parse_args(list(argv))
    try:
        daemon.configure_logging(daemon.whole("--v", flags.v) - 1)
    except ValueError as error:
        parser.error(str(error))
    pairs = [one.partition("=") for one in flags.tell]
    if any(not equals for _, equals, _ in pairs):
        parser.error("--tell takes NAME=VALUE")
    webhook = Webhook(flags.webhook_url, flags.webhook_content_type, {name: value for name, _, value in pairs})
    services = Services(Path(flags.services), [one for one in flags.watch.split(",") if one])
    return daemon.run(lambda stop: serve(services, webhook, Memory(Path(flags.state)), stop))


async def serve(services: Services, webhook: Webhook, memory: Memory, stop: asyncio.Event) -> int:
    """Watch and tell until ``stop``."""
    calls: asyncio.Queue[tuple[Fields, Told]] = asyncio.Queue()
    told = memory.recall()
    timeout = aiohttp.ClientTimeout(total=POST_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
        teller = group.create_task(_tell(calls, webhook, session, memory), name="calls")
        daemon.notify_ready()
        while not stop.is_set():
            before = told
            told, events = news(told, services.look())
            for event in events:
                calls.put_nowait((event, _after(before, told, event)))
                before = _after(before, told, event)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY)
        # A call that was heard and not remembered would be made again.
        with suppress(TimeoutError):
            await asyncio.wait_for(calls.join(), LAST_CALL_SECONDS)
        teller.cancel()
    return 0


def _after(before: Told, told: Told, event: Fields) -> Told:
    """What is known when this event is: a monitor that dies between two calls goes on with the second."""
    match event:
        case {"event": "failure", "daemon": name}:
            return replace(before, ready=False, deaths={**before.deaths, name: told.deaths[name]})
        case {"event": "ready"}:
            return replace(before, ready=True)
    return replace(before, started=True)


async def _tell(
    calls: asyncio.Queue[tuple[Fields, Told]], webhook: Webhook, session: aiohttp.ClientSession, memory: Memory
) -> None:
    while True:
        event, told = await calls.get()
        await webhook.post(session, event)
        memory.keep(told)
        calls.task_done()


def _cause(folder: Path) -> Fields:
    """Of the last death, as the finish script was told: an exit code, or else the signal that ended it."""
    words = _text(folder / "cause").split()
    if len(words) != 2:
        return {}
    code, signal = words
    return {"code": code} if int(code) < 256 else {"signal": signal}


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
