"""ReplicationController and PodTemplate: the core group's own."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import NAME, Column, Kind, field_reader
from k8slab.kube.api.kinds.apps import REPLICA_COLUMNS
from k8slab.kube.api.kinds.service import shown_labels
from k8slab.kube.api.kinds.template import (
    SCALE,
    TEMPLATE_COLUMNS,
    counts_problems,
    mismatch,
    pod_spec_columns,
    starts_with_status,
    template_defaults,
    template_problems,
)
from k8slab.kube.api.meta import Object, dig


def _defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    labels = dig(spec, "template", "metadata", "labels")
    if labels:
        spec["selector"] = spec.get("selector") or dict(labels)
        meta = obj["metadata"]
        meta["labels"] = meta.get("labels") or dict(labels)
    spec.setdefault("replicas", 1)
    template_defaults(spec.get("template"))


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = counts_problems(spec, "minReadySeconds", "replicas")
    found += validation.labels("spec.selector", spec.get("selector"))
    if not spec.get("selector"):
        found.append(validation.required("spec.selector"))
    elif spec.get("template") is not None:
        labels = dig(spec, "template", "metadata", "labels")
        found += mismatch({"matchLabels": spec["selector"]}, labels, "spec.template.metadata.labels")
    return found + template_problems(spec.get("template"), "spec.template")


REPLICATION_CONTROLLER: Final = Kind(
    kind="ReplicationController",
    plural="replicationcontrollers",
    singular="replicationcontroller",
    short_names=("rc",),
    categories=("all",),
    columns=(
        *REPLICA_COLUMNS[:5],
        *TEMPLATE_COLUMNS,
        Column("Selector", lambda obj: shown_labels(dig(obj, "spec", "selector")), wide=True),
    ),
    fields={"status.replicas": field_reader("status", "replicas")},
    default=_defaults,
    prepare=starts_with_status(replicas=0),
    validate=_problems,
    status=True,
    generation=True,
    subresources=(SCALE,),
    orphans_dependents=True,
)

_CONTAINERS, _IMAGES = pod_spec_columns("template", "spec")
POD_TEMPLATE: Final = Kind(
    kind="PodTemplate",
    plural="podtemplates",
    singular="podtemplate",
    columns=(
        NAME,
        Column("Containers", _CONTAINERS.read),
        Column("Images", _IMAGES.read),
        Column("Pod Labels", lambda obj: shown_labels(dig(obj, "template", "metadata", "labels"))),
    ),
    default=lambda obj: template_defaults(obj.setdefault("template", {})),
    validate=lambda new, old: template_problems(
        new.get("template"), "template", restart=("Always", "Never", "OnFailure")
    ),
    generation=True,
)
