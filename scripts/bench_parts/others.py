"""The same eleven machines without k8slab: docker-compose, and docker run with pipework's ip lines."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MACHINES = 11
IMAGE = "k8slab/base"
COMPOSE_SUBNET = "10.231.0.0/16"
PIPEWORK_SUBNET = "10.232"
BRIDGE = "benchbr0"
FOLDER = Path(tempfile.gettempdir()) / "k8slab-bench-compose"


@dataclass(frozen=True)
class Waits:
    without_arp: float
    with_arp: float


def compose_up() -> None:
    services = {
        f"sleeper-{i}": {
            "image": IMAGE,
            "command": ["sleep", "infinity"],
            "hostname": f"sleeper-{i}",
            "stop_signal": "SIGKILL",
            "networks": {"lab": {"ipv4_address": f"10.231.1.{i + 1}"}},
        }
        for i in range(MACHINES)
    }
    networks = {"lab": {"ipam": {"config": [{"subnet": COMPOSE_SUBNET}]}}}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "docker-compose.yml").write_text(json.dumps({"version": "3", "services": services, "networks": networks}))
    _quietly("docker-compose", "--project-directory", str(FOLDER), "-f", str(FOLDER / "docker-compose.yml"), "up", "-d")


def compose_down() -> None:
    file = FOLDER / "docker-compose.yml"
    if file.exists():
        _quietly("docker-compose", "--project-directory", str(FOLDER), "-f", str(file), "down", "--volumes")
        file.unlink()


def pipework_up() -> Waits:
    """Each command in pipework's order, one machine after the other. The gratuitous ARPs are timed apart."""
    begin = time.monotonic()
    arp = 0.0
    for i in range(MACHINES):
        name = f"bench-pipework-{i}"
        _quietly("docker", "run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "infinity")
        pid = _output("docker", "inspect", "--format", "{{.State.Pid}}", name)
        link = Path("/var/run/netns") / pid
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/proc/{pid}/ns/net")
        if i == 0:
            _quietly("ip", "link", "add", "dev", BRIDGE, "type", "bridge")
            _quietly("ip", "link", "set", BRIDGE, "up")
        here, there = f"veth1pl{pid}"[:15], f"veth1pg{pid}"[:15]
        _quietly("ip", "link", "add", "name", here, "mtu", "1500", "type", "veth", "peer", "name", there, "mtu", "1500")
        _quietly("ip", "link", "set", here, "master", BRIDGE)
        _quietly("ip", "link", "set", here, "up")
        _quietly("ip", "link", "set", there, "netns", pid)
        inside = ("ip", "netns", "exec", pid)
        _quietly(*inside, "ip", "link", "set", there, "name", "eth1")
        _quietly(*inside, "ip", "-4", "addr", "add", f"{PIPEWORK_SUBNET}.1.{i + 1}/16", "dev", "eth1")
        _quietly(*inside, "ip", "-4", "link", "set", "eth1", "up")
        asked = time.monotonic()
        subprocess.run(
            [*inside, "arping", "-c", "1", "-A", "-I", "eth1", f"{PIPEWORK_SUBNET}.1.{i + 1}"], capture_output=True
        )
        arp += time.monotonic() - asked
        link.unlink()
    total = time.monotonic() - begin
    return Waits(total - arp, total)


def pipework_down() -> None:
    names = [f"bench-pipework-{i}" for i in range(MACHINES)]
    subprocess.run(["docker", "rm", "-f", *names], capture_output=True)
    subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)


def _quietly(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
