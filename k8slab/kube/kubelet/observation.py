"""What the engine shows of a pod, as frozen data that decisions and statuses are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from k8slab.kube import clock
from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.engine import Engine

CREATED: Final = "created"
RUNNING: Final = "running"
EXITED: Final = "exited"

_NEVER: Final = "0001-01-01"


@dataclass(frozen=True)
class Health:
    """What a container's probes have found; a container without probes is well.

    ``failed``: "liveness" or "startup" when that probe has given it up, so that it has to end.
    """

    started: bool = True
    ready: bool = True
    failed: str = ""


@dataclass(frozen=True)
class Seen:
    """One container. ``state``: created, running (paused too) or exited; ``started``/``finished``: None for never;
    ``sandbox``: id of the container whose network it lives in."""

    id: str
    container: str
    attempt: int
    state: str
    image: str
    image_id: str
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    address: str = ""
    sandbox: str = ""
    message: str = ""
    health: Health = Health()

    @property
    def running(self) -> bool:
        return self.state == RUNNING


@dataclass(frozen=True)
class Observed:
    """A pod in the engine: ``sandboxes`` and each container's attempts, the newest first."""

    sandboxes: tuple[Seen, ...] = ()
    containers: Mapping[str, tuple[Seen, ...]] = field(default_factory=dict)

    @property
    def sandbox(self) -> Seen | None:
        return self.sandboxes[0] if self.sandboxes else None

    def latest(self, container: str) -> Seen | None:
        attempts = self.containers.get(container)
        return attempts[0] if attempts else None

    @property
    def everything(self) -> tuple[Seen, ...]:
        return (*(seen for attempts in self.containers.values() for seen in attempts), *self.sandboxes)


async def observe(engine: Engine, uid: str) -> Observed:
    """Look at all containers of the pod. Raises EngineUnavailable."""
    summaries = await engine.containers({naming.LABEL_UID: uid})
    found = [await engine.inspect(summary["Id"]) for summary in summaries]
    return arranged(seen(shown) for shown in found if shown is not None)


def arranged(all_seen: Iterable[Seen]) -> Observed:
    ordered = sorted(all_seen, key=lambda one: one.attempt, reverse=True)
    containers: dict[str, tuple[Seen, ...]] = {}
    for one in ordered:
        if one.container != naming.SANDBOX:
            containers[one.container] = (*containers.get(one.container, ()), one)
    return Observed(tuple(one for one in ordered if one.container == naming.SANDBOX), containers)


def seen(shown: Mapping[str, Any]) -> Seen:
    """From the engine's inspection of a container that carries a pod's labels."""
    labels = shown["Config"].get("Labels") or {}
    state = shown["State"]
    error = state.get("Error") or ""
    if state["Status"] in ("running", "paused", "restarting"):
        status = RUNNING
    else:
        # The engine leaves one that it could not start as "created", with the error: for a pod, that attempt is over.
        status = CREATED if state["Status"] == "created" and not error else EXITED
    return Seen(
        id=shown["Id"],
        container=labels.get(naming.LABEL_CONTAINER, ""),
        attempt=int(labels.get(naming.LABEL_ATTEMPT, "0")),
        state=status,
        image=shown["Config"]["Image"],
        image_id=shown["Image"],
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=error,
        created=_moment(shown.get("Created")),
        started=_moment(state.get("StartedAt")),
        finished=_moment(state.get("FinishedAt")),
        address=(shown.get("NetworkSettings") or {}).get("IPAddress") or "",
        sandbox=_network_of(shown),
    )


def _network_of(shown: Mapping[str, Any]) -> str:
    kind, _, identity = str((shown.get("HostConfig") or {}).get("NetworkMode") or "").partition(":")
    return identity if kind == "container" else ""


def _moment(text: str | None) -> datetime | None:
    return clock.parse(text) if text and not text.startswith(_NEVER) else None
