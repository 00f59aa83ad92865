"""The kernel's network for real: one thread owns the host's netlink socket, another hops through the nodes."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Interface
from typing import TypeVar

from k8slab.lab.switch import echo, messages, names
from k8slab.lab.switch.config import Config
from k8slab.lab.switch.namespaces import Hopper, open_namespace
from k8slab.lab.switch.netlink import (
    GROUP_LINK,
    RTM_DELLINK,
    RTM_NEWLINK,
    Answer,
    LinkInfo,
    Netlink,
    read_address,
    read_link,
)
from k8slab.lab.switch.netlink import messages as each_message
from k8slab.lab.switch.node import Inside, configure, look
from k8slab.lab.switch.wire import HOST, Bridge, Link, Namespace, Plug, Plugged, Probe, WireError

Result = TypeVar("Result")

# Three requests a node; 128 at a time is what every stock kernel's acknowledgements survive.
_CHUNK = 32


def _fail(what: str, answer: Answer) -> WireError:
    if answer.code == errno.EPERM:
        return WireError(f"{what}: the switch lacks the capability NET_ADMIN on the host.")
    if answer.code == errno.EXFULL:
        return WireError(f"{what}: the bridge is full, a bridge holds 1023 ports.")
    return WireError(f"{what}: {answer}.")


class KernelWire:
    def __init__(self) -> None:
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._closer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="closer")
        self._hopper = Hopper()
        self._host = Netlink()
        self._lab = ""
        self._bridge = Bridge(name="", index=0, address="", own=False, group=0)

    # -- the bridge ---------------------------------------------------------------------------------------------

    async def open(self, config: Config) -> Bridge:
        self._lab = config.lab
        self._bridge = await self._own(partial(self._open, config))
        return self._bridge

    def _open(self, config: Config) -> Bridge:
        links = {link.index: link for link in self._dump()}
        group = _choose_group(config.lab, links.values())
        mine = names.bridge_name(config.lab)
        for index, address, prefix in map(read_address, self._host.dump(messages.dump_addresses())):
            interface, link = IPv4Interface(f"{address}/{prefix}"), links.get(index)
            if link is None or not interface.network.overlaps(config.subnet) or link.name == mine:
                continue
            if link.kind != "bridge" or interface.network != config.subnet:
                raise WireError(f"The lab's subnet {config.subnet} overlaps {interface} of {link.name} on the host.")
            owner = _owner(link)
            if owner:
                raise WireError(f"The lab's subnet {config.subnet} belongs to lab {owner}.")
            if not link.up:
                raise WireError(f"The bridge {link.name} that owns {config.subnet} is down.")
            return Bridge(name=link.name, index=index, address=address, own=False, group=group)
        return self._make_bridge(config, mine, group)

    def _make_bridge(self, config: Config, name: str, group: int) -> Bridge:
        altname = names.bridge_altname(config.lab)
        mac = names.bridge_mac(config.lab)
        made, marked, answer = self._host.transact(
            [
                messages.new_bridge(name=name, group=group, mtu=config.mtu, mac=mac),
                messages.add_altname(name=name, altname=altname),
                messages.get_link(name),
            ]
        )
        if made.code not in (0, errno.EEXIST):
            raise _fail(f"The bridge {name} cannot be made", made)
        if marked.code not in (0, errno.EEXIST) or answer.code:
            raise _fail(f"The bridge {name} cannot be marked", marked if marked.code else answer)
        link = read_link(answer.replies[0])
        if altname not in link.altnames or link.kind != "bridge":
            raise WireError(f"The name {name} is taken by an interface that is not the lab's.")
        address = str(config.gateway)
        for answer in self._host.transact(
            [
                messages.set_link(link.index, group=group, mac=mac),
                messages.put_address(link.index, address, config.subnet.prefixlen),
            ]
        ):
            if answer.code:
                raise _fail(f"The bridge {name} cannot be set up", answer)
        return Bridge(name=name, index=link.index, address=address, own=True, group=group)

    # -- wires --------------------------------------------------------------------------------------------------

    def namespace(self, pid: int) -> Namespace:
        found = open_namespace(pid)
        if found.identity == self._hopper.home.identity:
            found.close()
            raise WireError("It shares the host's network; a node needs one of its own (network none).")
        return found

    async def plug(self, plugs: Sequence[Plug]) -> list[Plugged]:
        results: list[Plugged] = []
        for at in range(0, len(plugs), _CHUNK):
            chunk = plugs[at : at + _CHUNK]
            began = time.perf_counter()
            born = await self._own(partial(self._bear, chunk))
            share = (time.perf_counter() - began) * 1000 / len(chunk)
            fresh = [(plug, link) for plug, link in zip(chunk, born, strict=True) if isinstance(link, int)]
            settled = await self._hopper.run(partial(self._settle, fresh))
            for plug, link in zip(chunk, born, strict=True):
                if isinstance(link, int):
                    problem, spent = settled[plug.node]
                    results.append(Plugged(plug.node, link, problem, "made", round(share + spent, 3)))
                elif link.code == errno.EEXIST:
                    results.append(await self._mend(plug))
                else:
                    results.append(Plugged(plug.node, 0, str(_fail("Its wire cannot be made", link))))
        return results

    def _bear(self, plugs: Sequence[Plug]) -> list[int | Answer]:
        """Make the pairs in one send: each one's host end's index, or why there is none."""
        requests: list[bytes] = []
        for plug in plugs:
            name = names.link_name(self._lab, plug.node)
            requests += [
                messages.new_wire(
                    name=name,
                    group=self._bridge.group,
                    master=self._bridge.index,
                    mtu=plug.mtu,
                    mac=plug.mac,
                    namespace_fd=plug.namespace.fd,
                ),
                messages.add_altname(name=name, altname=names.link_altname(self._lab, plug.node)),
                messages.get_link(name),
            ]
        answers = self._host.transact(requests)
        born: list[int | Answer] = []
        for made, marked, found in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
            if made.code or marked.code:
                born.append(made if made.code else marked)
            else:
                born.append(read_link(found.replies[0]).index)
        return born

    def _settle(self, fresh: Sequence[tuple[Plug, int]]) -> dict[str, tuple[str, float]]:
        """Configure new peers inside their nodes: node → (problem, milliseconds)."""
        settled = {}
        for plug, _ in fresh:
            began = time.perf_counter()
            problem = ""
            try:
                with self._hopper.visit(plug.namespace):
                    self._close_later(configure(plug))
            except (WireError, OSError) as error:
                problem = str(error)
            settled[plug.node] = (problem, (time.perf_counter() - began) * 1000)
        return settled

    async def _mend(self, plug: Plug) -> Plugged:
        """A wire, or half of one, is there already: leave it, mend it or replace it."""
        began = time.perf_counter()
        try:
            inside = await self._hopper.run(partial(self._look, plug))
            host = await self._own(partial(self._find, names.link_name(self._lab, plug.node)))
            if host and _owner(host) != self._lab and host.group != self._bridge.group:
                raise WireError(f"The name {host.name} is taken by an interface that is not the lab's.")
            if host and inside.index and (host.peer, inside.peer) == (inside.index, host.index):
                done = await self._own(partial(self._mend_host, plug, host))
                if inside.lacks(plug):
                    await self._hopper.run(partial(self._configure, plug))
                    done = True
                return Plugged(plug.node, host.index, "", "mended" if done else "", _since(began))
            if inside.index and inside.kind != "veth":
                raise WireError(f"It has an eth0 that is no wire ({inside.kind or 'unknown kind'}); remove that first.")
            if host:
                await self._own(partial(self._delete, host.index))
            await self._hopper.run(partial(self._unplug, plug))
            (link,) = await self._own(partial(self._bear, [plug]))
            if not isinstance(link, int):
                raise _fail("Its wire cannot be made", link)
            await self._hopper.run(partial(self._configure, plug))
            return Plugged(plug.node, link, "", "replaced", _since(began))
        except (WireError, OSError) as error:
            return Plugged(plug.node, 0, str(error))

    def _find(self, name: str) -> LinkInfo | None:
        (answer,) = self._host.transact([messages.get_link(name)])
        return None if answer.code else read_link(answer.replies[0])

    def _mend_host(self, plug: Plug, host: LinkInfo) -> bool:
        requests = []
        altname = names.link_altname(self._lab, plug.node)
        if altname not in host.altnames:
            requests.append(messages.add_altname(name=host.name, altname=altname))
        if (host.up, host.master, host.mtu, host.group) != (True, self._bridge.index, plug.mtu, self._bridge.group):
            group, master = self._bridge.group, self._bridge.index
            requests.append(messages.set_link(host.index, master=master, mtu=plug.mtu, group=group))
        for answer in self._host.transact(requests):
            if answer.code:
                raise _fail("Its wire cannot be mended", answer)
        return bool(requests)

    def _delete(self, index: int) -> None:
        (answer,) = self._host.transact([messages.delete_link(index)])
        if answer.code not in (0, errno.ENODEV):
            raise _fail("Its old wire cannot be removed", answer)

    def _look(self, plug: Plug) -> Inside:
        with self._hopper.visit(plug.namespace):
            return look()

    def _configure(self, plug: Plug) -> None:
        with self._hopper.visit(plug.namespace):
            self._close_later(configure(plug))

    def _unplug(self, plug: Plug) -> None:
        with self._hopper.visit(plug.namespace), Netlink() as inside, suppress(OSError):
            inside.transact([messages.delete_link(socket.if_nametoindex("eth0"))])

    # -- proof --------------------------------------------------------------------------------------------------

    async def reach(self, probes: Sequence[Probe], *, timeout: float) -> dict[str, str]:
        sources = {source.name: source.namespace for probe in probes for source in probe.sources}
        sockets = await self._hopper.run(partial(self._open_sockets, sources))
        try:
            return await echo.exchange(probes, sockets, timeout=timeout)
        finally:
            for opened in sockets.values():
                opened.close()

    def _open_sockets(self, sources: dict[str, Namespace | None]) -> dict[str, socket.socket]:
        sockets = {}
        for name, namespace in sources.items():
            with self._hopper.visit(namespace or self._hopper.home):
                sockets[name] = echo.open_echo_socket(self._bridge.name if name == HOST else "")
        return sockets

    # -- what is there ------------------------------------------------------------------------------------------

    async def changes(self) -> AsyncIterator[frozenset[int]]:
        loop = asyncio.get_running_loop()
        while True:
            with Netlink(groups=GROUP_LINK) as watcher:
                watcher.socket.setblocking(False)
                yield frozenset()
                while True:
                    try:
                        datagram = await loop.sock_recv(watcher.socket, 1 << 17)
                    except OSError as error:
                        if error.errno != errno.ENOBUFS:
                            raise
                        break
                    found = frozenset(
                        struct.unpack_from("=i", message, 20)[0]
                        for kind, _, _, message in each_message(datagram)
                        if kind in (RTM_NEWLINK, RTM_DELLINK)
                    )
                    if found:
                        yield found

    async def links(self, lab: str = "") -> list[Link]:
        return _marked(await self._own(self._dump), lab)

    async def remove(self, lab: str) -> list[Link]:
        return await self._own(partial(self._remove, lab))

    def _remove(self, lab: str) -> list[Link]:
        everything = self._dump()
        found = _marked(everything, lab)
        mine = {link.index for link in found}
        for group in {link.group for link in found if link.group}:
            if all(link.index in mine for link in everything if link.group == group):
                self._host.transact([messages.delete_group(group)])
        for link in _marked(self._dump(), lab):
            self._delete(link.index)
        return found

    def _dump(self) -> list[LinkInfo]:
        return [read_link(message) for message in self._host.dump(messages.dump_links())]

    def close(self) -> None:
        self._owner.shutdown(wait=True)
        self._hopper.close()
        self._closer.shutdown(wait=False)
        self._host.close()

    async def _own(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._owner, work)

    def _close_later(self, close: Callable[[], None]) -> None:
        self._closer.submit(close)


def _owner(link: LinkInfo) -> str:
    return next((lab for altname in link.altnames if (lab := names.owner(link.name, altname))), "")


def _marked(links: Sequence[LinkInfo], lab: str) -> list[Link]:
    found = []
    for link in links:
        for altname in link.altnames:
            owner = names.owner(link.name, altname)
            if owner and owner == (lab or owner):
                found.append(
                    Link(link.name, altname, owner, link.index, link.group, link.master, link.up, link.carrier)
                )
    return found


def _choose_group(lab: str, links: Collection[LinkInfo]) -> int:

    for group in names.groups(lab):
        if all(_owner(link) == lab for link in links if link.group == group):
            return group
    raise WireError("No link group is free for the lab: strangers use all that its name leads to.")


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
