"""Metadata: flat and with a number for a version in v1beta1, of its own and nearly today's in v1beta3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.api.meta import Object

# Names of the first year may have capitals, which today's may not: what was given is kept beside the name.
GIVEN_ID: Final = "k8slab.io/legacy-id"
SHARED: Final = ("uid", "creationTimestamp", "deletionTimestamp", "generateName", "annotations", "labels", "namespace")


def name_of(given: str) -> str:
    return given.lower()


def to_v1(flat: Mapping[str, Any]) -> Object:
    meta: Object = {key: flat[key] for key in SHARED if flat.get(key)}
    if given := flat.get("id"):
        meta["name"] = name_of(str(given))
        if meta["name"] != given:
            meta["annotations"] = {**(meta.get("annotations") or {}), GIVEN_ID: given}
    if flat.get("resourceVersion"):
        meta["resourceVersion"] = str(flat["resourceVersion"])
    return meta


def from_v1(meta: Mapping[str, Any], path: str) -> Object:
    """``path`` is the object's own, for its link."""
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if key != GIVEN_ID}
    given = (meta.get("annotations") or {}).get(GIVEN_ID) or meta["name"]
    flat: Object = {
        "id": given,
        "uid": meta.get("uid"),
        "creationTimestamp": meta.get("creationTimestamp"),
        "deletionTimestamp": meta.get("deletionTimestamp"),
        "selfLink": path,
        "resourceVersion": int(meta["resourceVersion"]) if meta.get("resourceVersion") else None,
        "namespace": meta.get("namespace"),
        "generateName": meta.get("generateName"),
        "annotations": annotations or None,
        "labels": meta.get("labels"),
    }
    return {key: value for key, value in flat.items() if value is not None}
