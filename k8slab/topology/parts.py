"""What of a file can be understood by itself: one mistake must not hide those that are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from k8slab.topology.catalogue import builtin_catalogue
from k8slab.topology.model import DaemonFile, NetworkFile, NodesFile, RoleFile
from k8slab.topology.source import Source

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Parts:
    """``network``, ``nodes``, ``roles`` and ``daemons`` hold what is well-formed, built-in ones included.

    ``own_roles`` and ``own_daemons`` are the names the file describes, well or not; ``name`` is "" when not a text.
    """

    source: Source
    name: str
    network: NetworkFile | None
    nodes: Mapping[str, NodesFile]
    roles: Mapping[str, RoleFile]
    daemons: Mapping[str, DaemonFile]
    own_roles: tuple[str, ...]
    own_daemons: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether all is there that says which machines there are and which daemons run on them."""
        groups = _mapping(self.source.value, "nodes")
        used = {nodes.role for nodes in self.nodes.values()}
        return self.network is not None and len(groups) == len(self.nodes) > 0 and used <= set(self.roles)

    def used_daemons(self) -> dict[str, DaemonFile]:
        """The daemons that run on some node."""
        roles = [self.roles[nodes.role] for nodes in self.nodes.values() if nodes.role in self.roles]
        names = dict.fromkeys(name for role in roles for name in role.daemons)
        return {name: self.daemons[name] for name in names if name in self.daemons}


def parts_of(source: Source) -> Parts:
    """``source.value`` is a mapping."""
    catalogue = builtin_catalogue()
    own_roles, own_daemons = _mapping(source.value, "roles"), _mapping(source.value, "daemons")
    name = source.value.get("name")
    return Parts(
        source=source,
        name=name if isinstance(name, str) else "",
        network=_read(NetworkFile, source.value.get("network")),
        nodes=_read_all(NodesFile, _mapping(source.value, "nodes")),
        roles=_over(catalogue.roles, own_roles, _read_all(RoleFile, own_roles)),
        daemons=_over(catalogue.daemons, own_daemons, _read_all(DaemonFile, own_daemons)),
        own_roles=tuple(own_roles),
        own_daemons=tuple(own_daemons),
    )


def members(group: str, nodes: NodesFile) -> list[tuple[str, IPv4Address]]:
    """The names and addresses of a group whose addresses are known to exist."""
    if nodes.count is None:
        assert nodes.address is not None
        return [(group, nodes.address)]
    assert nodes.first is not None
    return [(f"{group}-{index}", nodes.first + index) for index in range(nodes.count)]


def _mapping(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    inner = value.get(key)
    return {name: part for name, part in inner.items() if isinstance(name, str)} if isinstance(inner, dict) else {}


def _read(model: type[Model], value: Any) -> Model | None:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _read_all(model: type[Model], values: Mapping[str, Any]) -> dict[str, Model]:
    read = {name: _read(model, value) for name, value in values.items()}
    return {name: part for name, part in read.items() if part is not None}


def _over(builtin: Mapping[str, Model], own: Mapping[str, Any], read: Mapping[str, Model]) -> dict[str, Model]:
    # What the file describes badly is not what the built-in one of that name says either.
    return {**{name: part for name, part in builtin.items() if name not in own}, **read}
