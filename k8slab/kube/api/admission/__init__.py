"""What the cluster makes of a new object before it is kept, and what it refuses, by what other objects say."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from k8slab.kube.api import errors
from k8slab.kube.api.admission import accounts, limits, pods
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.limits import LIMIT_RANGE
from k8slab.kube.api.kinds.namespace import NAMESPACE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.volumes import PERSISTENT_VOLUME_CLAIM
from k8slab.kube.api.known import Known
from k8slab.kube.api.meta import Object

PLUGINS = (
    "DefaultTolerationSeconds",
    "LimitRanger",
    "NamespaceLifecycle",
    "Priority",
    "ResourceQuota",
    "ServiceAccount",
)


class Admission:
    """``disabled``: those of PLUGINS that do not judge; ``toleration_seconds``: by the taint that is tolerated."""

    def __init__(
        self,
        known: Known,
        disabled: Collection[str] = (),
        toleration_seconds: Mapping[str, int] = pods.TOLERATION_SECONDS,
    ) -> None:
        self.known = known
        self._toleration_seconds = toleration_seconds
        self._disabled = frozenset(disabled)

    def has(self, plugin: str) -> bool:
        return plugin not in self._disabled

    async def change(self, kind: Kind, namespace: str, obj: Object) -> None:
        """Fill in what the cluster decides about a new object. Raises Forbidden and NotFound."""
        if kind.namespaced and self.has("NamespaceLifecycle"):
            await self._open_namespace(kind, namespace, obj["metadata"].get("name") or "")
        if kind is not POD:
            return
        await self.known.up_to_date()
        if self.has("ServiceAccount"):
            accounts.name_account(obj)
            await accounts.use_account(obj, self.known)
        if self.has("LimitRanger"):
            limits.fill_in(obj, self.known.all(LIMIT_RANGE, namespace))
        if self.has("Priority"):
            await pods.rank(obj, self.known)
        if self.has("DefaultTolerationSeconds"):
            pods.tolerate(obj, self._toleration_seconds)

    async def judge(self, kind: Kind, namespace: str, obj: Object) -> None:
        """Raises Forbidden for what the namespace does not allow."""
        if kind in (POD, PERSISTENT_VOLUME_CLAIM) and self.has("LimitRanger"):
            ranges = self.known.all(LIMIT_RANGE, namespace)
            (limits.judge_pod if kind is POD else limits.judge_claim)(obj, ranges)

    async def _open_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        """Raises unless the namespace is there and takes new objects."""
        found = await self.known.find(NAMESPACE, "", namespace)
        if found is None:
            raise errors.not_found("", NAMESPACE.plural, namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise errors.forbidden(kind.group, kind.plural, name, why, causes=[cause])
