"""The seam to the kernel's network: what the switch asks of it, in nodes and wires instead of netlink messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from k8slab.lab.switch.config import Config, Route

# The name under which the host itself sends the packet that proves a lone node's wire.
HOST = "host"


class WireError(Exception):
    """The kernel refused; the text is one sentence fit for a person."""


@dataclass(frozen=True)
class Namespace:
    """An open network namespace, and the ``root`` folder of the process it was opened by (-1: not opened).

    ``identity`` (device, inode) tells two of them apart for as long as one is open.

    Held open only while it is worked on: an open descriptor keeps a dead node's namespace, and its address, alive.
    """

    fd: int
    identity: tuple[int, int]
    root: int = -1
    close: Callable[[], None] = field(default=lambda: None, compare=False)

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Bridge:
    name: str
    index: int
    address: str
    own: bool
    group: int


@dataclass(frozen=True)
class Plug:
    """What the wire of a node must be. ``gateway`` is "" for a node without a default route."""

    node: str
    namespace: Namespace
    address: str
    prefix: int
    mac: str
    mtu: int
    gateway: str
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class Plugged:
    """What became of a plug: the host end's index (0 when there is none), the problem ("" when it is right), what was
    done ("made", "replaced", "mended" or "" when it was right already) and how long it took."""

    node: str
    link: int
    problem: str = ""
    done: str = ""
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Link:
    """An interface of the host that carries a lab's mark."""

    name: str
    altname: str
    lab: str
    index: int
    group: int
    master: int
    up: bool
    carrier: bool


@dataclass(frozen=True)
class Source:
    """Where a probe is sent from: a node's namespace, or the host when that is None."""

    name: str
    namespace: Namespace | None


@dataclass(frozen=True)
class Probe:
    """One echo request to ``address``, tried from each source in turn until one is answered."""

    node: str
    address: str
    sources: tuple[Source, ...]


class Wire(Protocol):
    async def open(self, config: Config) -> Bridge:
        """Find the bridge that owns the subnet, or make the lab's own. Raises WireError."""

    def namespace(self, pid: int) -> Namespace:
        """Open a process' network namespace. Raises FileNotFoundError or ProcessLookupError when it is gone, WireError
        when it shares the host's."""

    async def plug(self, plugs: Sequence[Plug]) -> list[Plugged]:
        """Make every wire right: what is right already is left alone, what is wrong is mended or replaced."""

    async def reach(self, probes: Sequence[Probe], *, timeout: float) -> dict[str, str]:
        """Node → name of the source whose packet reached it and was answered ("" after ``timeout`` seconds)."""

    def changes(self) -> AsyncIterator[frozenset[int]]:
        """Indexes of host interfaces that changed or vanished; an empty set means that any may have."""

    async def links(self, lab: str = "") -> list[Link]:
        """The host's interfaces that carry the mark of ``lab``, or of any lab."""

    async def remove(self, lab: str) -> list[Link]:
        """Delete every interface that carries the lab's mark and say which they were."""

    def close(self) -> None: ...
