from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from k8slab.lab.switch.config import Config
from k8slab.lab.switch.firewall import Firewall, FirewallError
from k8slab.lab.switch.wire import Bridge

DOCKERS = """# made by iptables-save
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i wg0 -m comment --comment "not k8slab:demo" -j ACCEPT
COMMIT
"""
OURS = """-A FORWARD -i br0 -o br0 -m comment --comment "k8slab:demo" -j ACCEPT
"""
EMPTY = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
CONFIG = Config("demo", IPv4Network("10.9.0.0/24"), IPv4Address("10.9.0.1"), mtu=1500, egress=True)
HERMETIC = Config("demo", IPv4Network("10.9.0.0/24"), IPv4Address("10.9.0.1"), mtu=1500, egress=False)
BRIDGE = Bridge("br0", 5, "10.9.0.1", True, 7)


class Host:
    """The programs of a host by command line → output, and what was given to those that change things."""

    def __init__(self, outputs: dict[str, str]) -> None:
        self.outputs, self.given = outputs, []  # type: tuple[dict[str, str], list[tuple[str, str]]]

    def __call__(self, argv: Sequence[str], stdin: str = "") -> str:
        line = " ".join(argv)
        if argv[0].endswith("-save") or "list" in argv:
            if line not in self.outputs:
                raise FileNotFoundError(argv[0])
            return self.outputs[line]
        self.given.append((line, stdin))
        return ""


def proc(root: Path, *, legacy: str = "", call: str = "1") -> Path:
    for name, text in {"net/ip_tables_names": legacy, "sys/net/bridge/bridge-nf-call-iptables": call}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


async def test_the_rules_go_where_docker_has_its_own(tmp_path: Path) -> None:
    host = Host({"iptables-nft-save": EMPTY, "iptables-legacy-save": DOCKERS})
    await Firewall("demo", run=host, proc=proc(tmp_path, legacy="filter")).ensure(CONFIG, BRIDGE)
    assert [line for line, _ in host.given] == ["iptables-legacy-restore --noflush --wait 5"] * 2
    filters, translations = (text for _, text in host.given)
    assert filters.splitlines()[0] == "*filter"
    assert '-I FORWARD -i br0 -o br0 -m comment --comment "k8slab:demo" -j ACCEPT' in filters
    assert '-I FORWARD -i br0 ! -o br0 -m comment --comment "k8slab:demo" -j ACCEPT' in filters
    assert '-I POSTROUTING -s 10.9.0.0/24 ! -o br0 -m comment --comment "k8slab:demo" -j MASQUERADE' in translations


async def test_a_kernel_without_legacy_tables_is_not_given_any(tmp_path: Path) -> None:
    host = Host({"iptables-nft-save": DOCKERS})
    await Firewall("demo", run=host, proc=proc(tmp_path)).ensure(HERMETIC, BRIDGE)
    ((line, text),) = host.given
    assert line.startswith("iptables-nft-restore")
    assert text.count("-I ") == 1


async def test_what_is_there_is_not_put_in_twice(tmp_path: Path) -> None:
    host = Host({"iptables-nft-save": DOCKERS.replace("COMMIT\n", OURS + "COMMIT\n")})
    await Firewall("demo", run=host, proc=proc(tmp_path)).ensure(HERMETIC, BRIDGE)
    assert host.given == []


async def test_anothers_bridge_is_left_alone(tmp_path: Path) -> None:
    host = Host({"iptables-nft-save": DOCKERS})
    bridge = Bridge("docker0", 3, "10.9.0.1", False, 7)
    await Firewall("demo", run=host, proc=proc(tmp_path)).ensure(CONFIG, bridge)
    assert host.given == []


async def test_the_labs_rules_alone_are_removed(tmp_path: Path) -> None:
    other = OURS.replace("k8slab:demo", "k8slab:demo2")
    host = Host({"iptables-nft-save": DOCKERS.replace("COMMIT\n", OURS + other + "COMMIT\n")})
    removed = await Firewall("demo", run=host, proc=proc(tmp_path)).remove()
    ((_, text),) = host.given
    assert text.splitlines() == [
        "*filter",
        "-D FORWARD -i br0 -o br0 -m comment --comment k8slab:demo -j ACCEPT",
        "COMMIT",
    ]
    assert removed == [
        "iptables-nft -t filter -A FORWARD -i br0 -o br0 -m comment --comment k8slab:demo -j ACCEPT",
    ]


async def test_leftovers_of_any_lab_are_told_apart(tmp_path: Path) -> None:
    other = OURS.replace("k8slab:demo", "k8slab:demo2")
    host = Host({"iptables-nft-save": DOCKERS.replace("COMMIT\n", OURS + other + "COMMIT\n")})
    assert [lab for lab, _ in await Firewall("", run=host, proc=proc(tmp_path)).leftovers()] == ["demo", "demo2"]
    assert [lab for lab, _ in await Firewall("demo", run=host, proc=proc(tmp_path)).leftovers()] == ["demo"]


LIST = "nft --json --handle list chain ip docker-bridges filter-FORWARD"


def native(policy: str, *rules: dict[str, object]) -> str:
    chain = {"family": "ip", "table": "docker-bridges", "name": "filter-FORWARD", "policy": policy}
    return json.dumps({"nftables": [{"metainfo": {}}, {"chain": chain}, *({"rule": rule} for rule in rules)]})


async def test_dockers_own_nftables_that_drop_are_given_an_accept(tmp_path: Path) -> None:
    host = Host({"iptables-nft-save": "", LIST: native("drop")})
    await Firewall("demo", run=host, proc=proc(tmp_path)).ensure(CONFIG, BRIDGE)
    (_, accepts), (_, translation) = host.given
    assert accepts.splitlines() == [
        'insert rule ip docker-bridges filter-FORWARD iifname "br0" oifname "br0" accept comment "k8slab:demo"',
        'insert rule ip docker-bridges filter-FORWARD iifname "br0" oifname != "br0" accept comment "k8slab:demo"',
        "insert rule ip docker-bridges filter-FORWARD "
        'oifname "br0" ct state related,established accept comment "k8slab:demo"',
    ]
    assert 'ip saddr 10.9.0.0/24 oifname != "br0" masquerade comment "k8slab:demo"' in translation


async def test_dockers_own_nftables_that_let_strangers_pass_are_left_alone(tmp_path: Path) -> None:
    host = Host({"iptables-nft-save": "", LIST: native("accept")})
    await Firewall("demo", run=host, proc=proc(tmp_path)).ensure(HERMETIC, BRIDGE)
    assert host.given == []


async def test_what_is_in_nftables_is_found_and_removed(tmp_path: Path) -> None:
    rules = ({"handle": 8, "comment": "k8slab:demo"}, {"handle": 9}, {"handle": 10, "comment": "k8slab:other"})
    listings = {
        "iptables-nft-save": "",
        LIST: native("drop", *rules),
        "nft --json --handle list tables ip": json.dumps(
            {"nftables": [{"table": {"name": "k8slab-1"}}, {"table": {"name": "nat"}}]}
        ),
        "nft --json --handle list table ip k8slab-1": json.dumps({"nftables": [{"rule": {"comment": "k8slab:demo"}}]}),
    }
    host = Host(listings)
    firewall = Firewall("demo", run=host, proc=proc(tmp_path))
    await firewall.ensure(HERMETIC, BRIDGE)
    assert host.given == []
    removed = await firewall.remove()
    assert removed == ["nft rule ip docker-bridges filter-FORWARD handle 8", "nft table ip k8slab-1"]
    assert host.given == [
        ("nft -f -", "delete rule ip docker-bridges filter-FORWARD handle 8\ndelete table ip k8slab-1\n")
    ]


async def test_a_diagnosis_names_the_firewall_that_drops(tmp_path: Path) -> None:
    host = Host({"iptables-nft-save": DOCKERS})
    assert "iptables-nft" in await Firewall("demo", run=host, proc=proc(tmp_path)).diagnose(BRIDGE)
    assert await Firewall("demo", run=host, proc=proc(tmp_path, call="0")).diagnose(BRIDGE) == ""


async def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    def fail(argv: Sequence[str], stdin: str = "") -> str:
        raise FirewallError("iptables-nft-save failed: no")

    with pytest.raises(FirewallError, match="no"):
        await Firewall("demo", run=fail, proc=proc(tmp_path)).ensure(CONFIG, BRIDGE)
