"""Keeps the node's rules as the API's services and endpoints want them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from k8slab.kube.client import KubeClient, Object
from k8slab.kube.informer import Informer
from k8slab.kube.proxy import bridge, flows, iptables, rules
from k8slab.kube.proxy.metrics import Metrics
from k8slab.kube.proxy.programs import ProgramFailed
from k8slab.kube.proxy.services import service_ports

log = logging.getLogger(__name__)

FIRST_RETRY: Final = 0.5


class Proxier:
    """``sync_period``: seconds after which all is looked at again; ``min_sync_period``: seconds between two syncs.

    ``pod_bridge``: the bridge of this node's pods, "" when it has none. ``on_synced`` is called after every sync that
    succeeded.
    """

    def __init__(
        self,
        client: KubeClient,
        settings: rules.Settings,
        metrics: Metrics,
        *,
        node: str,
        sync_period: float,
        min_sync_period: float,
        pod_bridge: str = "",
        on_synced: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._node = node
        self._sync_period = sync_period
        self._min_sync_period = min_sync_period
        self._pod_bridge = pod_bridge
        self._on_synced = on_synced
        self._services = Informer(client, "services")
        self._slices = Informer(client, "endpointslices")
        self._endpoints = Informer(client, "endpoints")
        self._wanted = asyncio.Event()
        self._told = (-1, -1)
        self.last_synced = 0.0
        self.oldest_waiting = 0.0

    async def run(self) -> None:
        """Follow the API until cancelled. The rules stay when it ends: connections do not depend on it."""
        informers = (self._services, self._slices, self._endpoints)
        self._services.subscribe(lambda kind, new, old: self._ask(self._metrics.service_changes.inc))
        for informer in (self._slices, self._endpoints):
            informer.subscribe(self._endpoints_changed)
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run())
            for informer in informers:
                await informer.synced()
            await self._sync_forever()

    def _endpoints_changed(self, kind: str, new: Object, old: Object | None) -> None:
        self._ask(self._metrics.endpoint_changes.inc)

    def _ask(self, count: Callable[[], None]) -> None:
        count()
        now = time.time()
        self._metrics.queued.set(now)
        self.oldest_waiting = self.oldest_waiting or now
        self._wanted.set()

    async def _sync_forever(self) -> None:
        pause = FIRST_RETRY
        while True:
            self._wanted.clear()
            waiting, self.oldest_waiting = self.oldest_waiting, 0.0
            began = time.monotonic()
            try:
                await self._sync()
                pause, rest = FIRST_RETRY, self._sync_period
                self.last_synced = time.time()
                self._metrics.synced.set(self.last_synced)
                self._on_synced()
            except ProgramFailed as failure:
                self._metrics.failures.inc()
                log.error("the rules are as they were: %s; trying again in %g s", failure, pause)
                self.oldest_waiting = waiting or self.oldest_waiting or time.time()
                pause, rest = min(pause * 2, self._sync_period), pause
            spent = time.monotonic() - began
            self._metrics.duration.observe(spent)
            await asyncio.sleep(max(0.0, self._min_sync_period - spent))
            await self._asked_within(rest)

    async def _asked_within(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wanted.wait(), seconds)
        except TimeoutError:
            log.debug("nothing was asked for during %g s", seconds)

    async def _sync(self) -> None:
        ports = service_ports(
            self._services.cache.values(), self._slices.cache.values(), self._endpoints.cache.values(), self._node
        )
        text = rules.text(ports, await iptables.present(), self._settings)
        await iptables.restore(text)
        await flows.forget_stale(ports)
        if self._pod_bridge:
            await bridge.let_pods_reach_themselves(self._pod_bridge)
        for table, count in _counts(text).items():
            self._metrics.rules.labels(table).set(count)
        found = (len(ports), sum(len(port.endpoints) for port in ports))
        if found != self._told:
            self._told = found
            log.info("the rules are in force: %d service ports, %d endpoints", *found)


def _counts(text: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        found[table] += line.startswith(("-A ", "-I "))
    return dict(found)
