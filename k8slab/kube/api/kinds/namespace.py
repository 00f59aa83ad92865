"""Namespace. Deleting one only marks it: whoever empties it then takes its finalizer away."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, ALL_VERBS, NAME, Column, Kind, Subresource, field_reader
from k8slab.kube.api.meta import Object, dig

FINALIZER: Final = "kubernetes"
NAME_LABEL: Final = "kubernetes.io/metadata.name"
PROTECTED: Final = frozenset({"default", "kube-system", "kube-public"})


def _defaults(obj: Object) -> None:
    meta = obj["metadata"]
    if meta.get("name"):
        meta["labels"] = {**(meta.get("labels") or {}), NAME_LABEL: meta["name"]}


def _prepare(new: Object, old: Object | None) -> None:
    if old is None:
        spec = new.setdefault("spec", {})
        spec["finalizers"] = list(dict.fromkeys([*(spec.get("finalizers") or ()), FINALIZER]))
        new["status"] = {"phase": "Active"}
    else:
        new["spec"] = {**(new.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers") or []}
        new["status"] = old.get("status") or {"phase": "Active"}


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found = []
    for finalizer in dig(new, "spec", "finalizers") or ():
        if "/" not in finalizer and finalizer != FINALIZER:
            found.append(validation.invalid("spec.finalizers", finalizer, "name is neither a standard finalizer name"))
    return found


NAMESPACE: Final = Kind(
    kind="Namespace",
    plural="namespaces",
    singular="namespace",
    namespaced=False,
    short_names=("ns",),
    verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
    columns=(NAME, Column("Status", lambda obj: dig(obj, "status", "phase") or ""), AGE),
    fields={"status.phase": field_reader("status", "phase")},
    default=_defaults,
    prepare=_prepare,
    validate=_problems,
    name_problems=validation.label,
    status=True,
    subresources=(Subresource("finalize", "Namespace", ("update",)),),
)
