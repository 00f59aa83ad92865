"""Making and deleting the pods of a controller, so that none is made twice because the first was not seen yet.

What was written is known to have been seen once the copy of the pods has got as far as that write; until then an
owner's count is not to be trusted, and its controller waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from k8slab.kube import clock
from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.node_lifecycle import condition
from k8slab.kube.controllers.owned import Owned, controller_reference, is_controlled_by, selector_of
from k8slab.kube.events import NORMAL, WARNING, EventRecorder

# A write that never shows up here is forgotten after so many seconds: better a pod too many than an owner stuck.
PATIENCE: Final = 300.0
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
PHASES: Final = {"Pending": 0, "Unknown": 1, "Running": 2}

# Who names its pods says so in other words.
CREATED: Final = {"StatefulSet": "create Pod {pod} in StatefulSet {owner} successful"}
NOT_CREATED: Final = {"StatefulSet": "create Pod {pod} in StatefulSet {owner} failed error: {why}"}
DELETED: Final = {"StatefulSet": "delete Pod {pod} in StatefulSet {owner} successful"}
NOT_DELETED: Final = {"StatefulSet": "delete Pod {pod} in StatefulSet {owner} failed error: {why}"}

T = TypeVar("T")


@dataclass
class _Awaited:
    """What an owner's writes must still show: a version to get to, and pods (by uid) to see go.

    ``in_doubt``: whether pods may have been made though the server did not say so.
    """

    version: int = 0
    in_doubt: bool = False
    going: set[str] = field(default_factory=set)
    since: float = field(default_factory=time.monotonic)


class OwnedPods(Owned):
    def __init__(self, client: KubeClient, informers: SharedInformers, recorder: EventRecorder) -> None:
        super().__init__(client, informers, "pods")
        self._recorder = recorder
        self._awaited: dict[str, _Awaited] = {}

    async def all_seen(self, owner: Object) -> bool:
        """Whether this owner's pods are here as its last writes left them; its key comes again when they are.

        Raises ApiError and ApiUnavailable when the server has to be asked how it left them and does not say.
        """
        uid = owner["metadata"]["uid"]
        awaited = self._awaited.get(uid)
        if awaited is None:
            return True
        if awaited.in_doubt:
            awaited.version = max(awaited.version, await self._newest(owner))
            awaited.in_doubt = False
        here = {one["metadata"]["uid"]: one for one in self.of(owner)}
        awaited.going = {one for one in awaited.going if one in here and is_active(here[one])}
        seen = not awaited.going and self.informer.has_seen(str(awaited.version))
        if seen or time.monotonic() - awaited.since > PATIENCE:
            del self._awaited[uid]
            return True
        return False

    async def claimed(
        self, owner: Object, *, suits: Callable[[Object], bool] = lambda pod: True
    ) -> tuple[list[Object], bool]:
        """The pods that the owner has or takes over, and whether all are seen, so that their count is to be trusted.

        ``suits`` is what they must be like besides being selected. Raises as ``all_seen`` does.
        """
        trusted = await self.all_seen(owner)
        return await self.claim(owner, selector_of(owner), suits=suits), trusted

    def forget(self, uid: str) -> None:
        """For an owner that is gone."""
        self._awaited.pop(uid, None)

    async def create(self, owner: Object, pods: Sequence[Object]) -> None:
        """Create these pods for the owner, a few first and more with each success.

        Raises the first failure (ApiError, ApiUnavailable) after those that were under way; the rest is not tried. In a
        namespace that is being deleted nothing is created, which is no failure.
        """
        try:
            await slow_start(pods, partial(self._create_one, owner))
        except ApiError as error:
            if not is_of_a_namespace_that_ends(error):
                raise

    async def delete(self, owner: Object, pods: Iterable[Object]) -> None:
        """Delete these pods of the owner, all at once. Raises the first failure when all are done."""
        done = await asyncio.gather(*(self._delete_one(owner, one) for one in pods), return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _create_one(self, owner: Object, pod: Object) -> None:
        namespace = owner["metadata"]["namespace"]
        try:
            created = await self._client.create("pods", pod, namespace)
        except (ApiError, ApiUnavailable) as trouble:
            taken = isinstance(trouble, ApiError) and trouble.is_already_exists
            if not (taken or is_of_a_namespace_that_ends(trouble)):
                words = NOT_CREATED.get(owner["kind"], "Error creating: {why}")
                self._say(owner, WARNING, "FailedCreate", words, pod["metadata"].get("name", ""), trouble)
            if isinstance(trouble, ApiUnavailable) or trouble.code >= 500:
                # What a server or its store did before they fell silent is done: once more would be one pod too many.
                self._of(owner).in_doubt = True
            raise
        meta = created["metadata"]
        awaited = self._of(owner)
        awaited.version = max(awaited.version, int(meta["resourceVersion"]))
        self._say(owner, NORMAL, "SuccessfulCreate", CREATED.get(owner["kind"], "Created pod: {pod}"), meta["name"])

    async def _newest(self, owner: Object) -> int:
        """The version of the owner's pod that was changed last, as the server has them."""
        labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
        selector = ",".join(f"{key}={text}" for key, text in labels.items())
        listed = await self._client.list("pods", owner["metadata"]["namespace"], label_selector=selector)
        own = (one["metadata"]["resourceVersion"] for one in listed.items if is_controlled_by(one, owner))
        return max(map(int, own), default=0)

    async def _delete_one(self, owner: Object, pod: Object) -> None:
        meta = pod["metadata"]
        try:
            await self._client.delete("pods", meta["name"], meta["namespace"], uid=meta["uid"])
        except (ApiError, ApiUnavailable) as trouble:
            if isinstance(trouble, ApiError) and (trouble.is_not_found or trouble.is_conflict):
                return
            words = NOT_DELETED.get(owner["kind"], "Error deleting: {why}")
            self._say(owner, WARNING, "FailedDelete", words, meta["name"], trouble)
            raise
        self._of(owner).going.add(meta["uid"])
        self._say(owner, NORMAL, "SuccessfulDelete", DELETED.get(owner["kind"], "Deleted pod: {pod}"), meta["name"])

    def _say(
        self, owner: Object, kind: str, reason: str, words: str, pod: str, trouble: Exception | None = None
    ) -> None:
        why = reason_of(trouble) if trouble else ""
        self.say(owner, kind, reason, words.format(pod=pod, owner=owner["metadata"]["name"], why=why))

    def say(self, owner: Object, kind: str, reason: str, message: str) -> None:
        """Tell of the owner what its controller has done."""
        named = "replication" if owner["kind"] == "ReplicationController" else owner["kind"].lower()
        self._recorder.say(owner, kind, reason, message, component=f"{named}-controller")

    def _of(self, owner: Object) -> _Awaited:
        return self._awaited.setdefault(owner["metadata"]["uid"], _Awaited())


async def slow_start(things: Sequence[T], act: Callable[[T], Awaitable[None]]) -> None:
    """Act on one, then two, then four at a time…, as long as none fails: a mistake is not made a thousand times.

    Raises the first failure of the last batch.
    """
    left, size = iter(things), 1
    while batch := list(islice(left, size)):
        outcomes = await asyncio.gather(*(act(one) for one in batch), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        size *= 2


def pod_of(template: Mapping[str, Any], owner: Object) -> Object:
    """A new pod from an owner's template, to be named by the server."""
    wanted = template.get("metadata") or {}
    kept = {key: wanted[key] for key in ("labels", "annotations", "finalizers") if wanted.get(key)}
    metadata = {
        **kept,
        "generateName": f"{owner['metadata']['name']}-",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [controller_reference(owner)],
    }
    return {"metadata": metadata, "spec": template.get("spec") or {}}


def is_active(pod: Mapping[str, Any]) -> bool:
    """Neither ended nor on its way out."""
    return phase(pod) not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: Mapping[str, Any]) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def ready_since(pod: Mapping[str, Any]) -> float:
    """Seconds since the epoch; 0 when it does not say."""
    moment = condition(pod, "Ready").get("lastTransitionTime")
    return clock.parse(moment).timestamp() if moment else 0.0


def is_available(pod: Mapping[str, Any], min_ready_seconds: int, now: float | None = None) -> bool:
    """Ready for at least so long."""
    return is_ready(pod) and seconds_to_available(pod, min_ready_seconds, now) <= 0


def seconds_to_available(pod: Mapping[str, Any], min_ready_seconds: int, now: float | None = None) -> float:
    """For a pod that is ready: how long it must stay so until it is available; not above 0 when it is."""
    if not min_ready_seconds:
        return 0.0
    return ready_since(pod) + min_ready_seconds - (time.time() if now is None else now)


def seconds_to_next_available(pods: Iterable[Mapping[str, Any]], min_ready_seconds: int) -> float | None:
    """Until the next of those that are ready has been so for long enough; None when no time makes a difference."""
    if not min_ready_seconds:
        return None
    waits = (seconds_to_available(one, min_ready_seconds) for one in pods if is_ready(one))
    return min((seconds for seconds in waits if seconds > 0), default=None)


def phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def to_delete(pods: Sequence[Object], count: int, related: Iterable[Mapping[str, Any]] = ()) -> list[Object]:
    """The pods that are the least loss. ``related``: all that do the same work; nodes with many of them give first."""
    if count >= len(pods):
        return list(pods)
    together = Counter(_node(one) for one in related if is_active(one))
    now = datetime.now(UTC).timestamp()
    return sorted(pods, key=lambda pod: _loss(pod, together, now))[:count]


def _loss(pod: Mapping[str, Any], together: Mapping[str, int], now: float) -> tuple[Any, ...]:
    ready = is_ready(pod)
    return (
        bool(_node(pod)),
        PHASES.get(phase(pod), 1),
        ready,
        _cost(pod),
        -together[_node(pod)] if _node(pod) else 0,
        _age_class(ready_since(pod), now) if ready else 0,
        -sum(int(one.get("restartCount") or 0) for one in (pod.get("status") or {}).get("containerStatuses") or ()),
        _age_class(_created(pod), now),
        pod["metadata"].get("uid") or "",
    )


def _age_class(moment: float, now: float) -> int:
    """Ages count by their order of magnitude, so that among pods of about one age chance decides."""
    return int(math.log2((now - moment) * 1e9)) if now > moment else -1


def _created(pod: Mapping[str, Any]) -> float:
    moment = pod["metadata"].get("creationTimestamp")
    return clock.parse(moment).timestamp() if moment else 0.0


def _cost(pod: Mapping[str, Any]) -> int:
    try:
        return int((pod["metadata"].get("annotations") or {}).get(DELETION_COST) or 0)
    except ValueError:
        return 0


def _node(pod: Mapping[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def reason_of(trouble: Exception) -> str:
    """The failure as the server words it."""
    return trouble.message if isinstance(trouble, ApiError) else str(trouble)


def is_of_a_namespace_that_ends(trouble: Exception) -> bool:
    """Nothing can be created there any more, and that is nobody's failure."""
    return isinstance(trouble, ApiError) and trouble.code == 403 and "it is being terminated" in trouble.message
