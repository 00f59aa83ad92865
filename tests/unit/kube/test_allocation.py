"""Which addresses of the range services get that ask for none."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from k8slab.kube.api.allocation import ADDRESSES, PORTS, RANDOM_TRIES, Allocator
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.storage.base import Write
from k8slab.kube.api.storage.memory import MemoryStorage


def service() -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"type": "ClusterIP", "ports": []}}


async def given(network: str, *, taken: int = 0, attempt: int = 1) -> str:
    """The address of a service when ``taken`` others have the last ones of the range."""
    storage, whole = MemoryStorage(), IPv4Network(network)
    held = [str(whole[-2 - one]) for one in range(taken)]
    await storage.commit((), [Write(ADDRESSES + one, b"{}") for one in held])
    wanted = service()
    await Allocator(storage, whole).claims(wanted, None, attempt=attempt)
    assert wanted["spec"]["clusterIP"] not in held or attempt <= RANDOM_TRIES
    return str(wanted["spec"]["clusterIP"])


@pytest.mark.parametrize(
    ("network", "first"),
    [
        ("10.0.0.0/24", "10.0.0.17"),
        ("10.0.0.0/20", "10.0.1.1"),
        ("10.0.0.0/16", "10.0.1.1"),
        ("10.0.0.0/27", "10.0.0.17"),
        ("10.0.0.0/28", "10.0.0.2"),
        ("10.0.0.0/29", "10.0.0.2"),
    ],
)
@pytest.mark.parametrize("attempt", [1, RANDOM_TRIES + 1])
async def test_the_beginning_of_the_range_is_left_to_those_who_ask_for_it(
    network: str, first: str, attempt: int
) -> None:
    found = {IPv4Address(await given(network, attempt=attempt)) for _ in range(200)}
    assert min(found) >= IPv4Address(first)
    assert max(found) <= IPv4Network(network)[-2]
    if len(found) < 50:
        assert min(found) == IPv4Address(first)


async def test_the_beginning_is_given_away_when_nothing_else_is_left() -> None:
    last = RANDOM_TRIES + 1
    assert await given("10.0.0.0/24", taken=237, attempt=last) == "10.0.0.17"
    assert await given("10.0.0.0/24", taken=238 + 14, attempt=last) == "10.0.0.2"
    with pytest.raises(ApiFailure, match="range is full"):
        await given("10.0.0.0/24", taken=253, attempt=last)


async def node_ports(*ports: dict[str, Any]) -> tuple[list[int], list[str]]:
    """The numbers that a service's ports get, and the keys that they are claimed by."""
    wanted = service()
    wanted["spec"].update(type="NodePort", ports=[{"protocol": "TCP", **port} for port in ports])
    claims = await Allocator(MemoryStorage(), IPv4Network("10.0.0.0/24")).claims(wanted, None, attempt=1)
    keys = [write.key for write in claims.writes if write.key.startswith(PORTS)]
    return [port["nodePort"] for port in wanted["spec"]["ports"]], keys


@pytest.mark.parametrize("asked", [{}, {"nodePort": 30053}])
async def test_both_protocols_of_a_port_have_one_node_port(asked: dict[str, int]) -> None:
    for first, second in ((asked, asked), (asked, {}), ({}, asked)):
        (one, other), keys = await node_ports({"port": 53, **first}, {"port": 53, "protocol": "UDP", **second})
        assert one == other
        assert keys == [f"{PORTS}{one}"]


async def test_ports_of_one_protocol_have_node_ports_of_their_own() -> None:
    numbers, keys = await node_ports({"port": 53}, {"port": 54}, {"port": 55, "nodePort": 30055})
    assert len(set(numbers)) == 3
    assert keys == [f"{PORTS}{number}" for number in numbers]
