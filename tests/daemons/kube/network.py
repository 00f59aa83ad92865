"""A minion's network without a minion: a node with a bridge and two pods on it, and a machine outside.

    outside 192.168.77.2 ── 192.168.77.1 node 10.88.0.1 ─┬─ pod-a 10.88.0.2
                                                         └─ pod-b 10.88.0.3

Each is a network namespace of its own, held by a process, all below one user namespace: it needs no rights, it changes
nothing of this machine's, and it is gone when its processes are.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.daemons.processes import Daemon, Supervisor

NODE, OUTSIDE = "192.168.77.1", "192.168.77.2"
BRIDGE, POD_A, POD_B = "10.88.0.1", "10.88.0.2", "10.88.0.3"
SERVICES, PODS = "10.0.0.0/16", "10.88.0.0/24"

_HOLD = "echo; exec sleep infinity"
_NODE = f"""
set -e
ip link set lo up
ip link add eth0 type veth peer name eth0 netns {{outside}}
ip addr add {NODE}/24 dev eth0
ip link set eth0 up
ip route add {SERVICES} dev eth0
ip link add pods0 type bridge
ip addr add {BRIDGE}/24 dev pods0
ip link set pods0 up
for pod in {{pod-a}} {{pod-b}}; do
    ip link add veth$pod type veth peer name eth0 netns $pod
    ip link set veth$pod master pods0 up
done
echo 1 > /proc/sys/net/ipv4/ip_forward
"""
_FAR = """
set -e
ip link set lo up
ip addr add {address}/24 dev eth0
ip link set eth0 up
ip route add default via {gateway}
"""
# Says its name and who asked, to whoever connects (TCP) or sends anything (UDP).
_SERVER = """
import os, selectors, socket, sys
name, *ports = sys.argv[1:]
waiting = selectors.DefaultSelector()
for port in map(int, ports):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        made = socket.socket(socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            made.listen(50)
        waiting.register(made, selectors.EVENT_READ)
os.write(int(os.environ["READY_FD"]), b"\\n")
while True:
    for key, _ in waiting.select():
        if key.fileobj.type == socket.SOCK_STREAM:
            connection, peer = key.fileobj.accept()
            connection.sendall(f"{name} {peer[0]}\\n".encode())
            connection.shutdown(socket.SHUT_WR)
            connection.close()
        else:
            _, peer = key.fileobj.recvfrom(100)
            key.fileobj.sendto(f"{name} {peer[0]}\\n".encode(), peer)
"""
_CLIENT = """
import socket, sys
kind, host, port, times = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for _ in range(times):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as made:
        if sys.argv[6] != "0":
            made.bind(("0.0.0.0", int(sys.argv[6])))
        made.settimeout(float(sys.argv[5]))
        try:
            made.connect((host, port))
            if kind == "udp":
                made.send(b"?")
            print(made.recv(100).decode().strip())
        except OSError as trouble:
            print(type(trouble).__name__)
"""


class Network:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._holders: dict[str, int] = {}
        node = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", _HOLD]
        self._holders["node"] = self._held("node", node)
        for name in ("outside", "pod-a", "pod-b"):
            self._holders[name] = self._held(name, self.inside("node", "unshare", "--net", "sh", "-c", _HOLD))
        self.shell("node", _NODE.format(**self._holders))
        self.shell("outside", _FAR.format(address=OUTSIDE, gateway=NODE))
        for name, address in (("pod-a", POD_A), ("pod-b", POD_B)):
            self.shell(name, _FAR.format(address=address, gateway=BRIDGE))

    def _held(self, name: str, argv: Sequence[str]) -> int:
        """The process that holds a namespace. The namespace is there as soon as its shell says something."""
        daemon = self._supervisor.daemon(f"namespace-{name}", argv)
        daemon.ready = lambda: daemon.log.exists() and bool(daemon.log.read_bytes())
        return daemon.start().pid

    def inside(self, name: str, *argv: str) -> list[str]:
        """The command line that runs ``argv`` in one of the namespaces."""
        return ["nsenter", "--target", str(self._holders[name]), "--user", "--net", *argv]

    def run(
        self, name: str, *argv: str, stdin: str = "", env: Mapping[str, str] | None = None, check: bool = True
    ) -> str:
        done = subprocess.run(
            self.inside(name, *argv),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **(env or {})},
        )
        assert done.returncode == 0 or not check, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, name: str, script: str) -> str:
        return self.run(name, "sh", "-c", script)

    def daemon(self, where: str, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Daemon:
        return self._supervisor.daemon(name, self.inside(where, *argv), env=env)

    def serve(self, where: str, *ports: int) -> Daemon:
        argv = ["/usr/bin/env", "python3", "-c", _SERVER, where, *map(str, ports)]
        return self.daemon(where, f"server-{where}", argv).start()

    def ask(
        self,
        where: str,
        host: str,
        port: int,
        *,
        times: int = 1,
        kind: str = "tcp",
        seconds: float = 5.0,
        source: int = 0,
    ) -> list[str]:
        """ "SERVER CLIENT-ADDRESS" for each connection, or the name of the error that it met. ``source``: the port from
        which each is made, 0 for any."""
        argv = ["python3", "-c", _CLIENT, kind, host, str(port), str(times), str(seconds), str(source)]
        return self.run(where, *argv).splitlines()

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, port: int = 8080) -> dict[str, Any]:
        """A request to the API server of the node; fails the test when that refuses."""
        words = ["curl", "-sS", "-X", method, f"http://127.0.0.1:{port}{urllib.parse.quote(path, safe='/?=&')}"]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
        answer = json.loads(self.run("node", *words, stdin=json.dumps(body) if body is not None else ""))
        assert answer.get("kind") != "Status" or answer.get("status") == "Success", answer
        return dict(answer)


def legacy_programs(folder: Path) -> str:
    """A PATH on which iptables' programs are those of the older backend; empty where this machine has none."""
    multi = Path("/usr/sbin/xtables-legacy-multi")
    if not multi.exists():
        return ""
    folder.mkdir()
    for name in ("iptables", "iptables-save", "iptables-restore"):
        (folder / name).symlink_to(multi)
    return f"{folder}:{os.environ['PATH']}"
