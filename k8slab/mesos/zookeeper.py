"""Who leads: the masters' election in ZooKeeper, with Mesos' own znodes.

Each candidate makes an ephemeral sequential child ``json.info_<sequence>`` under the group's path, holding its
MasterInfo as JSON; the lowest sequence leads. kazoo works in threads of its own: everything here hops back to the
event loop at once, and no state is touched anywhere else.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

log = logging.getLogger(__name__)

LABEL = "json.info_"
RETRY_SECONDS = 0.2


_HOST = re.compile(r"[^\s:,/]+(:\d{1,5})?")


@dataclass(frozen=True)
class ZooKeeperAddress:
    """``zk://[user:password@]host:port,…/path``. ``hosts`` is ``host:port,…``; ``path`` starts with a slash."""

    hosts: str
    path: str
    credentials: str = ""

    @classmethod
    def parse(cls, url: str) -> ZooKeeperAddress:
        """Raises ValueError when ``url`` is not of that form."""
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        path = parts.path.rstrip("/")
        if parts.scheme != "zk" or not path or not all(map(_HOST.fullmatch, hosts.split(","))):
            raise ValueError(f"expected zk://[user:password@]host:port,…/path, got {url!r}")
        return cls(hosts=hosts, path=path, credentials=credentials)


@dataclass(frozen=True)
class Leadership:
    """The elected master's info, None when nobody is known to lead; ``own`` when it is this process' candidate."""

    info: Mapping[str, Any] | None = None
    own: bool = False


class MasterGroup:
    """Watches the group and, started with a ``candidate``, contends in it.

    ``on_change`` is called in the event loop with every new Leadership. A session not renewed within its timeout counts
    as lost even while ZooKeeper cannot be reached to confirm it: the others may have elected by then.
    """

    def __init__(
        self,
        address: ZooKeeperAddress,
        *,
        session_timeout: float,
        on_change: Callable[[Leadership], None],
    ) -> None:
        self._address = address
        self._timeout = session_timeout
        self._on_change = on_change
        self._candidate: Mapping[str, Any] | None = None
        self._leadership = Leadership()
        self._own: str | None = None
        self._connected = asyncio.Event()
        self._changed = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._client: Any = None

    def start(self, candidate: Mapping[str, Any] | None = None) -> None:
        """Connect in the background; never fails, ZooKeeper may come later."""
        # Imported here: a daemon told `host:port` instead of `zk://` must not pay for it.
        from kazoo.client import KazooClient
        from kazoo.retry import KazooRetry

        self._candidate = candidate
        self._loop = asyncio.get_running_loop()
        retry = KazooRetry(max_tries=-1, delay=0.1, backoff=1.5, max_delay=1.0)
        user_password = self._address.credentials
        self._client = KazooClient(
            hosts=self._address.hosts,
            timeout=self._timeout,
            connection_retry=retry,
            command_retry=KazooRetry(max_tries=0),
            auth_data=[("digest", user_password)] if user_password else None,
        )
        self._client.add_listener(lambda state: self._loop.call_soon_threadsafe(self._session_changed, state))
        self._client.start_async()
        self._task = asyncio.create_task(self._follow(), name="master-group")

    async def close(self) -> None:
        """End the session; an own candidacy ends with it at once, and that is no news to ``on_change``."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._expiry is not None:
            self._expiry.cancel()
        if self._client is not None:
            await asyncio.to_thread(self._client.stop)
            await asyncio.to_thread(self._client.close)

    def _session_changed(self, state: str) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        log.info("ZooKeeper session %s", state.lower())
        if state == "CONNECTED":
            self._connected.set()
            self._changed.set()
            return
        self._connected.clear()
        if state == "LOST":
            self._own = None
            self._announce(Leadership())
        else:
            self._expiry = self._loop.call_later(self._timeout, self._expire)

    def _expire(self) -> None:
        log.warning("no ZooKeeper for %g s: the session counts as lost", self._timeout)
        self._announce(Leadership())

    def _announce(self, leadership: Leadership) -> None:
        if leadership != self._leadership and not self._closing:
            self._leadership = leadership
            self._on_change(leadership)

    async def _follow(self) -> None:
        from kazoo.exceptions import KazooException

        while True:
            await self._connected.wait()
            self._changed.clear()
            try:
                await self.call(self._client.ensure_path_async(self._address.path))
                if self._candidate is not None and self._own is None:
                    self._own = await self._contend(self._candidate)
                leadership = await self._look()
            except KazooException as error:
                log.info("ZooKeeper: %s %s", type(error).__name__, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if leadership is None:
                continue
            if self._connected.is_set():
                self._announce(leadership)
            await self._changed.wait()

    async def _contend(self, candidate: Mapping[str, Any]) -> str:
        """The name of our znode. One made by an attempt whose answer got lost is found again by its content."""
        content = orjson.dumps(candidate)
        for name in _candidates(await self.call(self._client.get_children_async(self._address.path))):
            if await self._read(name) == content:
                return name
        path = await self.call(
            self._client.create_async(
                f"{self._address.path}/{LABEL}", content, acl=self.acl, ephemeral=True, sequence=True
            )
        )
        return str(path).rpartition("/")[2]

    @property
    def client(self) -> Any:
        """The kazoo client of this group's session."""
        return self._client

    @property
    def path(self) -> str:
        return self._address.path

    @property
    def acl(self) -> Any:
        """What the znodes made here allow to whom."""
        from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

        return [*CREATOR_ALL_ACL, *READ_ACL_UNSAFE] if self._address.credentials else OPEN_ACL_UNSAFE

    async def _look(self) -> Leadership | None:
        """Who leads now; None when the leader's znode vanished while it was read, so that one must look again."""
        names = _candidates(await self.call(self._client.get_children_async(self._address.path, watch=self._woken)))
        if self._own is not None and self._own not in names:
            self._own = None
            self._changed.set()
        if not names:
            return Leadership()
        content = await self._read(names[0])
        if content is None:
            return None
        try:
            info = orjson.loads(content)
        except orjson.JSONDecodeError:
            log.error("the leader's znode %s holds no JSON: %r", names[0], content[:200])
            return Leadership()
        return Leadership(info=info, own=names[0] == self._own)

    async def _read(self, name: str) -> bytes | None:
        from kazoo.exceptions import NoNodeError

        try:
            content, _ = await self.call(self._client.get_async(f"{self._address.path}/{name}"))
        except NoNodeError:
            return None
        return bytes(content)

    def _woken(self, _event: object) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    async def call(self, result: Any) -> Any:
        """Await a kazoo result without a thread of our own."""
        done = asyncio.Event()
        result.rawlink(lambda _: self._loop.call_soon_threadsafe(done.set))
        await done.wait()
        return result.get(block=False)


def _candidates(names: list[str]) -> list[str]:
    """The candidates' znodes, the leader's first."""
    return sorted((name for name in names if name.startswith(LABEL)), key=lambda name: name[len(LABEL) :])


def leader_address(info: Mapping[str, Any]) -> str:
    """``ip:port`` of a MasterInfo."""
    address = info.get("address") or {}
    host = address.get("ip") or address.get("hostname") or info.get("hostname")
    return f"{host}:{address.get('port') or info.get('port') or 5050}"
