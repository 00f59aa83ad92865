"""`km dns` on loopback, and what it is asked about."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode

from k8slab.kube.client import Object
from tests.daemons.processes import Daemon, Supervisor, eventually, free_port

DOMAIN = "lab.local"
SERVICE_IP = "10.0.0.10"
NODE = "10.9.9.9"
# The first thing that pods ask must be true soon after it is.
SOON = 1.0


@dataclass
class Server:
    daemon: Daemon
    port: int
    http: str

    async def ask(self, name: str, kind: str = "A", *, tcp: bool = False, **more: Any) -> dns.message.Message:
        query = dns.message.make_query(name, kind, **more)
        ask = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await ask(query, "127.0.0.1", port=self.port, timeout=6)

    async def records(self, name: str, kind: str = "A", **more: Any) -> list[str]:
        """What is answered, sorted; for an answer without any, what is said instead."""
        response = await self.ask(name, kind, **more)
        said = [record.to_text() for rrset in response.answer for record in rrset]
        return sorted(said) or [dns.rcode.to_text(response.rcode())]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.http + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def start(supervisor: Supervisor, api: str, *flags: str, wait: bool = True) -> Server:
    port, http = free_port(), free_port()
    argv = [
        f"--master={api}",
        f"--domain={DOMAIN}.",
        "--dns-bind-address=127.0.0.1",
        f"--dns-port={port}",
        "--address=127.0.0.1",
        f"--healthz-port={http}",
        "--v=2",
        *flags,
    ]
    return Server(supervisor.km("dns", *argv).start(wait=wait), port, f"http://127.0.0.1:{http}")


def service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}], **spec}}


def endpoint_slice(owner: str, *members: Object) -> Object:
    return {
        "metadata": {"name": f"{owner}-1", "labels": {"kubernetes.io/service-name": owner}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": list(members),
    }


async def becomes(server: Server, name: str, expected: list[str], kind: str = "A") -> None:
    began = time.monotonic()

    async def there() -> bool:
        return await server.records(name, kind) == expected

    await eventually(there, timeout=SOON, interval=0.01, what=f"{name} is {expected}")
    assert time.monotonic() - began < SOON
