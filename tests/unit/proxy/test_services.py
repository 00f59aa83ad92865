"""Which ports of which services a node has to forward, and to where."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.proxy.services import Endpoint, ServicePort, service_ports
from tests.unit.proxy.samples import endpoint_slice, endpoints, service


def only(services: list[Any], slices: list[Any] | None = None, listed: list[Any] | None = None) -> ServicePort:
    (found,) = service_ports(services, slices or [], listed or [], "here")
    return found


def addresses(port: ServicePort) -> list[str]:
    return [str(one) for one in port.cluster_endpoints]


def test_endpoints_serve_a_service_without_slices() -> None:
    found = only([service()], [], [endpoints("web", "10.1.0.3", "10.1.0.2", node="here")])
    assert (found.name, found.protocol, found.address, found.port) == ("default/web", "tcp", "10.0.0.7", 80)
    assert addresses(found) == ["10.1.0.2:8080", "10.1.0.3:8080"]
    assert found.local_endpoints == found.cluster_endpoints


def test_slices_are_taken_where_there_are_any() -> None:
    slices = [endpoint_slice("web", {"addresses": ["10.1.0.9"], "nodeName": "there"})]
    found = only([service()], slices, [endpoints("web", "10.1.0.2")])
    assert addresses(found) == ["10.1.0.9:8080"]
    assert found.local_endpoints == ()


def test_of_endpoints_those_that_are_not_ready_are_left_out() -> None:
    one = endpoints("web", "10.1.0.2")
    one["subsets"][0]["notReadyAddresses"] = [{"ip": "10.1.0.3"}]
    assert addresses(only([service()], [], [one])) == ["10.1.0.2:8080"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([{"ready": True}, {"ready": False}], ["10.1.0.1:8080"]),
        ([{}, {"ready": None}], ["10.1.0.1:8080", "10.1.0.2:8080"]),
        ([{"ready": False, "serving": True, "terminating": True}, {"ready": True}], ["10.1.0.2:8080"]),
        ([{"ready": False, "serving": True, "terminating": True}, {"ready": False}], ["10.1.0.1:8080"]),
        ([{"ready": False, "serving": False, "terminating": True}, {"ready": False}], []),
    ],
)
def test_conditions_of_slices(conditions: list[dict[str, Any]], expected: list[str]) -> None:
    members = [{"addresses": [f"10.1.0.{index + 1}"], "conditions": one} for index, one in enumerate(conditions)]
    assert addresses(only([service()], [endpoint_slice("web", *members)])) == expected


def test_an_endpoint_in_two_slices_counts_once() -> None:
    member = {"addresses": ["10.1.0.1"]}
    slices = [endpoint_slice("web", member, name="web-1"), endpoint_slice("web", member, name="web-2")]
    assert addresses(only([service()], slices)) == ["10.1.0.1:8080"]


def test_ports_are_joined_by_their_names() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    one = endpoints("web", "10.1.0.2")
    one["subsets"][0]["ports"] = [
        {"name": "dns", "port": 5353, "protocol": "UDP"},
        {"name": "http", "port": 8080, "protocol": "TCP"},
    ]
    dns, http = service_ports([service(ports=ports)], [], [one], "here")
    assert (dns.name, dns.protocol, addresses(dns)) == ("default/web:dns", "udp", ["10.1.0.2:5353"])
    assert (http.name, http.protocol, addresses(http)) == ("default/web:http", "tcp", ["10.1.0.2:8080"])


@pytest.mark.parametrize(
    "other",
    [
        service(address="None"),
        service(type="ExternalName", externalName="else.where", clusterIP=""),
        service(address="fd00::1"),
        {
            **service(),
            "metadata": {**service()["metadata"], "labels": {"service.kubernetes.io/service-proxy-name": "x"}},
        },
    ],
    ids=["headless", "external name", "of the other family", "of another proxy"],
)
def test_what_is_not_forwarded(other: dict[str, Any]) -> None:
    assert service_ports([other], [], [endpoints("web", "10.1.0.2")], "here") == []


def test_what_leads_to_it_from_outside() -> None:
    found = only(
        [
            {
                **service(
                    type="LoadBalancer",
                    ports=[{"port": 80, "nodePort": 30080}],
                    externalIPs=["192.0.2.1", "2001:db8::1"],
                    externalTrafficPolicy="Local",
                    sessionAffinity="ClientIP",
                    loadBalancerSourceRanges=["192.0.2.0/24"],
                ),
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "lb"}]}},
            }
        ]
    )
    assert (found.node_port, found.external_addresses, found.load_balancers) == (30080, ("192.0.2.1",), ("192.0.2.2",))
    assert (found.affinity, found.external_local, found.internal_local) == (10800, True, False)
    assert found.source_ranges == ("192.0.2.0/24",)
    assert found.is_external
    assert not only([service()]).is_external


def test_the_same_endpoint_twice_is_one() -> None:
    one = endpoints("web", "10.1.0.2", "10.1.0.2")
    assert only([service()], [], [one]).endpoints == (Endpoint("10.1.0.2", 8080),)


WRONG = ("10.1.0.300", "fd00::1", "10.1.0.1\n-A INPUT -j ACCEPT", "")


def test_nothing_but_addresses_networks_and_numbers_gets_into_rules() -> None:
    spec: dict[str, Any] = {
        "type": "LoadBalancer",
        "externalIPs": [*WRONG, "192.0.2.1"],
        "loadBalancerSourceRanges": [*WRONG, " 192.0.2.0/24 ", "198.51.100.7/24", "0.0.0.0/0\n-A INPUT -j ACCEPT"],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": -5}},
    }
    one = service(**spec)
    one["status"] = {"loadBalancer": {"ingress": [{"ip": text} for text in (*WRONG, "192.0.2.9")]}}
    slices = [
        endpoint_slice("web", *({"addresses": [text]} for text in (*WRONG, "10.1.0.2"))),
        endpoint_slice("web", {"addresses": ["10.1.0.3"]}, name="web-2", ports=[{"name": "", "port": 99999}]),
        endpoint_slice("web", {"addresses": ["10.1.0.3"]}, name="web-3", ports=[{"name": "", "port": -1}]),
    ]
    found = only([one], slices)
    assert found.external_addresses == ("192.0.2.1",)
    assert found.load_balancers == ("192.0.2.9",)
    assert found.source_ranges == ("192.0.2.0/24", "198.51.100.0/24")
    assert found.affinity == 1
    assert addresses(found) == ["10.1.0.2:8080"]


def test_nor_does_what_endpoints_have_beside_them() -> None:
    listed = endpoints("web", *WRONG, "10.1.0.2")
    listed["subsets"].append({"addresses": [{"ip": "10.1.0.3"}], "ports": [{"port": 65536, "protocol": "TCP"}]})
    assert addresses(only([service()], [], [listed])) == ["10.1.0.2:8080"]
