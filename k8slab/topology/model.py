"""The file model: what a person may write in ``topology.yaml``. Its JSON schema is made from these classes.

Everything a file leaves out has its default here; what the fields mean together is checked by ``resolve``.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from k8slab.topology.words import Capability, FilePath, Image, Sysctl, Variable, VolumePath

HOST_NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
HOST_NAME_LENGTH = 63
MOST_NODES = 250

DaemonName = Annotated[str, Field(pattern=HOST_NAME, max_length=HOST_NAME_LENGTH)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkFile(_Strict):
    subnet: IPv4Network = Field(description="Where the nodes live.")
    gateway: IPv4Address | None = Field(None, description="The host's address in it; by default the first free one.")
    services: IPv4Network = Field(IPv4Network("10.0.0.0/16"), description="Cluster addresses of services.")
    pods: IPv4Network = Field(IPv4Network("10.1.0.0/16"), description="Cut into a /24 per minion.")
    mtu: int = Field(1500, ge=576, le=9000)
    egress: bool = Field(True, description="Whether nodes reach out through the host; false makes the lab hermetic.")


class DaemonFile(_Strict):
    """A daemon. Texts are Jinja templates over node, network, lab, port, and of any daemon members, addresses, urls."""

    alias: DaemonName | None = Field(None, description="The short name people type; by default the daemon's own.")
    port: int | str = Field(0, description="The port it serves on (a number, or a template for one); 0 when none.")
    command: str = Field(description="The command line that runs it in the foreground.")
    setup: str = Field("", description="Shell lines to run before each start.")
    ready: str = Field(
        "", description="A shell line that succeeds once it serves; empty when it writes a newline to READY_FD itself."
    )
    after: tuple[DaemonName, ...] = Field((), description="Daemons that must be ready first, on every node.")
    timeout: float = Field(60, gt=0, allow_inf_nan=False, description="Seconds it may take to become ready.")
    stop_signal: str = Field("TERM", pattern=r"^(TERM|INT|QUIT|HUP|USR1|USR2|KILL)$")
    environment: dict[Variable, str] = Field(default_factory=dict)
    files: dict[FilePath, str] = Field(default_factory=dict, description="Files to write: absolute path to template.")


class RoleFile(_Strict):
    image: Image = Field(description="An image of k8slab's own by its short name, or any image of the engine.")
    daemons: tuple[DaemonName, ...] = ()
    capabilities: tuple[Capability, ...] = Field(
        (), description="What the containers get beyond none, such as NET_ADMIN."
    )
    unconfined: bool = Field(False, description="Without seccomp and apparmor: only for a nested engine.")
    cpu_shares: int = Field(
        1024, ge=2, le=262144, description="Its part of the processors when all nodes want them, as Docker counts."
    )
    sysctls: dict[Sysctl, str] = Field(default_factory=dict)
    volumes: tuple[VolumePath, ...] = Field((), description="Absolute paths whose data outlives the container.")
    pods: bool = Field(False, description="Whether it gets a /24 of the pods' range.")
    logs: tuple[DaemonName, ...] = Field(
        (), description="Programs that others than the lab start, whose logs are /var/log/NAME/current."
    )


class NodesFile(_Strict):
    role: str
    count: int | None = Field(None, description="How many; named NAME-0, NAME-1…. Without it one node, named NAME.")
    first: IPv4Address | None = Field(None, description="The first of consecutive addresses, with count.")
    address: IPv4Address | None = Field(None, description="The address of a single node.")

    @model_validator(mode="after")
    def _one_way_to_say_the_address(self) -> NodesFile:
        if self.count is None and (self.first is not None or self.address is None):
            raise ValueError("a single node takes `address`; `first` goes with `count`")
        if self.count is not None and (self.address is not None or self.first is None):
            raise ValueError("`count` nodes take `first`, the first of their consecutive addresses")
        return self


class PlaceFile(_Strict):
    """Where a package can be installed, and whether it is; `k8slab package` changes the latter in a lab."""

    address: IPv4Address = Field(description="The address of the package's machine, which is called as the package.")
    installed: bool = Field(False, description="Whether it is there from the lab's beginning.")
    options: dict[str, Any] = Field(default_factory=dict, description="The package's options, by their names.")


class TopologyFile(_Strict):
    name: Annotated[str, Field(pattern=HOST_NAME, max_length=40)]
    description: str = ""
    network: NetworkFile
    nodes: dict[str, NodesFile] = Field(min_length=1)
    roles: dict[str, RoleFile] = Field(default_factory=dict, description="Roles of its own, beside the built-in ones.")
    daemons: dict[DaemonName, DaemonFile] = Field(default_factory=dict, description="Daemons of its own.")
    packages: dict[str, PlaceFile] = Field(default_factory=dict, description="Packages that can be installed into it.")


class CatalogueFile(_Strict):
    """The built-in roles and daemons, in the same form a topology writes its own."""

    roles: dict[str, RoleFile]
    daemons: dict[str, DaemonFile]


def json_schema() -> dict[str, Any]:
    """The JSON schema of ``topology.yaml``, for editors."""
    return TopologyFile.model_json_schema()
