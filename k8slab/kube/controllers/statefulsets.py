"""Keeps a stateful set's numbered pods: made in order, taken away in reverse, and moved to a new template from the end.

Unless its policy is Parallel, a set does one thing at a time and waits until it is done: the next pod is made when all
before it are ready, and one is taken away when all that stay are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.owned import Owned
from k8slab.kube.controllers.owned_pods import (
    OwnedPods,
    is_available,
    is_ready,
    phase,
    reason_of,
    seconds_to_next_available,
)
from k8slab.kube.controllers.revisions import Revisions, template_of
from k8slab.kube.controllers.stateful_pods import (
    claim_heir,
    claims,
    first_ordinal,
    has_ended,
    identity,
    is_going,
    numbered_pod,
    ordinal,
    revision_of,
)
from k8slab.kube.controllers.statuses import write_status
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.events import NORMAL, WARNING
from k8slab.kube.informer import key_of

WORKERS: Final = 5
LOOK_AGAIN: Final = 1.0
# So many pods are made in one go, before the set is looked at again.
BURST: Final = 500


@dataclass(frozen=True)
class Look:
    """A set as it is now. ``current`` is the revision it comes from, ``update`` the one it goes to."""

    owner: Object
    pods: Mapping[int, Object]
    current: Object
    update: Object

    @property
    def numbers(self) -> range:
        first = first_ordinal(self.owner)
        return range(first, first + self.owner["spec"]["replicas"])

    @property
    def staying(self) -> list[int]:
        """Those that are there and are to be, the first one first; they are far fewer than a set may want."""
        return sorted(one for one in self.pods if one in self.numbers)

    @property
    def surplus(self) -> list[int]:
        """Those that are too many, the last one first."""
        return sorted((one for one in self.pods if one not in self.numbers), reverse=True)

    @property
    def in_order(self) -> bool:
        return bool(self.owner["spec"].get("podManagementPolicy") != "Parallel")

    @property
    def least_ready_seconds(self) -> int:
        return int(self.owner["spec"].get("minReadySeconds") or 0)

    @property
    def partition(self) -> int:
        """Pods below this number stay at the current revision."""
        rolling = self.owner["spec"]["updateStrategy"].get("rollingUpdate") or {}
        return first_ordinal(self.owner) + int(rolling.get("partition") or 0)

    @property
    def is_rolling(self) -> bool:
        return bool(self.owner["spec"]["updateStrategy"]["type"] == "RollingUpdate")

    def is_well(self, number: int) -> bool:
        """There, not on its way out, and available."""
        pod = self.pods.get(number)
        if pod is None or is_going(pod):
            return False
        return phase(pod) == "Running" and is_available(pod, self.least_ready_seconds)

    def revision_for(self, number: int) -> Object:
        """What a new pod of this number is made from."""
        return self.current if self.is_rolling and number < self.partition else self.update


class StatefulSetController:
    def __init__(self, client: KubeClient, informers: SharedInformers, pods: OwnedPods, revisions: Owned) -> None:
        self._client = client
        self._owners = informers.of("statefulsets")
        self._claims = informers.of("persistentvolumeclaims")
        self._pods = pods
        self._kept = revisions
        self._revisions = Revisions(client, revisions, "statefulsets")
        self._queue = WorkQueue("statefulsets")
        self._owners.subscribe(self._owner_changed)
        pods.report_to("statefulsets", self._queue)
        revisions.report_to("statefulsets", self._queue)

    async def run(self) -> None:
        informers = (self._owners, self._claims, self._pods.informer, self._kept.informer)
        await asyncio.gather(*(informer.synced() for informer in informers))
        await self._queue.run(self._sync, workers=WORKERS)

    def _owner_changed(self, kind: str, owner: Object, old: Object | None) -> None:
        if kind == "DELETED":
            self._pods.forget(owner["metadata"]["uid"])
        self._queue.add(key_of(owner))

    async def _sync(self, key: str) -> None:
        owner = self._owners.cache.get(key)
        if owner is None:
            return
        found, trusted = await self._pods.claimed(owner, suits=lambda pod: ordinal(owner, pod) >= 0)
        pods = {ordinal(owner, pod): pod for pod in found}
        known = await self._revisions.of(owner)
        update = await self._revisions.latest(owner, known)
        if update is None:
            return
        came_from = (owner.get("status") or {}).get("currentRevision")
        current = next((one for one in known if one["metadata"]["name"] == came_from), update)
        look = Look(owner, pods, current, update)
        try:
            if not trusted:
                self._queue.add_after(key, LOOK_AGAIN)
            elif not owner["metadata"].get("deletionTimestamp"):
                await self._step(look)
        finally:
            await write_status(self._client, "statefulsets", owner, status_of(look))
        used = {current["metadata"]["name"], update["metadata"]["name"], *map(revision_of, found)}
        await self._revisions.forget_oldest(owner, known, used)
        seconds = seconds_to_next_available(found, look.least_ready_seconds)
        if seconds is not None:
            self._queue.add_after(key, seconds)

    async def _step(self, look: Look) -> None:
        """The next thing to do; what comes after it is done when this one shows."""
        if not await self._make(look):
            return
        if not await self._take_away(look):
            return
        if look.is_rolling:
            await self._renew(look)

    async def _make(self, look: Look) -> bool:
        """See that every pod is there, one after the other or all at once; whether to go on."""
        for number in look.staying:
            pod = look.pods[number]
            if has_ended(pod) and not is_going(pod):
                self._say_recreated(look.owner, pod)
                await self._pods.delete(look.owner, [pod])
                return False
        missing = (number for number in look.numbers if number not in look.pods)
        if not look.in_order:
            await self._pods.create(look.owner, [await self._pod(look, number) for number in islice(missing, BURST)])
            await self._put_right(look)
            return True
        for number in look.numbers:
            if number not in look.pods:
                await self._pods.create(look.owner, [await self._pod(look, number)])
                return False
            if not look.is_well(number):
                return False
        await self._put_right(look)
        return True

    async def _take_away(self, look: Look) -> bool:
        """Those that are too many; whether to go on."""
        surplus = [look.pods[number] for number in look.surplus]
        if not look.in_order:
            going = [one for one in surplus if not is_going(one)]
            for one in going:
                await self._entrust(look, ordinal(look.owner, one), one)
            await self._pods.delete(look.owner, going)
            return True
        if not surplus:
            return True
        last = surplus[0]
        # One that is not well may be on its way up yet: it goes when no other of them is so.
        unwell = [number for number in sorted(look.surplus) if not look.is_well(number)]
        if not is_going(last) and (look.is_well(look.surplus[0]) or unwell == look.surplus[:1]):
            await self._entrust(look, look.surplus[0], last)
            await self._pods.delete(look.owner, [last])
        return False

    async def _renew(self, look: Look) -> None:
        """Take away the last pod that is not of the new template; it is made anew from it."""
        wanted = look.update["metadata"]["name"]
        for number in reversed(range(max(look.numbers.start, look.partition), look.numbers.stop)):
            pod = look.pods.get(number)
            if pod is None:
                return
            if revision_of(pod) != wanted and not is_going(pod):
                await self._pods.delete(look.owner, [pod])
                return
            if not look.is_well(number):
                return

    async def _pod(self, look: Look, number: int) -> Object:
        """A new pod, with its claims made."""
        heir = claim_heir(look.owner, None)
        for claim in claims(look.owner, number):
            if heir:
                claim["metadata"]["ownerReferences"] = [heir]
            await self._claim(look.owner, claim, f"{look.owner['metadata']['name']}-{number}")
        revision = look.revision_for(number)
        return numbered_pod(look.owner, template_of(revision), number, revision["metadata"]["name"])

    async def _claim(self, owner: Object, claim: Object, pod: str) -> None:
        name = claim["metadata"]["name"]
        if key_of(claim) in self._claims.cache:
            return
        what = f"create Claim {name} Pod {pod} in StatefulSet {owner['metadata']['name']}"
        try:
            await self._client.create("persistentvolumeclaims", claim)
        except ApiError as error:
            if error.is_already_exists:
                return
            self._pods.say(owner, WARNING, "FailedCreate", f"{what} failed error: {reason_of(error)}")
            raise
        self._pods.say(owner, NORMAL, "SuccessfulCreate", f"{what} success")

    async def _entrust(self, look: Look, number: int, going: Object | None = None) -> None:
        """Say of the pod's claims with whom they go, if with anybody; ``going``: the pod, when it is scaled away."""
        heir = claim_heir(look.owner, going)
        for claim in claims(look.owner, number):
            present = self._claims.cache.get(key_of(claim))
            if present is None:
                continue
            meta = present["metadata"]
            others = [one for one in meta.get("ownerReferences") or () if one["kind"] not in ("Pod", "StatefulSet")]
            wanted = [*others, *([heir] if heir else [])]
            if wanted != (meta.get("ownerReferences") or []):
                change = {"ownerReferences": wanted or None, "resourceVersion": meta["resourceVersion"]}
                await self._client.patch(
                    "persistentvolumeclaims", meta["name"], {"metadata": change}, meta["namespace"]
                )

    async def _put_right(self, look: Look) -> None:
        """The labels of pods that were taken over, and what becomes of their claims."""
        for number in look.staying:
            await self._entrust(look, number)
            pod = look.pods[number]
            wanted, meta = identity(look.owner, number), pod["metadata"]
            if not wanted.items() <= (meta.get("labels") or {}).items():
                patch = {"metadata": {"uid": meta["uid"], "labels": wanted}}
                await self._client.patch("pods", meta["name"], patch, meta["namespace"])

    def _say_recreated(self, owner: Object, pod: Object) -> None:
        meta = owner["metadata"]
        reason, word = (
            ("RecreatingFailedPod", "failed") if phase(pod) == "Failed" else ("RecreatingTerminatedPod", "terminated")
        )
        message = f"StatefulSet {meta['namespace']}/{meta['name']} is recreating {word} Pod {pod['metadata']['name']}"
        self._pods.say(owner, WARNING if word == "failed" else NORMAL, reason, message)


def status_of(look: Look) -> Object:
    """What is counted of the set's pods; a rolling update that is done makes its revision the current one."""
    pods: Sequence[Object] = list(look.pods.values())
    current, update = look.current["metadata"]["name"], look.update["metadata"]["name"]
    staying = [one for one in pods if not is_going(one)]
    ready = [one for one in pods if phase(one) == "Running" and is_ready(one)]
    numbers = {
        "currentReplicas": sum(1 for one in staying if revision_of(one) == current),
        "updatedReplicas": sum(1 for one in staying if revision_of(one) == update),
        "readyReplicas": len(ready),
    }
    if look.is_rolling and numbers["updatedReplicas"] == numbers["readyReplicas"] == len(pods):
        current, numbers["currentReplicas"] = update, numbers["updatedReplicas"]
    old: Mapping[str, Any] = look.owner.get("status") or {}
    return {
        "observedGeneration": look.owner["metadata"].get("generation") or 0,
        "replicas": len(pods),
        **{name: number for name, number in numbers.items() if number},
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": int(old.get("collisionCount") or 0),
        "availableReplicas": sum(1 for one in ready if is_available(one, look.least_ready_seconds)),
    }
