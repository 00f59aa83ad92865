"""What is on this machine that a lab could have made: counted before and after, so that nothing is taken on trust."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Ground:
    """Names of everything of each kind, whoever made it."""

    containers: frozenset[str]
    volumes: frozenset[str]
    networks: frozenset[str]
    links: frozenset[str]
    alternative_names: frozenset[str]
    firewall_rules: frozenset[str]
    cgroups: frozenset[str]
    folders: frozenset[str]

    def beyond(self, before: Ground) -> dict[str, list[str]]:
        """What is here now and was not there ``before``, by kind."""
        found = {item.name: sorted(getattr(self, item.name) - getattr(before, item.name)) for item in fields(self)}
        return {kind: names for kind, names in found.items() if names}


def ground(state_home: Path) -> Ground:
    links = json.loads(_output("ip", "-j", "link"))
    rules = [line for tool in ("iptables-nft", "iptables-legacy") for line in _output(f"{tool}-save").splitlines()]
    return Ground(
        containers=frozenset(_output("docker", "ps", "-aq", "--no-trunc").split()),
        volumes=frozenset(_output("docker", "volume", "ls", "-q").split()),
        networks=frozenset(_output("docker", "network", "ls", "-q").split()),
        links=frozenset(link["ifname"] for link in links),
        alternative_names=frozenset(name for link in links for name in link.get("altnames", ())),
        firewall_rules=frozenset(line for line in rules if line.startswith("-A")),
        cgroups=frozenset(filter(is_of_a_container, map(str, Path("/sys/fs/cgroup").glob("**/")))),
        folders=frozenset(str(path) for path in (state_home / "k8slab").glob("*")),
    )


def is_of_a_container(cgroup: str) -> bool:
    """As the engine names them with either of its drivers: docker/ID, or docker-ID.scope."""
    return re.search(r"/docker[/-][0-9a-f]{64}", cgroup) is not None


def _output(*words: str) -> str:
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return ran.stdout if ran.returncode == 0 else ""
