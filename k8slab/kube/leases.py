"""Leader election: of several processes that could do the same work, the one that holds a Lease does it.

A lease is held for as long as its holder renews it. Nobody's clock is trusted: how long a holder has been silent is
measured here, by when its lease was last seen to change. A leader gives up by itself (``renew`` seconds after it last
renewed) before another may take over (``duration`` seconds after it saw the last renewal).
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from k8slab.daemon import FlagParser
from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339_micro
from k8slab.kube.durations import flag_seconds
from k8slab.kube.events import NORMAL, EventRecorder

log = logging.getLogger(__name__)

# Candidates that lost a race do not ask again all at the same moment.
JITTER: Final = 1.2
RELEASE_SECONDS: Final = 2.0


class LostLease(Exception):
    """Another may be leading now; the work must stop."""


@dataclass(frozen=True)
class LeaseSettings:
    """``duration``, ``renew`` and ``retry`` in seconds; see the module."""

    namespace: str
    name: str
    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0


def add_flags(parser: FlagParser, name: str) -> None:
    """The original's flags for the election; ``name`` is that of the lease."""
    parser.switch("leader-elect", "stand by while another holds the lease", default=True)
    parser.flag("leader-elect-lease-duration", "a leader may be silent for so long", default="15s")
    parser.flag("leader-elect-renew-deadline", "a leader that cannot renew for so long stops", default="10s")
    parser.flag("leader-elect-retry-period", "how often the lease is asked for and renewed", default="2s")
    parser.flag("leader-elect-resource-lock", "what is held: leases", default="leases")
    parser.flag("leader-elect-resource-name", "the lease's name", default=name)
    parser.flag("leader-elect-resource-namespace", "the lease's namespace", default="kube-system")


def lease_settings(flags: Any) -> LeaseSettings | None:
    """From parsed flags; None when there is to be no election. Raises ValueError with one line."""
    if not flags.leader_elect:
        return None
    if flags.leader_elect_resource_lock != "leases":
        raise ValueError(f"--leader-elect-resource-lock: {flags.leader_elect_resource_lock!r} is not known; leases is")
    found = LeaseSettings(
        flags.leader_elect_resource_namespace,
        flags.leader_elect_resource_name,
        flag_seconds("--leader-elect-lease-duration", flags.leader_elect_lease_duration),
        flag_seconds("--leader-elect-renew-deadline", flags.leader_elect_renew_deadline),
        flag_seconds("--leader-elect-retry-period", flags.leader_elect_retry_period),
    )
    if found.duration < 1:
        raise ValueError("--leader-elect-lease-duration must be at least a second")
    if found.duration <= found.renew:
        raise ValueError("--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline")
    if found.retry <= 0 or found.renew <= found.retry * JITTER:
        raise ValueError(f"--leader-elect-renew-deadline must be greater than {JITTER} × --leader-elect-retry-period")
    return found


class Leadership:
    """One candidate for a lease. ``identity`` is its holder's name; ``clock``: seconds that only ever grow."""

    def __init__(
        self,
        client: KubeClient,
        settings: LeaseSettings,
        recorder: EventRecorder | None = None,
        *,
        identity: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity or f"{socket.gethostname()}_{uuid4()}"
        self._client = client
        self._settings = settings
        self._recorder = recorder
        self._clock = clock
        self._lease: Object = {}
        self._changed = 0.0
        self._renewed = 0.0

    @property
    def holder(self) -> str:
        """Who held the lease when it was last looked at; empty when nobody did."""
        return str((self._lease.get("spec") or {}).get("holderIdentity") or "")

    async def lead(self) -> None:
        """Wait until the lease is this candidate's."""
        known = ""
        while True:
            try:
                if await self._try():
                    break
            except (ApiError, ApiUnavailable) as trouble:
                log.info("lease %s: %s; trying again", self._settings.name, trouble)
            if self.holder != known:
                known = self.holder
                log.info("lease %s: standing by, %s leads", self._settings.name, known or "nobody")
            await asyncio.sleep(self._settings.retry * random.uniform(1, 1 + JITTER))
        log.info("lease %s: %s leads", self._settings.name, self.identity)
        self._say("became leader")

    async def hold(self) -> None:
        """Renew the lease for as long as that goes well. Raises LostLease."""
        while True:
            await asyncio.sleep(self._settings.retry)
            left = self._renewed + self._settings.renew - self._clock()
            try:
                async with asyncio.timeout(max(left, 0)):
                    renewed = await self._try()
            except (ApiError, ApiUnavailable, TimeoutError) as trouble:
                log.warning("lease %s not renewed: %s", self._settings.name, str(trouble) or "no answer in time")
                renewed = False
            if not renewed and self.holder != self.identity:
                raise LostLease(f"{self.holder or 'somebody'} took the lease {self._settings.name}")
            if self._clock() - self._renewed >= self._settings.renew:
                raise LostLease(f"the lease {self._settings.name} could not be renewed in {self._settings.renew:g} s")

    async def release(self) -> None:
        """Let the next one have it at once, if it is this one's."""
        if self.holder != self.identity:
            return
        moment = rfc3339_micro()
        given_up = {
            **self._lease["spec"],
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "renewTime": moment,
            "acquireTime": moment,
        }
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                self._see(await self._client.update("leases", {**self._lease, "spec": given_up}))
        except (ApiError, ApiUnavailable, TimeoutError) as trouble:
            log.info("lease %s not released: %s", self._settings.name, str(trouble) or "no answer in time")
            return
        self._say("stopped leading")

    async def _try(self) -> bool:
        """Take or renew the lease; whether it is this candidate's now."""
        began, settings = self._clock(), self._settings
        found = await self._client.find("leases", settings.name, settings.namespace)
        if found is None:
            found = {"metadata": {"name": settings.name, "namespace": settings.namespace}}
        self._see(found)
        ours = self.holder == self.identity
        spec = found.get("spec") or {}
        expires = self._changed + float(spec.get("leaseDurationSeconds") or 0)
        if self.holder and not ours and expires > self._clock():
            return False
        moment = rfc3339_micro()
        wanted = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(settings.duration),
            "acquireTime": spec.get("acquireTime") if ours else moment,
            "renewTime": moment,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + int("spec" in found and not ours),
        }
        write = self._client.update if "uid" in found["metadata"] else self._client.create
        try:
            self._see(await write("leases", {**found, "spec": wanted}))
        except ApiError as error:
            if error.is_conflict or error.is_already_exists:
                return False
            raise
        self._renewed = began
        return True

    def _see(self, lease: Object) -> None:
        if (lease.get("spec") or {}) != (self._lease.get("spec") or {}):
            self._changed = self._clock()
        self._lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", **lease}

    def _say(self, what: str) -> None:
        if self._recorder is not None:
            self._recorder.say(self._lease, NORMAL, "LeaderElection", f"{self.identity} {what}")
