"""Finding the leading master, by ZooKeeper (``zk://…``) or by addresses (``host:port,…``)."""

from __future__ import annotations

import asyncio

from k8slab.mesos.zookeeper import Leadership, MasterGroup, ZooKeeperAddress, leader_address

DEFAULT_PORT = 5050


class MasterDetector:
    """Knows the leading master's ``host:port`` and notices when it changes. Starts on its first use.

    Told addresses alone, it knows nothing before somebody tries: ``redirect`` and ``give_up`` say what came of it.
    """

    def __init__(self, master: str, *, session_timeout: float = 10.0) -> None:
        """Raises ValueError when ``master`` is neither ``zk://host:port,…/path`` nor ``host[:port],…``."""
        self._group: MasterGroup | None = None
        self._leader: str | None = None
        self._moved = asyncio.Event()
        self._addresses: list[str] = []
        self._tried = 0
        if master.startswith("zk://"):
            address = ZooKeeperAddress.parse(master)
            self._group = MasterGroup(address, session_timeout=session_timeout, on_change=self._changed)
            self._started = False
        else:
            self._addresses = [with_port(address) for address in master.split(",")]
            self._leader = self._addresses[0]
            self._started = True

    @property
    def current(self) -> str | None:
        """The leader as known now, None when there is none."""
        return self._leader

    async def leader(self) -> str:
        """``host:port`` of the leader; waits until there is one."""
        self._start()
        while self._leader is None:
            await self._moved.wait()
        return self._leader

    async def moved(self, known: str | None) -> None:
        """Return once the leader is somebody else (or nobody) than ``known``."""
        self._start()
        while self._leader == known:
            await self._moved.wait()

    async def moved_within(self, known: str | None, seconds: float) -> bool:
        """Wait ``seconds``, less when the leader changes meanwhile; whether it did."""
        try:
            async with asyncio.timeout(seconds):
                await self.moved(known)
        except TimeoutError:
            return False
        return True

    def redirect(self, location: str) -> None:
        """Take a follower's word (``//host:port/path``) for who leads; ZooKeeper knows better where there is one.

        One that names nobody is worth as much as no answer.
        """
        if self._group is None:
            netloc = location.partition("//")[2] or location
            try:
                self._lead(with_port(netloc.partition("/")[0]))
            except ValueError:
                if self._leader is not None:
                    self.give_up(self._leader)

    def give_up(self, tried: str) -> None:
        """``tried`` did not serve: the next one of several addresses is worth a try. ZooKeeper needs no such guess."""
        if self._addresses and self._leader == tried:
            # One that only a redirect named, such as a host name that means nothing here, is not among them: next is
            # the one after that which sent us there.
            if tried in self._addresses:
                self._tried = self._addresses.index(tried)
            self._tried = (self._tried + 1) % len(self._addresses)
            self._lead(self._addresses[self._tried])

    async def close(self) -> None:
        if self._group is not None:
            await self._group.close()

    def _start(self) -> None:
        if not self._started and self._group is not None:
            self._started = True
            self._group.start()

    def _changed(self, leadership: Leadership) -> None:
        self._lead(leader_address(leadership.info) if leadership.info else None)

    def _lead(self, leader: str | None) -> None:
        if leader != self._leader:
            self._leader = leader
            self._moved.set()
            self._moved = asyncio.Event()


def with_port(address: str, default: int = DEFAULT_PORT) -> str:
    """``host`` alone means the standard port. Raises ValueError for an empty host or a port that is none."""
    host, colon, port = address.partition(":")
    if not host or (colon and not port.isdecimal()):
        raise ValueError(f"expected zk://host:port,…/path or host:port, got {address!r}")
    return f"{host}:{port or default}"
