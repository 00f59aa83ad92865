"""What the proxy counts of itself, by the names that dashboards of Kubernetes know."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = tuple(0.001 * 2**power for power in range(15))


class Metrics:
    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        prefix = "kubeproxy_sync_proxy_rules"
        self.duration = Histogram(
            f"{prefix}_duration_seconds", "How long a sync of the rules took.", buckets=_BUCKETS, registry=registry
        )
        self.synced = Gauge(
            f"{prefix}_last_timestamp_seconds", "When the rules were last put in force.", registry=registry
        )
        self.queued = Gauge(
            f"{prefix}_last_queued_timestamp_seconds", "When a sync was last asked for.", registry=registry
        )
        self.failures = Counter(
            f"{prefix}_iptables_restore_failures", "Syncs that iptables refused.", registry=registry
        )
        self.rules = Gauge(f"{prefix}_iptables_total", "Rules of the proxy's, by table.", ("table",), registry=registry)
        self.service_changes = Counter(f"{prefix}_service_changes", "Changes of services seen.", registry=registry)
        self.endpoint_changes = Counter(f"{prefix}_endpoint_changes", "Changes of endpoints seen.", registry=registry)
        ProcessCollector(registry=registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)
