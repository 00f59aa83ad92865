"""Which flows of datagrams are out of date."""

from __future__ import annotations

import pytest

from k8slab.kube.proxy.flows import Flow, stale
from k8slab.kube.proxy.services import Endpoint, ServicePort

DNS = ServicePort("d/dns", "udp", "10.0.0.10", 53, node_port=30053, endpoints=(Endpoint("10.1.0.2", 5353),))
EMPTY = ServicePort("d/none", "udp", "10.0.0.11", 53)
OVER_TCP = ServicePort("d/dns", "tcp", "10.0.0.12", 53, node_port=30054)


@pytest.mark.parametrize(
    ("to", "answers", "expected"),
    [
        (("10.0.0.10", 53), "10.1.0.2:5353", False),
        (("10.0.0.10", 53), "10.1.0.9:5353", True),
        (("10.0.0.10", 53), "10.0.0.10:53", True),
        (("10.0.0.10", 54), "10.0.0.10:54", False),
        (("172.17.1.8", 30053), "10.1.0.9:5353", True),
        (("172.17.1.8", 30053), "10.1.0.2:5353", False),
        (("10.0.0.11", 53), "10.1.0.2:5353", True),
        (("10.0.0.12", 53), "10.0.0.12:53", False),
        (("172.17.1.8", 30054), "172.17.1.8:30054", False),
        (("192.0.2.1", 123), "192.0.2.1:123", False),
    ],
)
def test_flows_that_none_of_the_endpoints_answers(to: tuple[str, int], answers: str, expected: bool) -> None:
    flow = Flow(to, answers)
    assert stale([flow], [DNS, EMPTY, OVER_TCP]) == ([flow] if expected else [])
