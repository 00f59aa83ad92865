"""What to do next for a pod, decided from what is seen alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from k8slab.kube.kubelet.observation import CREATED, Observed, Seen
from k8slab.kube.kubelet.spec import (
    Container,
    all_containers,
    init_containers,
    is_sidecar,
    main_containers,
    restart_policy,
    told_status,
)

# The latest dead attempt stays for `kubectl logs --previous` and for the status' lastState.
_DEAD_KEPT: Final = 1

Delay = Callable[[Seen], float]


@dataclass(frozen=True)
class Kill:
    """A running container that has to end and stays to be seen; ``why``: a sentence, "" for the usual one; ``grace``:
    in seconds, None for the pod's."""

    seen: Seen
    why: str = ""
    grace: int | None = None


@dataclass(frozen=True)
class Decision:
    """``kill``: to end first; ``remove``: containers to kill and remove then; ``sandbox``: attempt of the pause
    container to create; ``start``: container name → attempt to create, in this order; ``wait``: container name →
    seconds until its restart; ``finished``: nothing of this pod will ever run again."""

    kill: tuple[Kill, ...] = ()
    remove: tuple[Seen, ...] = ()
    sandbox: int | None = None
    start: tuple[tuple[str, int], ...] = ()
    wait: tuple[tuple[str, float], ...] = ()
    finished: bool = False


@dataclass
class _Draft:
    """A decision in the making."""

    pod: Mapping[str, Any]
    observed: Observed
    delay: Delay
    kill: list[Kill] = field(default_factory=list)
    remove: list[Seen] = field(default_factory=list)
    start: list[tuple[str, int]] = field(default_factory=list)
    wait: list[tuple[str, float]] = field(default_factory=list)

    def first(self, container: Container) -> None:
        """Start one of which nothing is left; one that was only created is made again as the same attempt."""
        attempts = self.observed.containers.get(container["name"], ())
        told = told_status(self.pod, container["name"])
        # An engine that has lost its containers does not make it a new pod.
        number = int(told.get("restartCount") or 0) + 1 if told.get("containerID") else 0
        self.start.append((container["name"], attempts[0].attempt if attempts else number))

    def again(self, last: Seen) -> None:
        """Start the next attempt, as soon as its back-off allows when the last one has ended by itself."""
        seconds = 0.0 if last.running else self.delay(last)
        if seconds > 0:
            self.wait.append((last.container, seconds))
        else:
            self.start.append((last.container, last.attempt + 1))


def wants_restart(policy: str, last: Seen) -> bool:
    """One that was ended because it was not well counts as failed, however politely it went."""
    return policy == "Always" or (policy == "OnFailure" and (last.exit_code != 0 or bool(last.health.failed)))


def begun(observed: Observed, container: str) -> tuple[Seen, ...]:
    """The attempts that were started, the newest first."""
    return tuple(one for one in observed.containers.get(container, ()) if one.state != CREATED)


def is_over(pod: Mapping[str, Any], observed: Observed) -> bool:
    """Whether no main container runs or ever will; also when an init container has failed for good."""
    if has_failed_to_initialize(pod, observed):
        return True
    latest = [next(iter(begun(observed, one["name"])), None) for one in main_containers(pod)]
    policy = restart_policy(pod)
    return all(last is not None and not last.running and not wants_restart(policy, last) for last in latest)


def has_failed_to_initialize(pod: Mapping[str, Any], observed: Observed) -> bool:
    if restart_policy(pod) != "Never" or is_initialized(pod, observed):
        return False
    regular = [one for one in init_containers(pod) if not is_sidecar(one)]
    latest = [next(iter(begun(observed, one["name"])), None) for one in regular]
    return any(last is not None and not last.running and _failed(last) for last in latest)


def is_initialized(pod: Mapping[str, Any], observed: Observed) -> bool:
    """Whether the main containers of the present sandbox may run, or some have run already."""
    inside = observed.sandbox.id if observed.sandbox else ""
    if any(one.sandbox == inside for container in main_containers(pod) for one in begun(observed, container["name"])):
        return True
    return all(_is_through(container, _within(observed, container, inside)) for container in init_containers(pod))


def _within(observed: Observed, container: Container, sandbox: str) -> Seen | None:
    """Its latest attempt, unless that lived in another sandbox."""
    latest = next(iter(begun(observed, container["name"])), None)
    return latest if latest is not None and latest.sandbox == sandbox else None


def _is_through(container: Container, last: Seen | None) -> bool:
    if last is None:
        return False
    if is_sidecar(container):
        return last.running and last.health.started and not last.health.failed
    return not last.running and not _failed(last)


def _failed(dead: Seen) -> bool:
    return dead.exit_code != 0 or bool(dead.health.failed)


def decide(pod: Mapping[str, Any], observed: Observed, delay: Delay, *, doomed: bool = False) -> Decision:
    """``delay(dead)``: seconds for which a dead container's restart must still wait; ``doomed``: all has to end."""
    sandbox = observed.sandbox
    standing = sandbox is not None and sandbox.running
    draft = _Draft(pod, observed, delay)
    draft.remove += observed.sandboxes[1:] if standing else observed.sandboxes
    declared = {container["name"] for container in all_containers(pod)}
    for name, attempts in observed.containers.items():
        # Created but never started: its sandbox may be gone, and making it again costs little.
        draft.remove += (seen for seen in attempts if seen.state == CREATED or name not in declared)
        kept = [seen for seen in attempts if seen not in draft.remove]
        draft.remove += kept[_DEAD_KEPT + (bool(kept) and kept[0].running) :]
    if doomed or is_over(pod, observed):
        draft.kill += (Kill(seen) for seen in in_order_of_end(pod, observed))
        draft.remove += [sandbox] if sandbox is not None and standing else []
        return Decision(kill=tuple(draft.kill), remove=tuple(draft.remove), finished=True)
    if sandbox is None or not standing:
        return _begin_anew(draft)
    if _sustain_initial(draft, sandbox.id):
        for container in main_containers(pod):
            _sustain(draft, container, sandbox.id)
    return Decision(tuple(draft.kill), tuple(draft.remove), None, tuple(draft.start), tuple(draft.wait))


def in_order_of_end(pod: Mapping[str, Any], observed: Observed) -> list[Seen]:
    """What runs: main containers first, then sidecars and the like, the last begun first."""
    names = [one["name"] for one in (*main_containers(pod), *reversed(init_containers(pod)))]
    return [seen for name in names for seen in observed.containers.get(name, ()) if seen.running]


def _begin_anew(draft: _Draft) -> Decision:
    """A sandbox, and in it what comes first; what outlives its old sandbox has lost its network and ends."""
    pod, sandbox = draft.pod, draft.observed.sandbox
    draft.kill += (Kill(seen) for seen in in_order_of_end(pod, draft.observed))
    wanted = [one for one in main_containers(pod) if _runs_once_more(pod, one, draft.observed)]
    if not wanted:
        # The next look finds the pod over.
        return Decision(tuple(draft.kill), tuple(draft.remove))
    for container in init_containers(pod)[:1] or wanted:
        attempts = begun(draft.observed, container["name"])
        if attempts:
            draft.again(attempts[0])
        else:
            draft.first(container)
    number = sandbox.attempt + 1 if sandbox else 0
    return Decision(tuple(draft.kill), tuple(draft.remove), number, tuple(draft.start), tuple(draft.wait))


def _runs_once_more(pod: Mapping[str, Any], container: Container, observed: Observed) -> bool:
    attempts = begun(observed, container["name"])
    if not attempts:
        return True
    policy = restart_policy(pod)
    return policy != "Never" if attempts[0].running else wants_restart(policy, attempts[0])


def _sustain_initial(draft: _Draft, sandbox: str) -> bool:
    """See to the init containers; whether the main ones have their turn."""
    initialized = is_initialized(draft.pod, draft.observed)
    for container in init_containers(draft.pod):
        sidecar = is_sidecar(container)
        if initialized and not sidecar:
            continue
        last = _within(draft.observed, container, sandbox)
        if last is None:
            elsewhere = begun(draft.observed, container["name"])
            if elsewhere:
                draft.again(elsewhere[0])
            else:
                draft.first(container)
        elif last.running:
            draft.kill += _killed_if_unwell(container, last, restarts=True)
        elif sidecar or _failed(last):
            draft.again(last)
        if not initialized and not _is_through(container, last):
            return False
    return True


def _sustain(draft: _Draft, container: Container, sandbox: str) -> None:
    attempts = begun(draft.observed, container["name"])
    restarts = restart_policy(draft.pod) != "Never"
    if not attempts:
        draft.first(container)
        return
    last = attempts[0]
    if last.running and last.sandbox != sandbox:
        draft.kill.append(Kill(last))
        if restarts:
            draft.again(last)
    elif last.running and restarts and last.image != container["image"]:
        draft.kill.append(Kill(last, f"Container {last.container} definition changed, will be restarted"))
        draft.again(last)
    elif last.running:
        draft.kill += _killed_if_unwell(container, last, restarts=restarts)
    elif wants_restart(restart_policy(draft.pod), last):
        draft.again(last)


def _killed_if_unwell(container: Container, last: Seen, *, restarts: bool) -> list[Kill]:
    probe = last.health.failed
    if not probe:
        return []
    sentence = f"Container {last.container} failed {probe} probe"
    grace = (container.get(f"{probe}Probe") or {}).get("terminationGracePeriodSeconds")
    return [Kill(last, f"{sentence}, will be restarted" if restarts else sentence, grace)]
