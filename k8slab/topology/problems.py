"""What is wrong between the parts of a topology: ranges, names, addresses, order. Each check names every case."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from pathlib import PurePosixPath

from k8slab.errors import Problem
from k8slab.topology import graph
from k8slab.topology.model import HOST_NAME, HOST_NAME_LENGTH, MOST_NODES, NetworkFile, NodesFile
from k8slab.topology.packages.universe import UNIVERSE
from k8slab.topology.parts import Parts, members
from k8slab.topology.targets import ALL

HIGHEST_ADDRESS = IPv4Address("255.255.255.255")
POD_PREFIX = 24


def container_name(node: str, *, topology: str, lab: str) -> str:
    return node if lab == topology else f"{lab}-{node}"


def layout_problems(parts: Parts, lab: str) -> list[Problem]:
    """What keeps the machines and what runs on them from being known. ``lab`` is the lab's name."""
    return [*_network_problems(parts), *_role_names(parts), *_package_problems(parts), *_node_problems(parts, lab)]


def daemon_problems(parts: Parts) -> list[Problem]:
    """What is wrong with roles and daemons, whatever machines there are."""
    return [*_role_problems(parts), *_order_problems(parts), *_alias_problems(parts)]


def _network_problems(parts: Parts) -> Iterator[Problem]:
    network, problem = parts.network, parts.source.problem
    if network is None:
        return
    ranges = {"subnet": network.subnet, "services": network.services, "pods": network.pods}
    names = list(ranges)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            if ranges[one].overlaps(ranges[other]):
                what = f"network.{other} {ranges[other]} overlaps network.{one} {ranges[one]}."
                yield problem(("network", other), what, "Give each a range of its own.")
    at = ("network", "gateway")
    if network.gateway is not None and network.gateway not in network.subnet:
        yield problem(at, f"network.gateway {network.gateway} is outside of the subnet {network.subnet}.")
    elif network.gateway is not None and not _is_host(network.gateway, network.subnet):
        yield problem(at, f"network.gateway {network.gateway} is no host's address in {network.subnet}.")
    yield from _pod_problems(parts, network)


def _pod_problems(parts: Parts, network: NetworkFile) -> Iterator[Problem]:
    at = ("network", "pods")
    if network.pods.prefixlen > POD_PREFIX:
        what = f"network.pods {network.pods} is too small to give every minion a /{POD_PREFIX}."
        yield parts.source.problem(at, what)
        return
    there = 2 ** (POD_PREFIX - network.pods.prefixlen)
    with_pods = [nodes for nodes in parts.nodes.values() if nodes.role in parts.roles and parts.roles[nodes.role].pods]
    needed = sum(1 if nodes.count is None else nodes.count for nodes in with_pods if _is_count(nodes))
    if needed > there:
        what = f"network.pods {network.pods} holds {there} of the /{POD_PREFIX} ranges that {needed} nodes need."
        yield parts.source.problem(at, what, "Give it a shorter prefix, such as /16.")


def _role_names(parts: Parts) -> Iterator[Problem]:
    known = set(parts.roles).union(parts.own_roles)
    for group, nodes in parts.nodes.items():
        if nodes.role not in known:
            what = f"node {group}: there is no role {nodes.role!r}."
            yield parts.source.problem(("nodes", group, "role"), what, f"Known: {', '.join(sorted(known))}.")


def _package_problems(parts: Parts) -> Iterator[Problem]:
    problem = parts.source.problem
    for name, place in parts.places.items():
        package = UNIVERSE.get(name)
        if package is None:
            known = ", ".join(sorted(UNIVERSE))
            yield problem(("packages", name), f"there is no package {name!r}.", f"Known: {known}.")
            continue
        if (
            name in parts.nodes
            and name not in parts.options
            and place.installed
            and not package.judged(place.options)[1]
        ):
            what = f"package {name}: its machine is called as it, and a node is called {name} already."
            yield problem(("packages", name), what, "Give the node another name.")
        for option, what in package.judged(place.options)[1]:
            at = ("packages", name, "options", *option.split("."))
            yield problem(at, f"package {name}: {option or 'its options'}: {what}")


def _role_problems(parts: Parts) -> Iterator[Problem]:
    problem = parts.source.problem
    known = set(parts.daemons).union(parts.own_daemons)
    for name in parts.own_roles:
        if name not in parts.roles:
            continue
        role = parts.roles[name]
        seen: set[str] = set()
        for index, daemon in enumerate(role.daemons):
            place = ("roles", name, "daemons", index)
            if daemon not in known:
                yield problem(place, f"role {name}: there is no daemon {daemon!r}.", "Describe it under `daemons`.")
            if daemon in seen:
                yield problem(place, f"role {name}: the daemon {daemon} stands twice.", "A node runs each daemon once.")
            seen.add(daemon)
        ends: dict[str, str] = {}
        for index, path in enumerate(role.volumes):
            first = ends.setdefault(PurePosixPath(path).name, path)
            place = ("roles", name, "volumes", index)
            if first == path and role.volumes.index(path) != index:
                yield problem(place, f"role {name}: the volume {path} stands twice.")
            elif first != path:
                what = (
                    f"role {name}: {first} and {path} would share one volume, which is named by the path's last part."
                )
                yield problem(place, what, "Let them end differently.")


def _order_problems(parts: Parts) -> Iterator[Problem]:
    known = set(parts.daemons).union(parts.own_daemons)
    for name in parts.own_daemons:
        for index, need in enumerate(parts.daemons[name].after if name in parts.daemons else ()):
            if need not in known:
                what = f"daemon {name}: comes after {need!r}, which there is not."
                yield parts.source.problem(("daemons", name, "after", index), what)
    after = {name: daemon.after for name, daemon in parts.daemons.items()}
    while cycle := graph.find_cycle(after):
        own = next((name for name in cycle if name in parts.own_daemons), cycle[0])
        what = f"the daemons {' → '.join(cycle)} wait for each other in a circle."
        yield parts.source.problem(("daemons", own, "after"), what, "Take one `after` out.")
        after[own] = ()


def _alias_problems(parts: Parts) -> Iterator[Problem]:
    used, own = parts.used_daemons(), parts.own_daemons
    for name in own:
        alias = parts.daemons[name].alias if name in parts.daemons else None
        for word, place in ((name, ("daemons", name)), (alias, ("daemons", name, "alias"))):
            if word == ALL:
                yield parts.source.problem(place, f"daemon {name}: {ALL!r} means every daemon and can name none.")
    claimed = {name: name for name in used}
    # Built-in ones first: of two that want a word, the file's can be changed.
    for name in sorted(used, key=lambda name: own.index(name) if name in own else -1):
        alias = used[name].alias or name
        holder = claimed.setdefault(alias, name)
        if holder == name:
            continue
        if name in own:
            what = f"daemon {name}: its alias {alias!r} means the daemon {holder} already."
            yield parts.source.problem(("daemons", name, "alias"), what, "Take another word.")
        elif holder in own:
            what = f"daemon {holder}: its name is the alias of the daemon {name} already."
            yield parts.source.problem(("daemons", holder), what, "Take another word.")


def _node_problems(parts: Parts, lab: str) -> Iterator[Problem]:
    subnet = parts.network.subnet if parts.network else None
    gateway = parts.network.gateway if parts.network else None
    owner: dict[IPv4Address, str] = {}
    names: dict[str, str] = {}
    problem = parts.source.problem
    total = 0
    places = {
        name: NodesFile(role="", count=None, first=None, address=place.address)
        for name, place in parts.places.items()
        if name not in parts.nodes
    }
    for group, nodes in {**parts.nodes, **places}.items():
        place = parts.location(group)
        if not _is_count(nodes):
            what = f"node {group}: count is {nodes.count}; a lab has 1 to {MOST_NODES} nodes."
            yield problem((*place, "count"), what)
            continue
        total += nodes.count or 1
        at = (*place, "address" if nodes.count is None else "first")
        if nodes.first is not None and int(nodes.first) + (nodes.count or 1) - 1 > int(HIGHEST_ADDRESS):
            what = f"node {group}: there are no {nodes.count} addresses from {nodes.first} on."
            yield problem(at, what)
            continue
        for name, address in members(group, nodes):
            if not re.fullmatch(HOST_NAME, name) or len(name) > HOST_NAME_LENGTH:
                rule = f"a to z, 0 to 9 and inner dashes, at most {HOST_NAME_LENGTH} characters"
                yield problem(place, f"{name!r} cannot be a host's name.", f"Use {rule}.")
                break
            if len(container_name(name, topology=parts.name, lab=lab)) < 2:
                what = f"{name!r} cannot name a container: the engine wants at least two characters."
                yield problem(place, what, "Give the node a longer name.")
            if name in names:
                yield problem(place, f"the name {name} is given twice, also by {names[name]}.")
            names[name] = group
            if subnet is not None and address not in subnet:
                yield problem(at, f"{name} gets {address}, which is outside of the subnet {subnet}.")
                break
            if subnet is not None and not _is_host(address, subnet):
                yield problem(at, f"{name} gets {address}, which is no host's address in {subnet}.")
            elif address == gateway:
                yield problem(at, f"{name} gets {address}, which is the gateway's.")
            elif address in owner:
                yield problem(at, f"{name} gets {address}, which {owner[address]} has already.")
            owner[address] = name
    if total > MOST_NODES:
        yield problem(("nodes",), f"{total} nodes are more than the {MOST_NODES} a lab can have.")
    elif subnet is not None and gateway is None and free_host(subnet, owner) is None:
        what = f"network.subnet {subnet} has no address left for the gateway."
        yield problem(("network", "subnet"), what, "Take a wider one.")


def free_host(subnet: IPv4Network, taken: Collection[IPv4Address]) -> IPv4Address | None:
    """The first address in ``subnet`` that no node has."""
    return next((host for host in islice(subnet.hosts(), len(taken) + 1) if host not in taken), None)


def _is_host(address: IPv4Address, subnet: IPv4Network) -> bool:
    return address not in (subnet.network_address, subnet.broadcast_address)


def _is_count(nodes: NodesFile) -> bool:
    return nodes.count is None or 1 <= nodes.count <= MOST_NODES
