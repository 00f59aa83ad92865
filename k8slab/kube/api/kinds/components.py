"""ComponentStatus: how a part of the control plane is; kept nowhere."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api.kind import NAME, Column, Kind
from k8slab.kube.api.meta import Object


def _healthy(obj: Object) -> Object:
    return next((one for one in obj.get("conditions") or () if one["type"] == "Healthy"), {})


COMPONENT_STATUS: Final = Kind(
    kind="ComponentStatus",
    plural="componentstatuses",
    singular="componentstatus",
    short_names=("cs",),
    namespaced=False,
    verbs=("get", "list"),
    stored=False,
    columns=(
        NAME,
        Column("Status", lambda obj: "Healthy" if _healthy(obj).get("status") == "True" else "Unhealthy"),
        Column("Message", lambda obj: _healthy(obj).get("message") or ""),
        Column("Error", lambda obj: _healthy(obj).get("error") or ""),
    ),
)
