"""The seam to whatever runs nodes: ten methods on machines and volumes, known to the lab by name and label alone.

An in-memory implementation stands in for it where what is under test is the lab's own reasoning.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

MachineState = Literal["created", "running", "paused", "stopped"]
Kind = Literal["machine", "volume"]
Verb = Literal["start", "stop", "kill", "restart", "pause", "unpause"]


@dataclass(frozen=True)
class EngineInfo:
    """``firewall`` is what the engine says of its backend ("iptables", "nftables"), "" when it says nothing."""

    version: str
    socket: str
    rootless: bool
    cgroup_version: str
    storage_driver: str
    firewall: str
    data_root: str


@dataclass(frozen=True)
class Machine:
    """A container as the engine lists it. ``image`` is an image id."""

    id: str
    name: str
    state: MachineState
    image: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Volume:
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Mount:
    """A volume by its name, or a folder of the engine's host by its absolute path."""

    source: str
    target: str
    read_only: bool = False

    @property
    def is_volume(self) -> bool:
        return not self.source.startswith("/")


@dataclass(frozen=True)
class MachineSpec:
    """Everything a container is created from. ``sharing_host`` gives it the host's network, PIDs and users; without
    that it has a network of its own with nothing in it, and the engine has no part in that. ``cpu_shares``: its part of
    the processors when all want them, 0 for the engine's own choice, which is 1024."""

    name: str
    image: str
    hostname: str = ""
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    volume_labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    drop_other_capabilities: bool = False
    unconfined: bool = False
    cpu_shares: int = 0
    sharing_host: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Executed:
    """``output`` has both streams as they came."""

    code: int
    output: str


class Runtime(Protocol):
    """Nodes and what runs in them. Every method raises LabError for what a person can cause."""

    def info(self) -> EngineInfo: ...

    def image_ids(self, names: Sequence[str]) -> Mapping[str, str]:
        """The ids of those of ``names`` that the engine has."""

    def machines(self) -> list[Machine]:
        """Every container of the engine, ours or not."""

    def volumes(self) -> list[Volume]: ...

    def create(self, spec: MachineSpec) -> None:
        """Create a machine without starting it."""

    def power(self, name: str, verb: Verb) -> None:
        """Press one of a machine's buttons; one that has its effect already is not an error."""

    def remove(self, kind: Kind, name: str) -> None:
        """Kill and remove a machine, or remove a volume; one that is not there is not an error."""

    def execute(self, name: str, command: Sequence[str]) -> Executed:
        """Run ``command`` to its end in a running machine. Raises NodeFailed when it does not run."""

    def read(self, name: str, path: str) -> dict[str, bytes]:
        """The files at or below ``path`` in the machine's own file system (no tmpfs), running or not, by their path
        from the parent of ``path``; empty when there are none."""

    def boot_log(self, name: str, *, lines: int = 2000, errors: bool = True) -> str:
        """The last lines that the machine's first process has written, with or without its stderr."""


class Console(Protocol):
    """What needs a person's terminal or an endless stream; apart, because few things that run nodes can do it."""

    def attach(self, name: str, command: Sequence[str], *, terminal: bool) -> int:
        """Run ``command`` with the caller's own input and output; its exit code."""

    def follow(self, name: str, command: Sequence[str]) -> Generator[bytes, None, int]:
        """What ``command`` writes to its output, as it comes, until it ends or the generator is closed; returns its
        exit code. What it writes to its error output goes to the caller's own."""

    def run_aside(self, spec: MachineSpec, *, network_of: str, terminal: bool, user: str, workdir: str) -> int:
        """Run a throw-away machine in the network of another, with the caller's own input and output; its exit code."""
