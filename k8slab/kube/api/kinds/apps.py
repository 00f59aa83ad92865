"""The apps group: what keeps pods of one template running."""

from __future__ import annotations

from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind, field_reader
from k8slab.kube.api.kinds.service import shown_labels
from k8slab.kube.api.kinds.template import (
    SCALE,
    SELECTOR,
    TEMPLATE_COLUMNS,
    counts_problems,
    number,
    selector_is_kept,
    selector_problems,
    share,
    starts_with_status,
    template_defaults,
    template_problems,
)
from k8slab.kube.api.meta import Object, dig

GROUP: Final = "apps"
REVISIONS: Final = 10
DEADLINE: Final = 600
# The original knows no bound, and cannot count with what 32 bits do not hold.
MOST_SURGE: Final = 2**31 - 1
STATEFUL_RULE: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
STATEFUL_CHANGES: Final = (
    *("replicas", "ordinals", "template", "updateStrategy", "minReadySeconds", "revisionHistoryLimit"),
    "persistentVolumeClaimRetentionPolicy",
)


def _deployment_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", REVISIONS)
    spec.setdefault("progressDeadlineSeconds", DEADLINE)
    template_defaults(spec.get("template"))


def _deployment_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = counts_problems(spec, "replicas") + selector_problems(spec, "spec", "deployment")
    found += template_problems(spec.get("template"), "spec.template")
    found += _strategy_problems(spec["strategy"])
    found += counts_problems(spec, "minReadySeconds", "revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        found += counts_problems(spec, "progressDeadlineSeconds")
        if deadline <= spec.get("minReadySeconds", 0):
            found.append(
                validation.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
            )
    return found + selector_is_kept(new, old)


def _strategy_problems(strategy: dict[str, Any]) -> list[FieldProblem]:
    path = "spec.strategy"
    if strategy["type"] == "Recreate":
        if strategy.get("rollingUpdate") is None:
            return []
        why = "may not be specified when strategy `type` is 'Recreate'"
        return [validation.forbidden(f"{path}.rollingUpdate", why)]
    if strategy["type"] != "RollingUpdate":
        return [validation.not_supported(f"{path}.type", strategy["type"], ("Recreate", "RollingUpdate"))]
    rolling = strategy["rollingUpdate"]
    found = share(f"{path}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"])
    surge = rolling["maxSurge"]
    found += share(f"{path}.rollingUpdate.maxSurge", surge, most=MOST_SURGE)
    if rolling["maxUnavailable"] in (0, "0%") and surge in (0, "0%"):
        why = "may not be 0 when `maxSurge` is 0"
        found.append(validation.invalid(f"{path}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why))
    return found


def _replica_set_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    template_defaults(spec.get("template"))


def _replica_set_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = counts_problems(spec, "replicas", "minReadySeconds") + selector_problems(spec, "spec", "replicaset")
    return found + template_problems(spec.get("template"), "spec.template") + selector_is_kept(new, old)


def _daemon_set_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", REVISIONS)
    template_defaults(spec.get("template"))


def _daemon_set_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = selector_problems(spec, "spec", "daemonset") + template_problems(spec.get("template"), "spec.template")
    found += counts_problems(spec, "minReadySeconds", "revisionHistoryLimit")
    found += _update_problems(spec["updateStrategy"])
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        found += _rolling_daemon_problems(spec["updateStrategy"]["rollingUpdate"], "spec.updateStrategy.rollingUpdate")
    return found + selector_is_kept(new, old)


def _update_problems(strategy: dict[str, Any]) -> list[FieldProblem]:
    return validation.one_of("spec.updateStrategy.type", strategy["type"], ("OnDelete", "RollingUpdate"))


def _rolling_daemon_problems(rolling: dict[str, Any], path: str) -> list[FieldProblem]:
    unavailable, surge = rolling["maxUnavailable"], rolling["maxSurge"]
    found = share(f"{path}.maxUnavailable", unavailable) + share(f"{path}.maxSurge", surge)
    away, above = (value not in (0, "0%") for value in (unavailable, surge))
    if away and above:
        why = "may not be set when maxUnavailable is non-zero"
        found.append(validation.invalid(f"{path}.maxSurge", surge, why))
    if not away and not above:
        found.append(validation.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return found


def _stateful_set_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", REVISIONS)
    template_defaults(spec.get("template"))
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {}).setdefault("phase", "Pending")


def _stateful_set_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = validation.one_of("spec.podManagementPolicy", spec["podManagementPolicy"], ("OrderedReady", "Parallel"))
    found += _update_problems(spec["updateStrategy"])
    found += _partition_problems(spec["updateStrategy"])
    retention, where = spec["persistentVolumeClaimRetentionPolicy"], "spec.persistentVolumeClaimRetentionPolicy"
    for field in ("whenDeleted", "whenScaled"):
        found += validation.one_of(f"{where}.{field}", retention[field], ("Retain", "Delete"))
    found += counts_problems(spec, "replicas", "minReadySeconds")
    found += validation.not_negative("spec.ordinals.start", dig(spec, "ordinals", "start"))
    found += selector_problems(spec, "spec", "statefulset")
    found += template_problems(_with_claims(spec), "spec.template")
    if old is not None:
        ours = {key: value for key, value in spec.items() if key not in STATEFUL_CHANGES}
        was = {key: value for key, value in old["spec"].items() if key not in STATEFUL_CHANGES}
        if ours != was:
            found.append(validation.forbidden("spec", STATEFUL_RULE))
    return found


def _partition_problems(strategy: dict[str, Any]) -> list[FieldProblem]:
    rolling, path = strategy.get("rollingUpdate"), "spec.updateStrategy.rollingUpdate"
    if rolling is None:
        return []
    if strategy["type"] == "OnDelete":
        shown = validation.Literal("apps.RollingUpdateStatefulSetStrategy{…}")
        return [validation.invalid(path, shown, "only allowed for updateStrategy 'RollingUpdate'")]
    found = validation.not_negative(f"{path}.partition", rolling.get("partition"))
    if (most := rolling.get("maxUnavailable")) is not None:
        found += share(f"{path}.maxUnavailable", most)
        if most in (0, "0%"):
            found.append(validation.invalid(f"{path}.maxUnavailable", most, "cannot be 0"))
    return found


def _with_claims(spec: dict[str, Any]) -> dict[str, Any] | None:
    """The template as its pods will be: with a volume for each claim."""
    template: dict[str, Any] | None = spec.get("template")
    claims = [dig(one, "metadata", "name") or "" for one in spec.get("volumeClaimTemplates") or ()]
    if template is None or not claims:
        return template
    mounted = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    volumes = [one for one in dig(template, "spec", "volumes") or () if one.get("name") not in claims]
    return {**template, "spec": {**template["spec"], "volumes": [*volumes, *mounted]}}


def _revision_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    if old is not None and new.get("data") != old.get("data"):
        return [validation.immutable("data", validation.Literal("runtime.RawExtension"))]
    return counts_problems({"revision": new.get("revision")}, "revision") if (new.get("revision") or 0) < 0 else []


def _owner(obj: Object) -> str:
    """The controller as kubectl names it: "daemonset.apps/web"."""
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            group = owner["apiVersion"].rpartition("/")[0]
            kind = owner["kind"].lower()
            return f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"
    return "<none>"


def ready_of_wanted(obj: Object) -> str:
    return f"{dig(obj, 'status', 'readyReplicas') or 0}/{dig(obj, 'spec', 'replicas') or 0}"


DEPLOYMENT: Final = Kind(
    kind="Deployment",
    plural="deployments",
    singular="deployment",
    group=GROUP,
    short_names=("deploy",),
    categories=("all",),
    columns=(
        NAME,
        Column("Ready", ready_of_wanted),
        number("Up-to-date", "status", "updatedReplicas"),
        number("Available", "status", "availableReplicas"),
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    default=_deployment_defaults,
    prepare=starts_with_status(),
    validate=_deployment_problems,
    status=True,
    generation=True,
    # They are copied to its replica sets.
    annotations_raise_generation=True,
    subresources=(SCALE,),
)

REPLICA_COLUMNS: Final = (
    NAME,
    number("Desired", "spec", "replicas"),
    number("Current", "status", "replicas"),
    number("Ready", "status", "readyReplicas"),
    AGE,
    *TEMPLATE_COLUMNS,
    SELECTOR,
)

REPLICA_SET: Final = Kind(
    kind="ReplicaSet",
    plural="replicasets",
    singular="replicaset",
    group=GROUP,
    short_names=("rs",),
    categories=("all",),
    columns=REPLICA_COLUMNS,
    fields={"status.replicas": field_reader("status", "replicas")},
    default=_replica_set_defaults,
    prepare=starts_with_status(replicas=0),
    validate=_replica_set_problems,
    status=True,
    generation=True,
    subresources=(SCALE,),
)

DAEMON_SET: Final = Kind(
    kind="DaemonSet",
    plural="daemonsets",
    singular="daemonset",
    group=GROUP,
    short_names=("ds",),
    categories=("all",),
    columns=(
        NAME,
        number("Desired", "status", "desiredNumberScheduled"),
        number("Current", "status", "currentNumberScheduled"),
        number("Ready", "status", "numberReady"),
        number("Up-to-date", "status", "updatedNumberScheduled"),
        number("Available", "status", "numberAvailable"),
        Column("Node Selector", lambda obj: shown_labels(dig(obj, "spec", "template", "spec", "nodeSelector"))),
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    default=_daemon_set_defaults,
    prepare=starts_with_status(currentNumberScheduled=0, numberMisscheduled=0, desiredNumberScheduled=0, numberReady=0),
    validate=_daemon_set_problems,
    status=True,
    generation=True,
)

STATEFUL_SET: Final = Kind(
    kind="StatefulSet",
    plural="statefulsets",
    singular="statefulset",
    group=GROUP,
    short_names=("sts",),
    categories=("all",),
    columns=(NAME, Column("Ready", ready_of_wanted), AGE, *TEMPLATE_COLUMNS),
    default=_stateful_set_defaults,
    prepare=starts_with_status(replicas=0, availableReplicas=0),
    validate=_stateful_set_problems,
    status=True,
    generation=True,
    subresources=(SCALE,),
)

CONTROLLER_REVISION: Final = Kind(
    kind="ControllerRevision",
    plural="controllerrevisions",
    singular="controllerrevision",
    group=GROUP,
    columns=(
        NAME,
        Column("Controller", _owner),
        Column("Revision", lambda obj: obj.get("revision") or 0, "integer"),
        AGE,
    ),
    validate=_revision_problems,
)

APPS: Final = (CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET, STATEFUL_SET)
