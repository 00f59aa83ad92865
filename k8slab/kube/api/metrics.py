"""What the server counts of itself, by the names that dashboards of Kubernetes know, at /metrics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from k8slab.kube.api.auth.attributes import Attributes
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.requests import GROUPS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LABELS: Final = ("verb", "group", "version", "resource", "subresource", "scope", "component")
BUCKETS: Final = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
LONG: Final = frozenset({"exec", "attach", "portforward", "proxy", "log"})
READING: Final = frozenset({"get", "list", "watch"})
VERBS: Final = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"})


class Metrics:
    def __init__(self, cache: Cache, kinds: Iterable[Kind]) -> None:
        """``kinds`` are those that are served. Other names come from whoever asks and must not fill the memory."""
        served = tuple(kinds)
        self._known = frozenset(kind.plural for kind in served)
        self._below = frozenset(one.name for kind in served for one in kind.below)
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "apiserver_request_total",
            "Requests, by what they were about and how they were answered.",
            (*LABELS, "code"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "apiserver_request_duration_seconds",
            "How long requests took that are answered at once.",
            LABELS,
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._long = Gauge(
            "apiserver_longrunning_requests", "Watches and streams that are open.", LABELS, registry=self._registry
        )
        self._inflight = Gauge(
            "apiserver_current_inflight_requests",
            "Requests being answered that are not open for long.",
            ("request_kind",),
            registry=self._registry,
        )
        self._registry.register(_Objects(cache))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    @contextmanager
    def counted(self, request: web.BaseRequest) -> Iterator[dict[str, Any]]:
        """Around the answering of a request; what is yielded is to be told the "code"."""
        told: dict[str, Any] = {"code": 0}
        begin = time.perf_counter()
        inflight = self._inflight.labels("readOnly" if request.method in ("GET", "HEAD") else "mutating")
        inflight.inc()
        try:
            yield told
        finally:
            inflight.dec()
            labels = self._labels(request.get("attributes"), request.method)
            requests, durations = self._children(labels, told["code"])
            requests.inc()
            if not is_long(request.get("attributes")):
                durations.observe(time.perf_counter() - begin)

    @cache  # noqa: B019 - there is one of it, for as long as the process lives
    def _children(self, labels: tuple[str, ...], code: int) -> tuple[Counter, Histogram]:
        """To find them anew for each request costs more than counting."""
        return self._requests.labels(*labels, code), self._durations.labels(*labels)

    @contextmanager
    def open_for_long(self, attributes: Attributes) -> Iterator[None]:
        gauge = self._long.labels(*self._labels(attributes, ""))
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def _labels(self, wanted: Attributes | None, method: str) -> tuple[str, ...]:
        if wanted is None or wanted.resource not in self._known or (wanted.group, wanted.version) not in GROUPS:
            return ((method or "").upper() if method in METHODS else "OTHER", "", "", "", "", "", "apiserver")
        verb = wanted.verb if wanted.verb in VERBS else "other"
        subresource = wanted.subresource if wanted.subresource in self._below else ""
        scope = "resource" if wanted.name else "namespace" if wanted.namespace else "cluster"
        return (verb.upper(), wanted.group, wanted.version, wanted.resource, subresource, scope, "apiserver")


METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def is_long(wanted: Attributes | None) -> bool:
    return wanted is not None and (wanted.verb == "watch" or wanted.subresource in LONG)


class _Objects(Collector):
    """How many objects of each kind are stored, counted when asked."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("apiserver_storage_objects", "Objects stored, by kind.", labels=["resource"])
        counts: Mapping[str, int] = self._cache.counts()
        for resource, count in counts.items():
            family.add_metric([resource], count)
        yield family
