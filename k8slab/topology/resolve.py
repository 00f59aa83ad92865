"""From the file to the frozen topology: names, addresses, MACs, routes and command lines, or every problem at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import ValidationError

from k8slab.errors import BadName, InvalidTopology, Problem
from k8slab.topology import graph
from k8slab.topology.mac import mac_of
from k8slab.topology.model import (
    HOST_NAME,
    HOST_NAME_LENGTH,
    MOST_NODES,
    CatalogueFile,
    DaemonFile,
    NetworkFile,
    NodesFile,
    RoleFile,
    TopologyFile,
)
from k8slab.topology.resolved import Daemon, Network, Node, Route, Topology
from k8slab.topology.source import Source, parse

LONGEST_LAB_NAME = 40


@dataclass(frozen=True)
class Machine:
    """What templates may say of a node."""

    name: str
    ordinal: int
    address: IPv4Address
    pods: IPv4Network | None


def resolve(source: Source, *, lab: str = "") -> Topology:
    """The frozen topology, named ``lab`` (default: the topology's name). Raises InvalidTopology or BadName."""
    file = _validated(source)
    lab_name = checked_lab_name(lab or file.name)
    catalogue = builtin_catalogue()
    roles = {**catalogue.roles, **file.roles}
    daemons = {**catalogue.daemons, **file.daemons}
    problems = [
        *_network_problems(source, file.network),
        *_role_problems(source, file, roles, daemons),
        *_cycle_problems(source, file, daemons),
        *_node_problems(source, file),
    ]
    if problems:
        raise InvalidTopology(file.name, sorted(problems, key=lambda problem: problem.line))
    return _Resolver(source, file, lab_name, roles, daemons).topology()


def checked_lab_name(name: str) -> str:
    if not re.fullmatch(HOST_NAME, name) or len(name) > LONGEST_LAB_NAME:
        raise BadName(
            f"{name!r} cannot name a lab.",
            why="A lab's name becomes part of host names.",
            remedy=f"Use a to z, 0 to 9 and inner dashes, at most {LONGEST_LAB_NAME} characters.",
        )
    return name


@cache
def builtin_catalogue() -> CatalogueFile:
    text = (files("k8slab.topology") / "roles.yaml").read_text(encoding="utf-8")
    return CatalogueFile.model_validate(parse(text, "roles.yaml").value)


def _validated(source: Source) -> TopologyFile:
    if not isinstance(source.value, dict):
        what = "this is not a topology: it has no `name`, `network` and `nodes`."
        raise InvalidTopology(source.file, [source.problem((), what, "`k8slab topology new NAME` writes one.")])
    try:
        return TopologyFile.model_validate(source.value)
    except ValidationError as error:
        problems = [source.problem(_place(item["loc"]), _sentence(item["loc"], item["msg"])) for item in error.errors()]
        raise InvalidTopology(source.file, problems) from error


def _place(location: Sequence[str | int]) -> tuple[str | int, ...]:
    return tuple(part for part in location if part != "[key]")


def _sentence(location: Sequence[str | int], message: str) -> str:
    where = ".".join(map(str, _place(location)))
    what = message.removeprefix("Value error, ").removesuffix(".")
    match what:
        case "Extra inputs are not permitted":
            what = "there is no such setting"
        case "Field required":
            what = "is missing"
    return f"{where}: {what}." if where else f"{what}."


def _network_problems(source: Source, network: NetworkFile) -> list[Problem]:
    problems = []
    ranges = {"subnet": network.subnet, "services": network.services, "pods": network.pods}
    names = list(ranges)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            if ranges[one].overlaps(ranges[other]):
                what = f"network.{other} {ranges[other]} overlaps network.{one} {ranges[one]}."
                problems.append(source.problem(("network", other), what, "Give each a range of its own."))
    if network.gateway is not None and network.gateway not in network.subnet:
        what = f"network.gateway {network.gateway} is outside of the subnet {network.subnet}."
        problems.append(source.problem(("network", "gateway"), what))
    if network.pods.prefixlen > 24:
        what = f"network.pods {network.pods} is too small to give every minion a /24."
        problems.append(source.problem(("network", "pods"), what))
    return problems


def _role_problems(
    source: Source, file: TopologyFile, roles: Mapping[str, RoleFile], daemons: Mapping[str, DaemonFile]
) -> list[Problem]:
    problems = []
    for group, nodes in file.nodes.items():
        if nodes.role not in roles:
            what = f"node {group}: there is no role {nodes.role!r}."
            known = f"Known: {', '.join(sorted(roles))}."
            problems.append(source.problem(("nodes", group, "role"), what, known))
    for name, role in file.roles.items():
        for index, daemon in enumerate(role.daemons):
            if daemon not in daemons:
                what = f"role {name}: there is no daemon {daemon!r}."
                problems.append(source.problem(("roles", name, "daemons", index), what, "Describe it under `daemons`."))
    for name, described in file.daemons.items():
        for index, need in enumerate(described.after):
            if need not in daemons:
                what = f"daemon {name}: comes after {need!r}, which there is not."
                problems.append(source.problem(("daemons", name, "after", index), what))
    return problems


def _cycle_problems(source: Source, file: TopologyFile, daemons: Mapping[str, DaemonFile]) -> list[Problem]:
    cycle = graph.find_cycle({name: daemon.after for name, daemon in daemons.items()})
    if not cycle:
        return []
    own = next((name for name in cycle if name in file.daemons), "")
    what = f"the daemons {' → '.join(cycle)} wait for each other in a circle."
    return [source.problem(("daemons", own, "after"), what, "Take one `after` out.")]


def _node_problems(source: Source, file: TopologyFile) -> list[Problem]:
    problems: list[Problem] = []
    owner: dict[IPv4Address, str] = {}
    names: dict[str, str] = {}
    total = 0
    for group, nodes in file.nodes.items():
        place = ("nodes", group)
        count = 1 if nodes.count is None else nodes.count
        if not 1 <= count <= MOST_NODES:
            what = f"node {group}: count is {count}; a lab has 1 to {MOST_NODES} nodes."
            problems.append(source.problem((*place, "count"), what))
            continue
        total += count
        for name, address in _members(group, nodes):
            at = (*place, "address" if nodes.count is None else "first")
            if not re.fullmatch(HOST_NAME, name) or len(name) > HOST_NAME_LENGTH:
                rule = f"a to z, 0 to 9 and inner dashes, at most {HOST_NAME_LENGTH} characters"
                problems.append(source.problem(place, f"{name!r} cannot be a host's name.", f"Use {rule}."))
                break
            if name in names:
                problems.append(source.problem(place, f"the name {name} is given twice, also by {names[name]}."))
            names[name] = group
            if address not in file.network.subnet:
                what = f"{name} gets {address}, which is outside of the subnet {file.network.subnet}."
                problems.append(source.problem(at, what))
                break
            if address in (file.network.subnet.network_address, file.network.subnet.broadcast_address):
                what = f"{name} gets {address}, which is no host's address in {file.network.subnet}."
                problems.append(source.problem(at, what))
            elif address == file.network.gateway:
                problems.append(source.problem(at, f"{name} gets {address}, which is the gateway's."))
            elif address in owner:
                problems.append(source.problem(at, f"{name} gets {address}, which {owner[address]} has already."))
            owner[address] = name
    if total > MOST_NODES:
        problems.append(source.problem(("nodes",), f"{total} nodes are more than the {MOST_NODES} a lab can have."))
    return problems


def _members(group: str, nodes: NodesFile) -> list[tuple[str, IPv4Address]]:
    if nodes.count is None:
        assert nodes.address is not None
        return [(group, nodes.address)]
    assert nodes.first is not None
    return [(f"{group}-{index}", nodes.first + index) for index in range(nodes.count)]


class _Resolver:
    """Renders what the checked file says; the only problems left are those inside templates."""

    def __init__(
        self,
        source: Source,
        file: TopologyFile,
        lab: str,
        roles: Mapping[str, RoleFile],
        daemons: Mapping[str, DaemonFile],
    ) -> None:
        self.source, self.file, self.lab, self.roles, self.daemons = source, file, lab, roles, daemons
        self.machines = self._machines()
        self.network = self._network()
        self.templates = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        self.compiled: dict[str, Template] = {}

    def topology(self) -> Topology:
        source = self.file.model_dump_json(exclude_unset=True)
        return Topology(self.file.name, self.lab, source, self.network, tuple(map(self._node, self.machines)))

    def _machines(self) -> tuple[Machine, ...]:
        free_pods = self.file.network.pods.subnets(new_prefix=24)
        machines = []
        for group, nodes in self.file.nodes.items():
            has_pods = self.roles[nodes.role].pods
            for ordinal, (name, address) in enumerate(_members(group, nodes)):
                machines.append(Machine(name, ordinal, address, next(free_pods) if has_pods else None))
        return tuple(machines)

    def _network(self) -> Network:
        given = self.file.network
        taken = {machine.address for machine in self.machines}
        gateway = given.gateway or next(host for host in given.subnet.hosts() if host not in taken)
        return Network(given.subnet, gateway, given.services, given.pods, given.mtu, given.egress)

    def _role_of(self, machine: Machine) -> tuple[str, RoleFile]:
        group = machine.name if machine.name in self.file.nodes else machine.name.rpartition("-")[0]
        name = self.file.nodes[group].role
        return name, self.roles[name]

    def _node(self, machine: Machine) -> Node:
        role_name, role = self._role_of(machine)
        others = [other for other in self.machines if other.pods is not None and other is not machine]
        files = {
            path: self._render(name, f"files.{path}", text, machine)
            for name in role.daemons
            for path, text in self.daemons[name].files.items()
        }
        return Node(
            name=machine.name,
            container=machine.name if self.lab == self.file.name else f"{self.lab}-{machine.name}",
            role=role_name,
            image=role.image if "/" in role.image or ":" in role.image else f"k8slab/{role.image}",
            address=machine.address,
            prefix=self.network.subnet.prefixlen,
            mac=mac_of(self.lab, machine.address),
            pods=machine.pods,
            routes=tuple(Route(other.pods, other.address) for other in others if other.pods is not None),
            capabilities=role.capabilities,
            unconfined=role.unconfined,
            sysctls=tuple(sorted(role.sysctls.items())),
            volumes=role.volumes,
            files=tuple(sorted(files.items())),
            daemons=tuple(self._daemon(name, machine) for name in role.daemons),
        )

    def _daemon(self, name: str, machine: Machine) -> Daemon:
        described = self.daemons[name]
        present = {daemon for nodes in self.file.nodes.values() for daemon in self.roles[nodes.role].daemons}
        return Daemon(
            name=name,
            alias=described.alias or name,
            node=machine.name,
            command=self._render(name, "command", described.command, machine).strip(),
            setup=self._render(name, "setup", described.setup, machine).strip(),
            check=self._render(name, "ready", described.ready, machine).strip(),
            environment=tuple(
                (key, self._render(name, f"environment.{key}", text, machine))
                for key, text in sorted(described.environment.items())
            ),
            after=tuple(need for need in described.after if need in present),
            timeout=described.timeout,
            stop_signal=described.stop_signal,
        )

    def _render(self, daemon: str, field: str, text: str, machine: Machine) -> str:
        def members(name: str) -> list[Machine]:
            return [other for other in self.machines if name in self._role_of(other)[1].daemons]

        def addresses(name: str, port: int) -> str:
            return ",".join(f"{member.address}:{port}" for member in members(name))

        context: dict[str, Any] = {"node": machine, "network": self.network, "lab": self.lab}
        try:
            if text not in self.compiled:
                self.compiled[text] = self.templates.from_string(text)
            return self.compiled[text].render(**context, members=members, addresses=addresses)
        except (TemplateError, TypeError, IndexError, AttributeError) as error:
            what = f"daemon {daemon}: its {field} cannot be filled in for {machine.name}: {error}."
            place = ("daemons", daemon, *field.split(".", 1))
            raise InvalidTopology(self.file.name, [self.source.problem(place, what)]) from error
