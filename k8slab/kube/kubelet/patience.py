"""When what failed in a pod may be tried again: containers that died, and what could not be made at all."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

from k8slab.kube.kubelet.backoff import BackOff
from k8slab.kube.kubelet.observation import Seen


class Patience:
    """Of one pod. ``restarts``: the node's back-off of restarts, which outlives this pod's worker."""

    def __init__(self, restarts: BackOff, uid: str) -> None:
        self._restarts = restarts
        self._uid = uid
        self._retry_at: dict[str, float] = {}
        self._failures = BackOff(initial=1.0, longest=30.0)

    def left(self, dead: Seen) -> float:
        """Seconds for which a dead container's restart must still wait."""
        now = datetime.now(UTC)
        moment = dead.finished or dead.created or now
        return self._restarts.remaining(self._key(dead.container), moment.timestamp(), now.timestamp())

    def delay(self, container: str) -> float:
        """Of which length the wait before its next restart is."""
        return self._restarts.delay(self._key(container))

    def count_restart(self, container: str, attempt: int) -> None:
        """Only what the engine was made to start counts: a try that failed before that must not delay the next one."""
        if attempt > 0:
            self._restarts.failed(self._key(container), datetime.now(UTC).timestamp())

    def forget(self, containers: Iterable[str]) -> None:
        for container in containers:
            self._restarts.forget(self._key(container))

    def failed(self, what: str) -> float:
        """It could not be done; the seconds until the next try."""
        now = time.monotonic()
        delay = self._failures.failed(what, now)
        self._retry_at[what] = now + delay
        return delay

    def hold(self, what: str, seconds: float) -> None:
        """Not before so many seconds, without counting a failure."""
        self._retry_at[what] = time.monotonic() + seconds

    def holds(self, what: str) -> bool:
        """Whether it failed lately and must wait, however often its worker is woken."""
        return self._retry_at.get(what, 0.0) > time.monotonic()

    def forgive(self, what: str) -> None:
        self._failures.forget(what)
        self._retry_at.pop(what, None)

    def end_holds(self) -> None:
        self._retry_at.clear()

    def waits(self) -> list[float]:
        """Seconds until each next try."""
        now = time.monotonic()
        return [at - now for at in self._retry_at.values() if at > now]

    def _key(self, container: str) -> str:
        return f"{self._uid}/{container}"
