"""What to do next for a pod, decided from what is seen alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.kubelet.observation import CREATED, Observed, Seen

# The latest dead attempt stays for `kubectl logs --previous` and for the status' lastState.
_DEAD_KEPT: Final = 1


@dataclass(frozen=True)
class Decision:
    """``remove``: containers to kill and remove first; ``sandbox``: attempt of the pause container to create;
    ``start``: container name → attempt to create; ``wait``: container name → seconds until its restart;
    ``finished``: nothing of this pod will ever run again."""

    remove: tuple[Seen, ...] = ()
    sandbox: int | None = None
    start: tuple[tuple[str, int], ...] = ()
    wait: tuple[tuple[str, float], ...] = ()
    finished: bool = False


def wants_restart(policy: str, last: Seen) -> bool:
    return policy == "Always" or (policy == "OnFailure" and last.exit_code != 0)


def decide(pod: Mapping[str, Any], observed: Observed, delay: Callable[[Seen], float]) -> Decision:
    """``delay(dead)``: seconds for which a dead container's restart must still wait."""
    policy = pod["spec"].get("restartPolicy") or "Always"
    names = [container["name"] for container in pod["spec"]["containers"]]
    sandbox = observed.sandbox
    standing = sandbox is not None and sandbox.running
    remove: list[Seen] = list(observed.sandboxes[1:] if standing else observed.sandboxes)
    start: list[tuple[str, int]] = []
    wait: list[tuple[str, float]] = []
    finished = True
    for name in names:
        attempts = observed.containers.get(name, ())
        # Created but never started: its sandbox may be gone, and making it again costs little.
        never_started = [one for one in attempts if one.state == CREATED]
        remove += never_started
        attempts = tuple(one for one in attempts if one.state != CREATED)
        if not attempts:
            finished = False
            start.append((name, never_started[0].attempt if never_started else 0))
            continue
        last = attempts[0]
        if last.running and standing:
            finished = False
            remove += attempts[1 + _DEAD_KEPT :]
        elif last.running:
            # A container that outlives its sandbox has lost its network and comes back in a new one.
            finished = False
            remove.append(last)
            start.append((name, last.attempt + 1))
        elif wants_restart(policy, last):
            finished = False
            remove += attempts[_DEAD_KEPT:]
            seconds = delay(last)
            if seconds > 0:
                wait.append((name, seconds))
            else:
                start.append((name, last.attempt + 1))
    foreign = (seen for name, all_seen in observed.containers.items() if name not in names for seen in all_seen)
    remove += foreign
    if finished:
        return Decision(remove=(*remove, *((sandbox,) if standing and sandbox else ())), finished=True)
    number = None
    if not standing:
        number = sandbox.attempt + 1 if sandbox else 0
    return Decision(tuple(remove), number, tuple(start), tuple(wait))
