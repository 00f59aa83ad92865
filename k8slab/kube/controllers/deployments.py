"""Moves a deployment from one template of its pods to the next: a replica set for each, grown and shrunk in turn.

What is decided is in ``deployment_scaling`` (sizes), ``deployment_sets`` (revisions) and ``deployment_status``
(conditions); here it is carried out. Each look makes one step. What the step changes brings the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from k8slab.kube.client import ApiError, KubeClient, Object
from k8slab.kube.controllers import deployment_status
from k8slab.kube.controllers.deployment_scaling import Resize, bounds, is_rolling, new_size, roll, scale, was_scaled
from k8slab.kube.controllers.deployment_sets import (
    REVISION,
    ReplicaSets,
    age,
    annotated,
    counted,
    new_set,
    next_revision,
    revision_of,
    same_template,
    size,
    sized,
    sorted_out,
)
from k8slab.kube.controllers.deployment_status import PROGRESSING, Said, has_deadline, is_complete
from k8slab.kube.controllers.informers import SharedInformers
from k8slab.kube.controllers.node_lifecycle import condition
from k8slab.kube.controllers.owned import Owned, controller_of, is_controlled_by
from k8slab.kube.controllers.owned_pods import OwnedPods, is_of_a_namespace_that_ends, phase, reason_of
from k8slab.kube.controllers.workqueue import WorkQueue
from k8slab.kube.events import NORMAL, WARNING, EventRecorder
from k8slab.kube.informer import key_of

WORKERS: Final = 5
COMPONENT: Final = "deployment-controller"
# Times are written in whole seconds: one more makes sure that the moment has passed.
_ROUNDING: Final = 1.0


class DeploymentController:
    def __init__(
        self, client: KubeClient, informers: SharedInformers, recorder: EventRecorder, pods: OwnedPods, sets: Owned
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._deployments = informers.of("deployments")
        self._pods = pods
        self._sets = sets
        self._queue = WorkQueue("deployments")
        self._deployments.subscribe(lambda kind, deployment, old: self._queue.add(key_of(deployment)))
        sets.report_to("deployments", self._queue)
        pods.informer.subscribe(self._pod_changed)

    async def run(self) -> None:
        await asyncio.gather(self._deployments.synced(), self._sets.informer.synced(), self._pods.informer.synced())
        await self._queue.run(self._sync, workers=WORKERS)

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        """One that recreates its pods waits for the last of the old ones to be gone."""
        reference = controller_of(pod)
        if kind != "DELETED" or reference is None or reference.get("kind") != "ReplicaSet":
            return
        replica_set = self._sets.informer.cache.get(f"{pod['metadata']['namespace']}/{reference['name']}")
        owner = controller_of(replica_set)
        if owner is None:
            return
        deployment = self._deployments.cache.get(f"{pod['metadata']['namespace']}/{owner['name']}")
        if deployment and not is_rolling(deployment):
            self._queue.add(key_of(deployment))

    async def _sync(self, key: str) -> None:
        deployment = self._deployments.cache.get(key)
        if deployment is None:
            return
        try:
            await self._look_at(deployment)
        except ApiError as error:
            if not (error.is_not_found or is_of_a_namespace_that_ends(error)):
                raise

    async def _look_at(self, deployment: Object) -> None:
        found = await self._sets.claim(deployment, deployment["spec"]["selector"])
        if deployment["metadata"].get("deletionTimestamp"):
            await self._write_status(deployment, deployment_status.counts(deployment, sorted_out(deployment, found)))
            return
        deployment = await self._note_pause(deployment)
        deployment, sets = await self._numbered(deployment, sorted_out(deployment, found))
        if deployment["spec"].get("paused") or was_scaled(deployment, sets):
            sets = await self._carry_out(deployment, sets, scale(deployment, sets))
            if deployment["spec"].get("paused"):
                await self._forget_oldest(deployment, sets.old)
            await self._write_status(deployment, deployment_status.counts(deployment, sets))
        elif is_rolling(deployment):
            await self._roll(deployment, sets)
        else:
            await self._recreate(deployment, sets)

    async def _roll(self, deployment: Object, sets: ReplicaSets) -> None:
        deployment, sets = await self._with_new_set(deployment, sets)
        resizes = roll(deployment, sets)
        sets = await self._carry_out(deployment, sets, resizes)
        if not resizes and is_complete(deployment, deployment.get("status") or {}):
            await self._forget_oldest(deployment, sets.old)
        await self._tell_of_rollout(deployment, sets)

    async def _recreate(self, deployment: Object, sets: ReplicaSets) -> None:
        shrinking = [Resize(one, 0) for one in sets.active_old]
        if shrinking or self._old_pods_are_there(sets):
            sets = await self._carry_out(deployment, sets, shrinking)
            await self._tell_of_rollout(deployment, sets)
            return
        deployment, sets = await self._with_new_set(deployment, sets)
        wanted = deployment["spec"]["replicas"]
        if sets.new is not None and size(sets.new) != wanted:
            sets = await self._carry_out(deployment, sets, [Resize(sets.new, wanted)])
        if is_complete(deployment, deployment.get("status") or {}):
            await self._forget_oldest(deployment, sets.old)
        await self._tell_of_rollout(deployment, sets)

    def _old_pods_are_there(self, sets: ReplicaSets) -> bool:
        if any(counted(one) for one in sets.old):
            return True
        return any(phase(pod) not in ("Succeeded", "Failed") for one in sets.old for pod in self._pods.of(one))

    async def _numbered(self, deployment: Object, sets: ReplicaSets) -> tuple[Object, ReplicaSets]:
        """The new set, if it is there, with what the deployment has to tell it; its revision is the deployment's."""
        if sets.new is None:
            return deployment, sets
        new, least = sets.new, deployment["spec"].get("minReadySeconds") or 0
        annotations, changed = annotated(deployment, new["metadata"].get("annotations") or {}, next_revision(sets.old))
        if changed or (new["spec"].get("minReadySeconds") or 0) != least:
            new = await self._patch_set(new, annotations, {"minReadySeconds": least})
        said = None
        if not condition(deployment, PROGRESSING):
            said = Said(PROGRESSING, "True", "FoundNewReplicaSet", f'Found new replica set "{new["metadata"]["name"]}"')
        return await self._tell(deployment, said, str(revision_of(new))), sets.with_changed(new)

    async def _with_new_set(self, deployment: Object, sets: ReplicaSets) -> tuple[Object, ReplicaSets]:
        """With a replica set of the deployment's template, made if need be."""
        if sets.new is not None:
            return deployment, sets
        revision, limits = next_revision(sets.old), bounds(deployment)
        replicas = new_size(deployment, sets.old, 0)
        made = new_set(deployment, replicas, limits.most, revision)
        name, said = made["metadata"]["name"], None
        try:
            created = await self._client.create("replicasets", made)
        except ApiError as error:
            if error.is_already_exists:
                created = await self._made_before(deployment, name)
            else:
                await self._tell_of_failure(deployment, name, error)
                raise
        else:
            if replicas:
                self._say_scaled(deployment, name, 0, replicas)
            said = Said(PROGRESSING, "True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
        deployment = await self._tell(deployment, said, str(revision))
        return deployment, ReplicaSets(_typed(created, "ReplicaSet"), sets.old)

    async def _made_before(self, deployment: Object, name: str) -> Object:
        """The replica set of this name, when it is the deployment's own that was not seen yet.

        Else another template has the same hash: the next try will use another one.
        """
        found = await self._client.get("replicasets", name, deployment["metadata"]["namespace"])
        if is_controlled_by(found, deployment) and same_template(
            found["spec"]["template"], deployment["spec"]["template"]
        ):
            return found
        status = deployment.get("status") or {}
        collisions = {"collisionCount": int(status.get("collisionCount") or 0) + 1}
        await self._write_status(deployment, {**status, **collisions})
        raise ApiError(409, "Conflict", f"the name of replica set {name} is taken")

    async def _tell_of_failure(self, deployment: Object, name: str, error: ApiError) -> None:
        if is_of_a_namespace_that_ends(error):
            return
        message = f'Failed to create new replica set "{name}": {reason_of(error)}'
        self._recorder.say(deployment, WARNING, "ReplicaSetCreateError", message, component=COMPONENT)
        await self._tell(deployment, Said(PROGRESSING, "False", "ReplicaSetCreateError", message))

    async def _carry_out(self, deployment: Object, sets: ReplicaSets, resizes: Iterable[Resize]) -> ReplicaSets:
        most = bounds(deployment).most
        for resize in resizes:
            one, before = resize.set, size(resize.set)
            present = one["metadata"].get("annotations") or {}
            wanted = {**present, **sized(deployment, most)}
            if resize.replicas == before and wanted == present:
                continue
            sets = sets.with_changed(await self._patch_set(one, wanted, {"replicas": resize.replicas}))
            if resize.replicas != before:
                self._say_scaled(deployment, one["metadata"]["name"], before, resize.replicas)
        return sets

    def _say_scaled(self, deployment: Object, name: str, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {name} from {before} to {after}"
        self._recorder.say(deployment, NORMAL, "ScalingReplicaSet", message, component=COMPONENT)

    async def _patch_set(self, one: Object, annotations: dict[str, str], spec: Object) -> Object:
        """On condition that it is as it was seen."""
        meta = one["metadata"]
        patch = {"metadata": {"annotations": annotations, "resourceVersion": meta["resourceVersion"]}, "spec": spec}
        patched = await self._client.patch("replicasets", meta["name"], patch, meta["namespace"])
        return _typed(patched, "ReplicaSet")

    async def _forget_oldest(self, deployment: Object, old: Iterable[Object]) -> None:
        """Delete the sets of the oldest revisions, as far as they are more than are to be kept."""
        limit = deployment["spec"].get("revisionHistoryLimit")
        alive = [one for one in old if not one["metadata"].get("deletionTimestamp")]
        if limit is None or len(alive) <= limit:
            return
        for one in sorted(alive, key=lambda one: (revision_of(one), age(one)))[: len(alive) - limit]:
            meta = one["metadata"]
            behind = (meta.get("generation") or 0) > counted(one, "observedGeneration")
            if size(one) or counted(one) or behind:
                continue
            try:
                await self._client.delete("replicasets", meta["name"], meta["namespace"], uid=meta["uid"])
            except ApiError as error:
                if not (error.is_not_found or error.is_conflict):
                    raise

    async def _note_pause(self, deployment: Object) -> Object:
        """While it is paused it cannot be late; what was late before stays so."""
        current, paused = condition(deployment, PROGRESSING), bool(deployment["spec"].get("paused"))
        if not has_deadline(deployment) or current.get("reason") == deployment_status.TOO_LATE:
            return deployment
        noted = current.get("reason") == deployment_status.IS_PAUSED
        if paused and not noted:
            said = Said(PROGRESSING, "Unknown", deployment_status.IS_PAUSED, "Deployment is paused")
        elif noted and not paused:
            said = Said(PROGRESSING, "Unknown", deployment_status.IS_RESUMED, "Deployment is resumed")
        else:
            return deployment
        return await self._tell(deployment, said)

    async def _tell(self, deployment: Object, said: Said | None, revision: str = "") -> Object:
        """Write a condition (when the rollout has a deadline at all) and the revision, as far as they are news."""
        status = deployment.get("status") or {}
        annotations = deployment["metadata"].get("annotations") or {}
        told = deployment
        if revision and annotations.get(REVISION) != revision:
            told = {**told, "metadata": {**told["metadata"], "annotations": {**annotations, REVISION: revision}}}
        if said and has_deadline(deployment):
            conditions = deployment_status.with_said(status.get("conditions") or (), said)
            told = {**told, "status": {**status, "conditions": conditions}}
        return deployment if told == deployment else await self._put_status(told)

    async def _tell_of_rollout(self, deployment: Object, sets: ReplicaSets) -> None:
        if await self._write_status(deployment, deployment_status.of_rollout(deployment, sets)):
            return
        seconds = deployment_status.seconds_to_deadline(deployment)
        if seconds is not None:
            self._queue.add_after(key_of(deployment), max(seconds, 0) + _ROUNDING)

    async def _write_status(self, deployment: Object, status: Object) -> bool:
        """Whether there was anything to write."""
        if status == (deployment.get("status") or {}):
            return False
        await self._put_status({**deployment, "status": status})
        return True

    async def _put_status(self, deployment: Object) -> Object:
        return _typed(await self._client.update("deployments", deployment, subresource="status"), "Deployment")


def _typed(obj: Object, kind: str) -> Object:
    typed: dict[str, Any] = {"kind": kind, "apiVersion": "apps/v1", **obj}
    return typed
