"""The text for `iptables-restore`: what is in it, in which order, and what of others it leaves alone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from k8slab.kube.proxy import chains, rules
from k8slab.kube.proxy.rules import LocalTraffic, Settings
from k8slab.kube.proxy.services import Endpoint, ServicePort

EMPTY = chains.parse("")
NEAR, FAR = Endpoint("10.1.0.2", 8080, local=True), Endpoint("10.1.1.2", 8080)


def port(*endpoints: Endpoint, **more: Any) -> ServicePort:
    return ServicePort("default/web", "tcp", "10.0.0.7", 80, endpoints=endpoints, **more)


def table(text: str, name: str) -> list[str]:
    return text[text.index(f"*{name}\n") :].split("COMMIT\n")[0].splitlines()


def chain(text: str, name: str, of: str = "nat") -> list[str]:
    """The rules of a chain without their comments."""
    words = [line.removeprefix(f"-A {name} ") for line in table(text, of) if line.startswith(f"-A {name} ")]
    return [re.sub(r'-m comment --comment "[^"]*" ?', "", one) for one in words]


SVC, SVL = chains.cluster_policy("default/web", "tcp"), chains.local_policy("default/web", "tcp")
EXT, FW = chains.external("default/web", "tcp"), chains.firewall("default/web", "tcp")
TO = "-m tcp -p tcp -d 10.0.0.7/32 --dport 80"


def sep(endpoint: Endpoint) -> str:
    return chains.endpoint("default/web", "tcp", str(endpoint))


@pytest.mark.parametrize(
    ("name", "protocol", "expected"),
    [
        ("default/kubernetes:https", "tcp", "KUBE-SVC-NPX46M4PTMTKRN6Y"),
        ("kube-system/kube-dns:dns", "udp", "KUBE-SVC-TCOU7JCQXEZGVUNU"),
        ("kube-system/kube-dns:dns-tcp", "tcp", "KUBE-SVC-ERIFXISQEP7F7OF4"),
    ],
)
def test_chains_are_called_as_on_any_other_cluster(name: str, protocol: str, expected: str) -> None:
    assert chains.cluster_policy(name, protocol) == expected


def test_one_of_several_endpoints_is_chosen_by_chance() -> None:
    third = Endpoint("10.1.2.2", 8080)
    text = rules.text([port(NEAR, FAR, third)], EMPTY, Settings())
    assert f"{TO} -j {SVC}" in chain(text, chains.SERVICES)
    assert chain(text, SVC) == [
        f"-m statistic --mode random --probability 0.3333333333 -j {sep(NEAR)}",
        f"-m statistic --mode random --probability 0.5000000000 -j {sep(FAR)}",
        f"-j {sep(third)}",
    ]
    assert chain(text, sep(NEAR)) == [
        f"-s 10.1.0.2/32 -j {chains.MARK_MASQUERADE}",
        "-m tcp -p tcp -j DNAT --to-destination 10.1.0.2:8080",
    ]
    assert 'comment "default/web -> 10.1.0.2:8080"' in text


def test_a_client_keeps_its_endpoint() -> None:
    text = rules.text([port(NEAR, FAR, affinity=600)], EMPTY, Settings())
    assert chain(text, SVC)[:2] == [
        f"-m recent --name {sep(one)} --rcheck --seconds 600 --reap -j {sep(one)}" for one in (NEAR, FAR)
    ]
    assert f"-m recent --name {sep(FAR)} --set -m tcp -p tcp -j DNAT --to-destination 10.1.1.2:8080" in chain(
        text, sep(FAR)
    )


def test_without_endpoints_it_is_refused_and_nothing_else() -> None:
    text = rules.text([port(node_port=30080, external_addresses=("192.0.2.1",))], EMPTY, Settings())
    assert chain(text, chains.SERVICES, "filter") == [f"{TO} -j REJECT"]
    assert chain(text, chains.EXTERNAL_SERVICES, "filter") == [
        "-m tcp -p tcp -d 192.0.2.1/32 --dport 80 -j REJECT",
        "-m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j REJECT",
    ]
    assert "default/web" not in "\n".join(table(text, "nat"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), []),
        (Settings(masquerade_all=True), [f"{TO} -j {chains.MARK_MASQUERADE}"]),
        (
            Settings(local=LocalTraffic("-s 10.1.0.0/16", "! -s 10.1.0.0/16")),
            [f"{TO} ! -s 10.1.0.0/16 -j {chains.MARK_MASQUERADE}"],
        ),
    ],
)
def test_who_takes_the_nodes_address(settings: Settings, expected: list[str]) -> None:
    assert chain(rules.text([port(FAR)], EMPTY, settings), SVC) == [*expected, f"-j {sep(FAR)}"]


def test_a_bridge_that_the_rules_do_not_see() -> None:
    text = rules.text([port(NEAR, FAR)], EMPTY, Settings(unfiltered_bridge="docker0"))
    assert f"-i docker0 -j {chains.MARK_MASQUERADE}" in chain(text, sep(NEAR))
    assert f"-i docker0 -j {chains.MARK_MASQUERADE}" not in chain(text, sep(FAR))


def test_from_outside() -> None:
    text = rules.text([port(FAR, node_port=30080, external_addresses=("192.0.2.1",))], EMPTY, Settings())
    assert chain(text, chains.NODE_PORTS) == [f"-m tcp -p tcp --dport 30080 -j {EXT}"]
    assert chain(text, EXT) == [f"-j {chains.MARK_MASQUERADE}", f"-j {SVC}"]
    assert chain(text, chains.SERVICES)[1] == f"-m tcp -p tcp -d 192.0.2.1/32 --dport 80 -j {EXT}"
    assert chain(text, chains.SERVICES)[-1] == f"-m addrtype --dst-type LOCAL -j {chains.NODE_PORTS}"


def test_from_outside_to_local_endpoints_only() -> None:
    settings = Settings(local=LocalTraffic("-s 10.1.0.0/16", "! -s 10.1.0.0/16"))
    both = rules.text([port(NEAR, FAR, node_port=30080, external_local=True)], EMPTY, settings)
    assert chain(both, EXT) == [
        f"-s 10.1.0.0/16 -j {SVC}",
        f"-m addrtype --src-type LOCAL -j {chains.MARK_MASQUERADE}",
        f"-m addrtype --src-type LOCAL -j {SVC}",
        f"-j {SVL}",
    ]
    assert chain(both, SVL) == [f"-j {sep(NEAR)}"]
    assert chain(both, chains.EXTERNAL_SERVICES, "filter") == []
    none = rules.text([port(FAR, node_port=30080, external_local=True)], EMPTY, settings)
    assert SVL not in none
    assert chain(none, chains.EXTERNAL_SERVICES, "filter") == [
        "-m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30080 -j DROP"
    ]


def test_from_inside_to_local_endpoints_only() -> None:
    text = rules.text([port(NEAR, FAR, internal_local=True)], EMPTY, Settings())
    assert f"{TO} -j {SVL}" in chain(text, chains.SERVICES)
    assert SVC not in text
    none = rules.text([port(FAR, internal_local=True)], EMPTY, Settings())
    assert chain(none, chains.SERVICES, "filter") == [f"{TO} -j DROP"]


def test_a_load_balancer_lets_its_ranges_through() -> None:
    one = port(FAR, load_balancers=("192.0.2.9",), source_ranges=("192.0.2.0/24",))
    text = rules.text([one], EMPTY, Settings())
    to = "-m tcp -p tcp -d 192.0.2.9/32 --dport 80"
    assert f"{to} -j {FW}" in chain(text, chains.SERVICES)
    assert chain(text, FW) == [f"-s 192.0.2.0/24 -j {EXT}"]
    assert chain(text, chains.FIREWALL, "filter") == [f"{to} -j DROP"]
    free = rules.text([replace(one, source_ranges=())], EMPTY, Settings())
    assert f"{to} -j {EXT}" in chain(free, chains.SERVICES)


def test_node_ports_where_they_are_served() -> None:
    text = rules.text([], EMPTY, Settings(localhost_node_ports=False))
    assert chain(text, chains.SERVICES) == [f"-m addrtype --dst-type LOCAL ! -d 127.0.0.0/8 -j {chains.NODE_PORTS}"]
    text = rules.text([], EMPTY, Settings(node_port_addresses=("192.0.2.0/24", "198.51.100.0/24")))
    assert chain(text, chains.SERVICES) == [
        f"-m addrtype --dst-type LOCAL -d {network} -j {chains.NODE_PORTS}"
        for network in ("192.0.2.0/24", "198.51.100.0/24")
    ]


def test_every_chain_is_declared_before_it_is_named() -> None:
    ports = [
        port(NEAR, FAR, node_port=30080, external_local=True, affinity=1, load_balancers=("192.0.2.9",)),
        replace(port(FAR, internal_local=True, node_port=30081), name="default/other"),
        replace(port(NEAR, external_addresses=("192.0.2.1",)), name="default/third"),
    ]
    text = rules.text(ports, EMPTY, Settings(local=LocalTraffic("-i br0", "! -i br0")))
    for name in chains.FIXED:
        lines = table(text, name)
        declared = {line.split()[0][1:] for line in lines if line.startswith(":")}
        named = {target for line in lines for target in re.findall(r"(?:-j|-A) (KUBE-\S+)", line)}
        assert named <= declared


SAVED = f"""\
# Generated
*nat
:PREROUTING ACCEPT [1:2]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:{SVC} - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-OF-SOMEBODY-ELSE - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A KUBE-SERVICES -j {SVC}
COMMIT
"""


def test_what_is_there_is_not_put_there_again_and_what_is_stale_goes() -> None:
    text = rules.text([port(FAR)], chains.parse(SAVED), Settings())
    nat = table(text, "nat")
    assert not [line for line in nat if line.startswith("-I PREROUTING")]
    assert '-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES' in nat
    assert ":KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]" in nat
    assert [line for line in nat if line.startswith("-X")] == ["-X KUBE-SEP-AAAAAAAAAAAAAAAA"]
    assert "DOCKER" not in text
    assert "SOMEBODY" not in text


def test_a_cleanup_takes_its_own_alone() -> None:
    assert rules.cleanup(chains.parse(SAVED)).splitlines() == [
        "*nat",
        ":KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]",
        ":KUBE-SERVICES - [0:0]",
        f":{SVC} - [0:0]",
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-X KUBE-SEP-AAAAAAAAAAAAAAAA",
        "-X KUBE-SERVICES",
        f"-X {SVC}",
        "COMMIT",
    ]
    assert rules.cleanup(EMPTY) == ""
