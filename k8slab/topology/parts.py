"""What of a file can be understood by itself: one mistake must not hide those that are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from k8slab.topology.catalogue import builtin_catalogue
from k8slab.topology.model import DaemonFile, NetworkFile, NodesFile, PlaceFile, RoleFile
from k8slab.topology.packages.universe import UNIVERSE
from k8slab.topology.source import Location, Source

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Parts:
    """``network``, ``nodes``, ``roles`` and ``daemons`` hold what is well-formed, built-in ones included.

    ``own_roles`` and ``own_daemons`` are the names the file describes, well or not; ``name`` is "" when not a text.
    Installed packages are in them too: each a node, its role and its daemons. ``places`` are all that can be
    installed, ``options`` those of each that is, defaults included, by the package's name.
    """

    source: Source
    name: str
    network: NetworkFile | None
    nodes: Mapping[str, NodesFile]
    roles: Mapping[str, RoleFile]
    daemons: Mapping[str, DaemonFile]
    own_roles: tuple[str, ...]
    own_daemons: tuple[str, ...]
    places: Mapping[str, PlaceFile]
    options: Mapping[str, Mapping[str, Any]]

    def location(self, group: str) -> Location:
        """Where in the file a group of nodes, or a package's machine, is described."""
        return ("packages" if group in self.places else "nodes", group)

    @property
    def whole(self) -> bool:
        """Whether all is there that says which machines there are and which daemons run on them."""
        groups = _mapping(self.source.value, "nodes")
        used = {nodes.role for nodes in self.nodes.values()}
        own = [name for name in self.nodes if name not in self.places]
        return self.network is not None and len(groups) == len(own) > 0 and used <= set(self.roles)

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
    nodes = _read_all(NodesFile, _mapping(source.value, "nodes"))
    places = _read_all(PlaceFile, _mapping(source.value, "packages"))
    package_roles: dict[str, RoleFile] = {}
    package_daemons: dict[str, DaemonFile] = {}
    options: dict[str, Mapping[str, Any]] = {}
    for package_name, place in places.items():
        package = UNIVERSE.get(package_name)
        judged = package.judged(place.options)[0] if package and place.installed else None
        if package is None or judged is None or package_name in nodes:
            continue
        role_name, role, daemons = package.role(judged)
        nodes[package_name] = NodesFile(role=role_name, count=None, first=None, address=place.address)
        package_roles[role_name] = role
        package_daemons |= daemons
        options[package_name] = package.effective(judged)
    return Parts(
        source=source,
        name=name if isinstance(name, str) else "",
        network=_read(NetworkFile, source.value.get("network")),
        nodes=nodes,
        roles=_over({**catalogue.roles, **package_roles}, own_roles, _read_all(RoleFile, own_roles)),
        daemons=_over({**catalogue.daemons, **package_daemons}, own_daemons, _read_all(DaemonFile, own_daemons)),
        own_roles=tuple(own_roles),
        own_daemons=tuple(own_daemons),
        places=places,
        options=options,
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
