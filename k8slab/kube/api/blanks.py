"""Empty values that were stored before they were left out: they stay, for what has not been changed must not differ."""

from __future__ import annotations

from typing import Any

from k8slab.kube.api import schemas
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object


def with_stored_blanks(kind: Kind, new: Object, old: Object) -> Object:
    """A change of the object with those empty values of the old one's spec that mean what the change means."""
    if new.get("spec") == old.get("spec") or kind.schema not in schemas.types():
        return new
    try:
        meant, _ = schemas.decode(kind.schema, {"spec": old.get("spec")}, version=kind.version)
    except ApiFailure:
        return new
    if "spec" not in new or meant.get("spec") == old.get("spec"):
        return new
    return {**new, "spec": _restored(new["spec"], meant.get("spec"), old.get("spec"))}


def _restored(new: Any, meant: Any, old: Any) -> Any:
    """``meant``: the old value without what is empty."""
    if new == meant:
        return old
    if isinstance(new, dict) and isinstance(meant, dict) and isinstance(old, dict):
        blank = {key: item for key, item in old.items() if key not in meant and not item and item is not None}
        changed = {key: _restored(item, meant[key], old[key]) if key in meant else item for key, item in new.items()}
        return {**blank, **changed}
    if isinstance(new, list) and isinstance(meant, list) and isinstance(old, list) and len(new) == len(meant):
        return [_restored(*three) for three in zip(new, meant, old, strict=True)]
    return new
