"""Where daemons serve: known to the probes, to clients, and to the templates of other daemons."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from k8slab.errors import InvalidTopology
from k8slab.lab.probes import truths
from k8slab.topology import store
from k8slab.topology.resolve import resolve
from k8slab.topology.resolved import Topology
from k8slab.topology.source import parse

PAIR = """\
name: pair
network: {subnet: 10.9.0.0/24}
nodes:
  web: {role: web, count: 2, first: 10.9.0.10}
  fan: {role: fan, address: 10.9.0.20}
roles:
  web: {image: base, daemons: [http]}
  fan: {image: base, daemons: [reader]}
daemons:
  http:
    port: PORT
    command: "serve --port={{ port }}"
  reader:
    command: "read {{ addresses('http') }} {{ addresses('http', 81) }} {{ urls('http') }}"
"""


def pair(port: str) -> Topology:
    return resolve(parse(PAIR.replace("PORT", port), "t.yaml"))


def test_a_daemons_port_is_in_its_own_command_and_in_those_of_others() -> None:
    topology = pair("8000")
    (web,) = topology.node("web-1").daemons
    assert (web.port, web.command) == (8000, "serve --port=8000")
    (reader,) = topology.node("fan").daemons
    assert reader.port == 0
    assert reader.command.split() == [
        "read",
        "10.9.0.10:8000,10.9.0.11:8000",
        "10.9.0.10:81,10.9.0.11:81",
        "http://10.9.0.10:8000,http://10.9.0.11:8000",
    ]
    assert topology.addresses("http") == ("10.9.0.10:8000", "10.9.0.11:8000")


def test_a_port_may_be_computed() -> None:
    assert pair("\"{{ 8000 + members('http') | length }}\"").addresses("http")[0] == "10.9.0.10:8002"


@pytest.mark.parametrize("port", ["-1", "65536", "'eighty'", "'²'", '"{{ port }}"', '"{{ 1 / 0 }}"'])
def test_what_is_no_port_is_named_with_its_line(port: str) -> None:
    with pytest.raises(InvalidTopology) as raised:
        pair(port)
    (problem,) = [one for one in raised.value.problems if "port" in one.what]
    assert problem.what.startswith("daemon http: its port ")
    assert problem.line == 11


def test_a_daemon_that_needs_the_urls_of_nobody_says_so() -> None:
    with pytest.raises(InvalidTopology) as raised:
        resolve(parse(PAIR.replace("PORT", "1").replace("urls('http')", "urls('etcd')"), "t.yaml"))
    assert "no node runs etcd" in str(raised.value.problems[0])


@contextmanager
def answering(answers: dict[str, object]) -> Iterator[tuple[str, int]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(self.path)).encode())

        def log_message(self, *_: object) -> None:
            """Tests have nobody to read it."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield "127.0.0.1", server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_daemons_are_asked_at_their_own_ports() -> None:
    with answering({"/healthz": "ok"}) as (host, port):
        topology = store.load(
            "k8s-mesos",
            settings=[
                "network.subnet=127.0.0.0/24",
                f"nodes={{kubernetes-mesos: {{role: one, address: {host}}}}}",
                "roles={one: {image: base, daemons: [scheduler]}}",
                f"daemons={{scheduler: {{command: x, port: {port}}}}}",
            ],
        )
        found = truths.truths(topology, list(topology.daemons))
    assert found["kubernetes-mesos/scheduler"]["healthy"] is True
