"""From the file to the frozen topology: names, addresses, MACs, routes and command lines, or every problem at once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pydantic import ValidationError

from k8slab.errors import BadName, InvalidTopology, Problem
from k8slab.topology.mac import mac_of
from k8slab.topology.model import HOST_NAME, DaemonFile, RoleFile, TopologyFile
from k8slab.topology.parts import Parts, members, parts_of
from k8slab.topology.problems import POD_PREFIX, container_name, daemon_problems, free_host, layout_problems
from k8slab.topology.resolved import Daemon, Network, Node, Place, Route, Topology
from k8slab.topology.source import Source
from k8slab.topology.templates import Templates, UnfilledTemplate

LONGEST_LAB_NAME = 40
HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Machine:
    """What templates may say of a node."""

    name: str
    ordinal: int
    address: IPv4Address
    pods: IPv4Network | None
    daemons: tuple[str, ...]


def resolve(source: Source, *, lab: str = "") -> Topology:
    """The frozen topology, named ``lab`` (default: the topology's name). Raises InvalidTopology or BadName."""
    if lab:
        checked_lab_name(lab)
    if not isinstance(source.value, dict):
        what = "this is not a topology: it has no `name`, `network` and `nodes`."
        raise InvalidTopology(source.file, [source.problem((), what, "`k8slab topology new NAME` writes one.")])
    file, problems = _validated(source)
    parts = parts_of(source)
    lab_name = lab or parts.name
    misplaced = layout_problems(parts, lab_name)
    problems += [*misplaced, *daemon_problems(parts)]
    if parts.whole and not misplaced:
        resolver = _Resolver(parts, lab_name)
        nodes = resolver.nodes()
        problems += resolver.problems
        if file is not None and not problems:
            text = file.model_dump_json(exclude_unset=True)
            return Topology(file.name, lab_name, text, resolver.network, nodes, resolver.hosts(), _packages(parts))
    else:
        problems += _syntax_problems(parts)
    name = file.name if file else source.file
    raise InvalidTopology(name, sorted(problems, key=lambda problem: problem.line))


def _packages(parts: Parts) -> tuple[Place, ...]:
    return tuple(
        Place(name, place.address, name in parts.options, parts.options.get(name, {}))
        for name, place in parts.places.items()
    )


def checked_lab_name(name: str) -> str:
    if not re.fullmatch(HOST_NAME, name) or len(name) > LONGEST_LAB_NAME:
        raise BadName(
            f"{name!r} cannot name a lab.",
            why="A lab's name becomes part of host names.",
            remedy=f"Use a to z, 0 to 9 and inner dashes, at most {LONGEST_LAB_NAME} characters.",
        )
    return name


def _validated(source: Source) -> tuple[TopologyFile | None, list[Problem]]:
    try:
        return TopologyFile.model_validate(source.value), []
    except ValidationError as error:
        return None, [
            source.problem(_place(item["loc"]), _sentence(item["loc"], item["msg"])) for item in error.errors()
        ]


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


def _syntax_problems(parts: Parts) -> list[Problem]:
    """What can be said of templates when it is not known what they would be filled with."""
    templates, problems = Templates(), []
    for name in parts.own_daemons:
        for field, text in _texts(parts.daemons[name]) if name in parts.daemons else ():
            try:
                templates.compiled(text)
            except UnfilledTemplate as error:
                what = f"daemon {name}: its {field} cannot be filled in: {error}."
                problems.append(parts.source.problem(("daemons", name, *field.split(".", 1)), what))
    return problems


def _texts(daemon: DaemonFile) -> list[tuple[str, str]]:
    """Each template of a daemon with the field it stands in."""
    return [
        ("command", daemon.command),
        ("port", str(daemon.port)),
        ("setup", daemon.setup),
        ("ready", daemon.ready),
        *((f"environment.{key}", text) for key, text in daemon.environment.items()),
        *((f"files.{path}", text) for path, text in daemon.files.items()),
    ]


class _Resolver:
    """Fills in what a file without misplaced machines says. A template's problem is kept once, for its first node."""

    def __init__(self, parts: Parts, lab: str) -> None:
        assert parts.network is not None
        self.parts, self.lab = parts, lab
        self.given = parts.network
        self.group: dict[str, str] = {}
        self.machines = self._machines()
        self.network = self._network()
        self.templates = Templates()
        self.found: dict[tuple[str, str], Problem] = {}

    @property
    def problems(self) -> list[Problem]:
        return [*self.found.values(), *self._problems_of_unused()]

    def nodes(self) -> tuple[Node, ...]:
        return tuple(map(self._node, self.machines))

    def hosts(self) -> tuple[tuple[str, IPv4Address], ...]:
        """The same whatever is installed: the names that a node knows are a part of what it was made as."""
        own = [(one.name, one.address) for one in self.machines if self.group[one.name] not in self.parts.places]
        return (*own, *((name, place.address) for name, place in self.parts.places.items()))

    def _machines(self) -> tuple[Machine, ...]:
        free_pods = self.given.pods.subnets(new_prefix=POD_PREFIX)
        machines = []
        for group, nodes in self.parts.nodes.items():
            role = self.parts.roles[nodes.role]
            for ordinal, (name, address) in enumerate(members(group, nodes)):
                pods = next(free_pods) if role.pods else None
                machines.append(Machine(name, ordinal, address, pods, role.daemons))
                self.group[name] = group
        return tuple(machines)

    def _network(self) -> Network:
        given = self.given
        taken = {machine.address for machine in self.machines} | {one.address for one in self.parts.places.values()}
        gateway = given.gateway or free_host(given.subnet, taken)
        assert gateway is not None
        return Network(given.subnet, gateway, given.services, given.pods, given.mtu, given.egress)

    def _role_of(self, machine: Machine) -> tuple[str, RoleFile]:
        name = self.parts.nodes[self.group[machine.name]].role
        return name, self.parts.roles[name]

    def _node(self, machine: Machine) -> Node:
        role_name, role = self._role_of(machine)
        daemons = [(name, self.parts.daemons[name]) for name in role.daemons if name in self.parts.daemons]
        files = {
            path: self._render(name, f"files.{path}", text, machine)
            for name, described in daemons
            for path, text in described.files.items()
        }
        return Node(
            name=machine.name,
            container=container_name(machine.name, topology=self.parts.name, lab=self.lab),
            role=role_name,
            image=role.image if "/" in role.image or ":" in role.image else f"k8slab/{role.image}",
            address=machine.address,
            prefix=self.network.subnet.prefixlen,
            mac=mac_of(self.lab, machine.address),
            pods=machine.pods,
            routes=self._routes(machine),
            capabilities=role.capabilities,
            unconfined=role.unconfined,
            cpu_shares=role.cpu_shares,
            sysctls=tuple(sorted(role.sysctls.items())),
            volumes=role.volumes,
            files=tuple(sorted(files.items())),
            daemons=tuple(self._daemon(name, daemon, machine) for name, daemon in daemons),
            logs=role.logs,
        )

    def _routes(self, machine: Machine) -> tuple[Route, ...]:
        others = [other for other in self.machines if other is not machine]
        routes = [Route(other.pods, other.address) for other in others if other.pods is not None]
        # The node's own service proxy answers for these, but only packets that have a route ever get to it.
        services = [Route(self.network.services, None)] if machine.pods is not None else []
        return (*routes, *services)

    def _daemon(self, name: str, described: DaemonFile, machine: Machine) -> Daemon:
        present = {daemon for nodes in self.parts.nodes.values() for daemon in self.parts.roles[nodes.role].daemons}
        command = self._render(name, "command", described.command, machine).strip()
        self._check_command(name, command, machine)
        return Daemon(
            name=name,
            alias=described.alias or name,
            node=machine.name,
            port=self._port(name),
            command=command,
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

    def _check_command(self, daemon: str, command: str, machine: Machine) -> None:
        if (daemon, "command") in self.found:
            return
        try:
            if not shlex.split(command):
                self._keep(daemon, "command", machine, f"is empty for {machine.name}")
        except ValueError as error:
            reason = "a backslash that escapes nothing" if "escape" in str(error) else "a quote that is never closed"
            self._keep(daemon, "command", machine, f"has {reason} for {machine.name}: {command}")

    def _port(self, daemon: str) -> int:
        """Where the daemon serves, the same on every node that runs it; 0 when nowhere, or when that is a problem."""
        if daemon not in self.parts.daemons:
            return 0
        machine = next(one for one in self.machines if daemon in self._role_of(one)[1].daemons)
        text = self._render(daemon, "port", str(self.parts.daemons[daemon].port), machine)
        if (daemon, "port") in self.found:
            return 0
        if not (text.isascii() and text.isdecimal() and int(text) <= HIGHEST_PORT):
            self._keep(daemon, "port", machine, f"is not a number from 0 to {HIGHEST_PORT}: {text!r}")
            return 0
        return int(text)

    def _render(self, daemon: str, field: str, text: str, machine: Machine) -> str:
        def members(name: str) -> list[Machine]:
            return [other for other in self.machines if name in self._role_of(other)[1].daemons]

        def addresses(name: str, port: int | None = None) -> str:
            there = members(name)
            at = port if port is not None or not there else self._port(name)
            return ",".join(f"{member.address}:{at}" for member in there)

        def urls(name: str) -> str:
            if not members(name):
                raise LookupError(f"no node runs {name}")
            return ",".join(f"http://{address}" for address in addresses(name).split(","))

        context: dict[str, Any] = {"node": machine, "network": self.network, "lab": self.lab}
        if self.group[machine.name] in self.parts.options:
            context["options"] = self.parts.options[self.group[machine.name]]
        if field != "port":
            context["port"] = self._port(daemon)
        if (daemon, field) in self.found:
            return ""
        try:
            return self.templates.fill(text, {**context, "members": members, "addresses": addresses, "urls": urls})
        except UnfilledTemplate as error:
            self._keep(daemon, field, machine, f"cannot be filled in for {machine.name}: {error}")
            return ""

    def _keep(self, daemon: str, field: str, machine: Machine, what: str) -> None:
        own = daemon in self.parts.own_daemons
        # A built-in daemon has no line in the file; the node that runs it without what it needs has.
        place = (
            ("daemons", daemon, *field.split(".", 1))
            if own
            else (*self.parts.location(self.group[machine.name]), "role")
        )
        self.found[daemon, field] = self.parts.source.problem(place, f"daemon {daemon}: its {field} {what}.")

    def _problems_of_unused(self) -> list[Problem]:
        used = self.parts.used_daemons()
        unused = tuple(name for name in self.parts.own_daemons if name not in used)
        return _syntax_problems(replace(self.parts, own_daemons=unused))
