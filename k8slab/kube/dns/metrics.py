"""What the name server counts of itself, by the names that dashboards of CoreDNS know."""

from __future__ import annotations

from typing import Final

import dns.rdatatype
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from k8slab.kube.dns.answers import Elsewhere, Octets, Reply

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = tuple(0.00025 * 2**power for power in range(16))
# What people ask for; anything else is one number, so that nobody can make up numbers at will.
_TYPES: Final = frozenset({"A", "AAAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT", "ANY"})


class Metrics:
    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("coredns_dns_requests", "Questions.", ("proto", "type"), registry=registry)
        self.responses = Counter("coredns_dns_responses", "Answers.", ("proto", "rcode"), registry=registry)
        self.duration = Histogram(
            "coredns_dns_request_duration_seconds", "How long answers took.", buckets=_BUCKETS, registry=registry
        )
        self.forwards = Counter("coredns_forward_requests", "Questions passed on.", registry=registry)
        self.forward_failures = Counter(
            "coredns_forward_failures", "Questions passed on that nobody answered.", registry=registry
        )
        self.names = Gauge("k8slab_dns_names", "Names that have records.", registry=registry)
        ProcessCollector(registry=registry)

    def asked(self, protocol: str, found: Reply | Elsewhere | Octets) -> None:
        kind = "other"
        message = found.query if isinstance(found, Elsewhere) else found.message if isinstance(found, Reply) else None
        if message is not None:
            asked = dns.rdatatype.to_text(message.question[0].rdtype)
            kind = asked if asked in _TYPES else kind
        self.requests.labels(protocol, kind).inc()
        if isinstance(found, Elsewhere):
            self.forwards.inc()

    def answered(self, protocol: str, rcode: str, seconds: float) -> None:
        self.responses.labels(protocol, rcode).inc()
        self.duration.observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)
