"""Where endpoints may be, with the original's sentences."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kinds.endpoint_slice import ENDPOINT_SLICE
from k8slab.kube.api.kinds.service import ENDPOINTS

LINK_LOCAL = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"


def problems(kind: str, *addresses: str, old: Any = None, **more: Any) -> list[str]:
    made: Any = {"metadata": {"name": "a"}, "addressType": kind, "endpoints": [{"addresses": [*addresses]}], **more}
    ENDPOINT_SLICE.default(made)
    return [str(one).removeprefix("endpoints[0].addresses") for one in ENDPOINT_SLICE.validate(made, old)]


@pytest.mark.parametrize(
    ("kind", "address", "found"),
    [
        ("IPv4", "10.1.2.3", []),
        ("IPv6", "2001:db8::1", []),
        ("FQDN", "db.example.com.", []),
        ("IPv4", "2001:db8::1", ['[0]: Invalid value: "2001:db8::1": must be a valid IPv4 address']),
        ("IPv6", "10.1.2.3", ['[0]: Invalid value: "10.1.2.3": must be a valid IPv6 address']),
        ("IPv6", "::ffff:10.1.2.3", ['[0]: Invalid value: "::ffff:10.1.2.3": must be a valid IPv6 address']),
        ("IPv4", "169.254.0.9", [f'[0]: Invalid value: "169.254.0.9": {LINK_LOCAL}']),
        ("IPv6", "fe80::1", [f'[0]: Invalid value: "fe80::1": {LINK_LOCAL}']),
        ("IPv4", "0.0.0.0", ['[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0 or ::)']),
        (
            "IPv6",
            "fe80::1%eth0",
            [
                '[0]: Invalid value: "fe80::1%eth0": must be a valid IPv6 address',
                '[0]: Invalid value: "fe80::1%eth0": must be a valid IP address',
            ],
        ),
        (
            "FQDN",
            "localhost",
            ['[0]: Invalid value: "localhost": should be a domain with at least two segments separated by dots'],
        ),
    ],
)
def test_addresses_are_of_the_slice_s_type(kind: str, address: str, found: list[str]) -> None:
    assert problems(kind, address) == found


def test_a_slice_is_within_its_bounds() -> None:
    (why,) = problems("IPv4", *["10.0.0.1"] * 101)
    assert why == ": Too many: 101: must have at most 100 items"
    (why,) = problems("IPv4", "10.0.0.1", endpoints=[{}] * 1001)
    assert why == "endpoints: Too many: 1001: must have at most 1000 items"
    (why,) = problems("", "10.0.0.1")
    assert why == "addressType: Required value"
    (why,) = problems("IPv6", "2001:db8::1", old={"addressType": "IPv4"})
    assert why == 'addressType: Invalid value: "IPv6": field is immutable'


def test_ports_of_a_slice_have_names_of_labels() -> None:
    assert problems("IPv4", "10.0.0.1", ports=[{"port": 80}, {"name": "a", "appProtocol": "kubernetes.io/h2c"}]) == []
    found = problems("IPv4", "10.0.0.1", ports=[{"name": "A_b"}, {"name": "x"}, {"name": "x", "protocol": "ICMP"}])
    assert [one.partition(": ")[0] for one in found] == ["ports[0].name", "ports[2].name", "ports[2].protocol"]


def test_endpoints_can_be_reached() -> None:
    def of(**address: Any) -> list[str]:
        made: Any = {"metadata": {"name": "a"}, "subsets": [{"addresses": [address], "ports": [{"port": 80}]}]}
        ENDPOINTS.default(made)
        return [str(one) for one in ENDPOINTS.validate(made, None)]

    assert of(ip="10.0.0.1", hostname="web-0", nodeName="minion-1.lab") == []
    assert of(ip="fe80::2") == [f'subsets[0].addresses[0].ip: Invalid value: "fe80::2": {LINK_LOCAL}']
    (why,) = of(ip="10.0.0.1", hostname="web.0")
    assert why.startswith('subsets[0].addresses[0].hostname: Invalid value: "web.0": a lowercase RFC 1123 label')
