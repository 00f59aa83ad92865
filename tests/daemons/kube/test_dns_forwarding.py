"""Questions that are not the cluster's: whom `km dns` asks, and what becomes of those that nobody answers."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api
from tests.daemons.kube.dns_server import DOMAIN, becomes, service, start
from tests.daemons.processes import Supervisor, eventually, free_port


@dataclass
class Upstream:
    """A name server of this test's, on loopback: what it is asked, it answers with its own address."""

    port: int
    asked: list[str] = field(default_factory=list)
    silent: bool = False

    def answer(self, wire: bytes) -> bytes:
        query = dns.message.from_wire(wire)
        name = str(query.question[0].name)
        self.asked.append(name)
        response = dns.message.make_response(query, recursion_available=True)
        if name.startswith("nobody."):
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif query.question[0].rdtype == dns.rdatatype.A:
            addresses = [f"192.0.2.{one}" for one in range(60 if name.startswith("many.") else 1)]
            response.answer.append(dns.rrset.from_text_list(name, 60, "IN", "A", addresses))
        return response.to_wire()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        wire = self.upstream.answer(data)
        if self.upstream.silent:
            return
        if len(wire) > 512:
            cut = dns.message.make_response(dns.message.from_wire(data))
            cut.flags |= dns.flags.TC
            wire = cut.to_wire()
        # Somebody else's words come first, and must not be taken for the answer.
        self.transport.sendto(bytes([data[0] ^ 1]) + wire[1:], addr)
        self.transport.sendto(wire, addr)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    one = Upstream(free_port())

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        wire = one.answer(await reader.readexactly(length))
        writer.write(struct.pack("!H", len(wire)) + wire)
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(one), local_addr=("127.0.0.1", one.port))
    listening = await asyncio.start_server(stream, "127.0.0.1", one.port)
    yield one
    transport.close()
    listening.close()


async def test_other_names_are_passed_on(
    supervisor: Supervisor, api: Api, client: KubeClient, namespace: str, upstream: Upstream
) -> None:
    nobody = free_port()
    both = f"127.0.0.1:{nobody},127.0.0.1:{upstream.port}"
    one = start(supervisor, api.url, f"--nameservers={both}")
    assert await one.records("example.org") == ["192.0.2.0"]
    assert await one.records("example.org", tcp=True) == ["192.0.2.0"]
    assert await one.records("nobody.example.org") == ["NXDOMAIN"]
    assert (await one.ask("many.example.org")).flags & dns.flags.TC
    assert len(await one.records("many.example.org", tcp=True)) == 60
    # The cluster's own are nobody else's business.
    assert await one.records(f"nobody.default.svc.{DOMAIN}") == ["NXDOMAIN"]
    assert not [name for name in upstream.asked if DOMAIN in name]

    alias = service("out", type="ExternalName", externalName="www.example.org")
    await client.create("services", alias, namespace)
    name = f"out.{namespace}.svc.{DOMAIN}"
    await becomes(one, name, ["192.0.2.0", "www.example.org."])
    await client.patch("services", "out", {"spec": {"externalName": "nobody.example.org"}}, namespace)
    await becomes(one, name, ["nobody.example.org."])
    assert dns.rcode.to_text((await one.ask(name)).rcode()) == "NXDOMAIN"


async def test_a_silent_server_costs_an_answer_and_holds_up_nobody(
    supervisor: Supervisor, api: Api, upstream: Upstream
) -> None:
    upstream.silent = True
    one = start(supervisor, api.url, f"--nameservers=127.0.0.1:{upstream.port}")
    many = [asyncio.create_task(one.records(f"host-{number}.example.org")) for number in range(50)]
    same = [asyncio.create_task(one.records("same.example.org", id=7)) for _ in range(50)]
    began = time.monotonic()
    assert await one.records(f"kubernetes.default.svc.{DOMAIN}") == ["10.0.0.1"]
    assert time.monotonic() - began < 1
    assert {tuple(said) for said in await asyncio.gather(*many, *same)} == {("SERVFAIL",)}
    assert upstream.asked.count("same.example.org.") == 1
    upstream.silent = False
    assert await one.records("host-1.example.org") == ["192.0.2.0"]


async def test_it_never_asks_itself(supervisor: Supervisor, api: Api) -> None:
    """Neither straight, nor through another one that asks it."""
    port, other = free_port(), free_port()
    one = start(supervisor, api.url, f"--dns-port={port}", f"--nameservers=127.0.0.1:{port}")
    one.port = port
    assert await one.records("example.org") == ["REFUSED"]
    one.daemon.stop()
    first = start(supervisor, api.url, f"--dns-port={port}", f"--nameservers=127.0.0.1:{other}")
    start(supervisor, api.url, f"--dns-port={other}", f"--nameservers=127.0.0.1:{port}")
    first.port = port
    assert await first.records("example.org") == ["SERVFAIL"]
    text = first.get("/metrics")[1]
    (asked,) = [line for line in text.splitlines() if line.startswith("coredns_forward_requests_total")]
    assert float(asked.split()[1]) <= 4


async def test_the_nodes_own_servers_are_read_again_when_they_change(
    supervisor: Supervisor, api: Api, tmp_path: Path
) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# nobody\nsearch example.org\n")
    one = start(supervisor, api.url, f"--resolv-conf={file}")
    assert await one.records("example.org") == ["REFUSED"]
    # Of the documentation's range: nobody is there, and nothing is refused any more.
    file.write_text("nameserver nonsense\nnameserver 192.0.2.53\n")

    async def asks() -> bool:
        return await one.records("example.org") == ["SERVFAIL"]

    await eventually(asks, timeout=30, interval=0.5, what="the new server is asked")
