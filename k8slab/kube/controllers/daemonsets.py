"""Keeps one pod on every node that a daemon set is for, and renews them a few nodes at a time.

The pods are placed like all others: each wishes for its node alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from k8slab.kube.client import KubeClient, Object
from k8slab.kube.controllers.daemon_pods import daemon_pod, has_ended, is_of, is_well, node_of, rules, runs_on
from k8slab.kube.controllers.deployment_scaling import share_of
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.owned import Owned
from k8slab.kube.controllers.owned_pods import OwnedPods, is_ready, phase, seconds_to_available
from k8slab.kube.controllers.revisions import HASH as REVISION_HASH
from k8slab.kube.controllers.revisions import Revisions
from k8slab.kube.controllers.statuses import write_status
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.events import NORMAL, WARNING
from k8slab.kube.informer import key_of

WORKERS: Final = 5
LOOK_AGAIN: Final = 1.0
# A pod that failed is replaced after so many seconds, twice as many after each more of its node.
FIRST_BACKOFF: Final = 1.0
LONGEST_BACKOFF: Final = 900.0


@dataclass
class Look:
    """A set as it is now. ``mark``: of the newest revision; ``starts``, ``stays``: nodes, by name."""

    owner: Object
    mark: str
    pods: Mapping[str, list[Object]]
    starts: set[str]
    stays: set[str]
    nodes: set[str]
    create: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)

    @property
    def rolling(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.owner["spec"]["updateStrategy"].get("rollingUpdate") or {}
        return found

    @property
    def surge(self) -> int:
        return share_of(self.rolling.get("maxSurge") or 0, len(self.starts), up=True)

    @property
    def unavailable(self) -> int:
        most = share_of(self.rolling.get("maxUnavailable") or 0, len(self.starts), up=True)
        return most if most or self.surge else 1

    def newest(self, node: str) -> list[Object]:
        return [one for one in self.pods.get(node, ()) if is_of(one, self.mark)]

    def elder(self, node: str) -> list[Object]:
        return [one for one in self.pods.get(node, ()) if not is_of(one, self.mark)]


class DaemonSetController:
    def __init__(self, client: KubeClient, informers: SharedInformers, pods: OwnedPods, revisions: Owned) -> None:
        self._client = client
        self._owners = informers.of("daemonsets")
        self._nodes = informers.of("nodes")
        self._pods = pods
        self._kept = revisions
        self._revisions = Revisions(client, revisions, "daemonsets")
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        self._queue = WorkQueue("daemonsets")
        self._owners.subscribe(self._owner_changed)
        self._nodes.subscribe(self._node_changed)
        pods.report_to("daemonsets", self._queue)
        revisions.report_to("daemonsets", self._queue)

    async def run(self) -> None:
        informers = (self._owners, self._nodes, self._pods.informer, self._kept.informer)
        await asyncio.gather(*(informer.synced() for informer in informers))
        await self._queue.run(self._sync, workers=WORKERS)

    def _owner_changed(self, kind: str, owner: Object, old: Object | None) -> None:
        uid = owner["metadata"]["uid"]
        if kind == "DELETED":
            self._pods.forget(uid)
            self._failures = {key: value for key, value in self._failures.items() if key[0] != uid}
        self._queue.add(key_of(owner))

    def _node_changed(self, kind: str, node: Object, old: Object | None) -> None:
        if kind == "MODIFIED" and _seen_in(node) == _seen_in(old):
            return
        for key in self._owners.cache:
            self._queue.add(key)

    async def _sync(self, key: str) -> None:
        owner = self._owners.cache.get(key)
        if owner is None:
            return
        found, trusted = await self._pods.claimed(owner)
        known = await self._revisions.of(owner)
        newest = await self._revisions.latest(owner, known)
        if newest is None:
            return
        look = self._look(owner, found, newest["metadata"]["labels"][REVISION_HASH])
        try:
            if not trusted:
                self._queue.add_after(key, LOOK_AGAIN)
            elif not owner["metadata"].get("deletionTimestamp"):
                await self._step(look)
        finally:
            await write_status(self._client, "daemonsets", owner, status_of(look))
        marks = {(one["metadata"].get("labels") or {}).get("controller-revision-hash") for one in found}
        of_pods = {one["metadata"]["name"] for one in known if one["metadata"]["labels"].get(REVISION_HASH) in marks}
        await self._revisions.forget_oldest(owner, known, {newest["metadata"]["name"], *of_pods})
        if waits := [seconds for one in found if (seconds := _seconds_to_wait(owner, one)) > 0]:
            self._queue.add_after(key, min(waits))

    def _look(self, owner: Object, found: list[Object], mark: str) -> Look:
        pods: dict[str, list[Object]] = defaultdict(list)
        for pod in sorted(found, key=lambda one: str(one["metadata"]["creationTimestamp"])):
            pods[node_of(pod)].append(pod)
        wanted = rules(owner["spec"]["template"])
        where = {name: runs_on(wanted, node) for name, node in self._nodes.cache.items()}
        starts = {name for name, (start, _) in where.items() if start}
        stays = {name for name, (_, stay) in where.items() if stay}
        return Look(owner, mark, pods, starts, stays, set(where))

    async def _step(self, look: Look) -> None:
        """First what is missing, too much or ended; then, when that is so, the next nodes are renewed."""
        for node in sorted(look.nodes | look.pods.keys()):
            self._put_right(look, node)
        if look.owner["spec"]["updateStrategy"]["type"] == "RollingUpdate":
            (self._renew_beside if look.surge else self._renew_in_place)(look)
        going = {one["metadata"]["uid"]: one for one in look.delete if not one["metadata"].get("deletionTimestamp")}
        await self._pods.delete(look.owner, list(going.values()))
        await self._pods.create(look.owner, [daemon_pod(look.owner, node, look.mark) for node in look.create])

    def _put_right(self, look: Look, node: str) -> None:
        pods = look.pods.get(node, [])
        if not pods and node in look.starts:
            look.create.append(node)
            return
        if node not in look.stays:
            # Pods on a node that is gone are taken away by who sees to those; one that waits for it has nowhere to go.
            look.delete += [one for one in pods if node in look.nodes or not one["spec"].get("nodeName")]
            return
        for pod in pods:
            if has_ended(pod) and not pod["metadata"].get("deletionTimestamp") and self._may_replace(look, node, pod):
                look.delete.append(pod)
        alive = [one for one in pods if not has_ended(one) and not one["metadata"].get("deletionTimestamp")]
        # While a node is renewed beside the elder pod there are two of them, of two revisions.
        groups = (
            [alive]
            if not look.surge
            else [
                [one for one in alive if is_of(one, look.mark)],
                [one for one in alive if not is_of(one, look.mark)],
            ]
        )
        for group in groups:
            look.delete += group[1:]

    def _may_replace(self, look: Look, node: str, pod: Object) -> bool:
        """Whether a pod that has ended goes now; one that fails again and again is not hurried."""
        meta = pod["metadata"]
        name = f"{meta['namespace']}/{meta['name']}"
        if phase(pod) == "Succeeded":
            told = f"Found succeeded daemon pod {name} on node {node}, will try to delete it"
            self._pods.say(look.owner, NORMAL, "SucceededDaemonPod", told)
            return True
        key, now = (look.owner["metadata"]["uid"], node), time.monotonic()
        count, last = self._failures.get(key, (0, 0.0))
        pause = min(FIRST_BACKOFF * 2 ** (count - 1), LONGEST_BACKOFF) if count else 0.0
        if last + pause > now:
            self._queue.add_after(key_of(look.owner), last + pause - now)
            return False
        # What has been well for long is forgiven.
        self._failures[key] = (1 if now - last > 2 * LONGEST_BACKOFF else count + 1, now)
        told = f"Found failed daemon pod {name} on node {node}, will try to kill it"
        self._pods.say(look.owner, WARNING, "FailedDaemonPod", told)
        return True

    def _renew_in_place(self, look: Look) -> None:
        """Take elder pods away, as long as not too many nodes are without one that is available."""
        without, ready_to_go = 0, []
        for node in sorted(look.starts):
            newest, elder = look.newest(node), look.elder(node)
            well = any(is_well(look.owner, one) for one in (*newest, *elder))
            without += not well
            if newest or not elder:
                continue
            if well:
                ready_to_go += elder
            else:
                # Nothing is lost with these.
                look.delete += elder
        look.delete += ready_to_go[: max(look.unavailable - without, 0)]

    def _renew_beside(self, look: Look) -> None:
        """Start new pods beside elder ones, which go when the new ones are available."""
        beside, waiting = 0, []
        for node in sorted(look.starts):
            newest, elder = look.newest(node), [one for one in look.elder(node) if not has_ended(one)]
            if not elder:
                continue
            if newest:
                beside += 1
                if any(is_well(look.owner, one) for one in newest):
                    look.delete += elder
            elif not any(is_well(look.owner, one) for one in elder):
                look.create.append(node)
            else:
                waiting.append(node)
        look.create += waiting[: max(look.surge - beside, 0)]


def status_of(look: Look) -> Object:
    """Counted by nodes: the first pod of a node speaks for it, the newest template's before others."""
    counts: dict[str, int] = defaultdict(int)
    for node in look.nodes:
        pods = [one for one in (*look.newest(node), *look.elder(node)) if not has_ended(one)]
        if node not in look.starts:
            counts["numberMisscheduled"] += bool(pods)
            continue
        counts["desiredNumberScheduled"] += 1
        if not pods:
            continue
        counts["currentNumberScheduled"] += 1
        counts["numberReady"] += any(is_ready(one) for one in pods)
        counts["numberAvailable"] += any(is_well(look.owner, one) for one in pods)
        counts["updatedNumberScheduled"] += is_of(pods[0], look.mark)
    counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
    counts["observedGeneration"] = look.owner["metadata"].get("generation") or 0
    counts["collisionCount"] = int((look.owner.get("status") or {}).get("collisionCount") or 0)
    always = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    return {**dict.fromkeys(always, 0), **{name: count for name, count in counts.items() if count or name in always}}


def _seconds_to_wait(owner: Object, pod: Object) -> float:
    return seconds_to_available(pod, int(owner["spec"].get("minReadySeconds") or 0)) if is_ready(pod) else 0.0


def _seen_in(node: Mapping[str, Any] | None) -> object:
    """All that placing depends on: most changes of nodes are heartbeats."""
    meta, spec = (node or {}).get("metadata") or {}, (node or {}).get("spec") or {}
    return meta.get("labels"), spec.get("taints"), spec.get("unschedulable")
