"""Volumes that outlive pods: what there is, what is claimed, and the storage group's classes and drivers."""

from __future__ import annotations

from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.kinds.template import starts_with_status
from k8slab.kube.api.meta import Object, dig

GROUP: Final = "storage.k8s.io"
MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
RECLAIM: Final = ("Delete", "Recycle", "Retain")
BINDING_MODES: Final = ("Immediate", "WaitForFirstConsumer")
VOLUME_MODES: Final = ("Block", "Filesystem")
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
OLD_CLASS: Final = "volume.beta.kubernetes.io/storage-class"
# Fields of a volume's spec that are not where its bytes are.
ABOUT: Final = frozenset(
    {"accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy"}
    | {"storageClassName", "volumeAttributesClassName", "volumeMode"}
)
CLAIM_RULE: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def _volume_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if "hostPath" in spec:
        spec["hostPath"].setdefault("type", "")


def _modes_problems(spec: dict[str, Any]) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    modes = spec.get("accessModes") or ()
    if not modes:
        found.append(validation.required("spec.accessModes", "at least 1 access mode is required"))
    for mode in modes:
        found += validation.one_of("spec.accessModes", mode, MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        why = "may not use ReadWriteOncePod with other access modes"
        found.append(validation.forbidden("spec.accessModes", why))
    if spec.get("volumeMode") is not None:
        found += validation.one_of("spec.volumeMode", spec["volumeMode"], VOLUME_MODES)
    return found


def _volume_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = _modes_problems(spec)
    if not spec.get("capacity"):
        found.append(validation.required("spec.capacity"))
    elif "storage" not in spec["capacity"] or len(spec["capacity"]) > 1:
        found.append(validation.not_supported("spec.capacity", validation.Literal(str(spec["capacity"])), ("storage",)))
    else:
        found += validation.quantity("spec.capacity[storage]", spec["capacity"]["storage"], positive=True)
    sources = sorted(key for key in spec if key not in ABOUT)
    if not sources:
        found.append(validation.required("spec", "must specify a volume type"))
    for extra in sources[1:]:
        found.append(validation.forbidden(f"spec.{extra}", "may not specify more than 1 volume type"))
    if "hostPath" in spec and not spec["hostPath"].get("path"):
        found.append(validation.required("spec.hostPath.path"))
    elif "hostPath" in spec and ".." in spec["hostPath"]["path"].split("/"):
        found.append(validation.invalid("spec.hostPath.path", spec["hostPath"]["path"], "must not contain '..'"))
    if "local" in spec and not spec.get("nodeAffinity"):
        found.append(validation.required("spec.nodeAffinity", "Local volume requires node affinity"))
    found += validation.one_of("spec.persistentVolumeReclaimPolicy", spec["persistentVolumeReclaimPolicy"], RECLAIM)
    if old is not None and [spec.get(key) for key in sources] != [old["spec"].get(key) for key in sources]:
        found.append(
            validation.forbidden(
                "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"
            )
        )
    return found


def _claim_defaults(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _claim_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = _modes_problems(spec)
    found += validation.selector("spec.selector", spec.get("selector") or {})
    asked = dig(spec, "resources", "requests", "storage")
    if asked is None:
        found.append(validation.required("spec.resources[storage]"))
    else:
        found += validation.quantity("spec.resources[storage]", asked, positive=True)
    if old is not None:
        bound = dig(old, "status", "phase") == "Bound"
        free = {"resources", "volumeAttributesClassName"} if bound else set()
        if not old["spec"].get("volumeName"):
            free.add("volumeName")
        ours = {key: value for key, value in spec.items() if key not in free}
        if ours != {key: value for key, value in old["spec"].items() if key not in free}:
            found.append(validation.forbidden("spec", CLAIM_RULE))
    return found


def _class_defaults(obj: Object) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _class_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    if not new.get("provisioner"):
        found.append(validation.required("provisioner"))
    found += validation.one_of("reclaimPolicy", new["reclaimPolicy"], ("Delete", "Retain"))
    found += validation.one_of("volumeBindingMode", new["volumeBindingMode"], BINDING_MODES)
    if old is not None:
        for field, kept in (("parameters", {}), ("provisioner", ""), ("reclaimPolicy", "")):
            if (new.get(field) or kept) != (old.get(field) or kept):
                found.append(validation.forbidden(field, f"updates to {field} are forbidden."))
        if new["volumeBindingMode"] != old.get("volumeBindingMode"):
            found.append(validation.immutable("volumeBindingMode", new["volumeBindingMode"]))
    return found


def _shown_modes(*path: str) -> Column:
    return Column("Access Modes", lambda obj: ",".join(MODES.get(one, one) for one in dig(obj, *path) or ()))


def _phase(obj: Object) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return dig(obj, "status", "phase") or ""


def _class_of(obj: Object) -> str:
    old = (obj["metadata"].get("annotations") or {}).get(OLD_CLASS)
    return old or dig(obj, "spec", "storageClassName") or ""


def _claim_of(obj: Object) -> str:
    claim = dig(obj, "spec", "claimRef") or {}
    return f"{claim.get('namespace') or ''}/{claim.get('name')}" if claim else ""


def _attributes(obj: Object) -> str:
    return dig(obj, "spec", "volumeAttributesClassName") or "<unset>"


def _class_name(obj: Object) -> str:
    name = obj["metadata"]["name"]
    default = (obj["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    return f"{name} (default)" if default else name


MODE: Final = Column("VolumeMode", lambda obj: dig(obj, "spec", "volumeMode") or "<unset>", wide=True)

PERSISTENT_VOLUME: Final = Kind(
    kind="PersistentVolume",
    plural="persistentvolumes",
    singular="persistentvolume",
    namespaced=False,
    short_names=("pv",),
    columns=(
        NAME,
        Column("Capacity", lambda obj: dig(obj, "spec", "capacity", "storage") or ""),
        _shown_modes("spec", "accessModes"),
        Column("Reclaim Policy", lambda obj: dig(obj, "spec", "persistentVolumeReclaimPolicy") or ""),
        Column("Status", _phase),
        Column("Claim", _claim_of),
        Column("StorageClass", _class_of),
        Column("VolumeAttributesClass", _attributes),
        Column("Reason", lambda obj: dig(obj, "status", "reason") or ""),
        AGE,
        MODE,
    ),
    default=_volume_defaults,
    prepare=starts_with_status(phase="Pending"),
    validate=_volume_problems,
    status=True,
    returns_deleted=True,
)

PERSISTENT_VOLUME_CLAIM: Final = Kind(
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    short_names=("pvc",),
    columns=(
        NAME,
        Column("Status", _phase),
        Column("Volume", lambda obj: dig(obj, "spec", "volumeName") or ""),
        Column("Capacity", lambda obj: dig(obj, "status", "capacity", "storage") or ""),
        _shown_modes("status", "accessModes"),
        Column("StorageClass", _class_of),
        Column("VolumeAttributesClass", _attributes),
        AGE,
        MODE,
    ),
    default=_claim_defaults,
    prepare=starts_with_status(phase="Pending"),
    validate=_claim_problems,
    status=True,
    returns_deleted=True,
)

STORAGE_CLASS: Final = Kind(
    kind="StorageClass",
    plural="storageclasses",
    singular="storageclass",
    group=GROUP,
    namespaced=False,
    short_names=("sc",),
    columns=(
        Column(NAME.name, _class_name, format="name", description=NAME.description),
        Column("Provisioner", lambda obj: obj.get("provisioner") or ""),
        Column("ReclaimPolicy", lambda obj: obj.get("reclaimPolicy") or ""),
        Column("VolumeBindingMode", lambda obj: obj.get("volumeBindingMode") or ""),
        Column("AllowVolumeExpansion", lambda obj: bool(obj.get("allowVolumeExpansion")), type="boolean"),
        AGE,
    ),
    default=_class_defaults,
    validate=_class_problems,
    returns_deleted=True,
)

CSI_DRIVER: Final = Kind(
    kind="CSIDriver",
    plural="csidrivers",
    singular="csidriver",
    group=GROUP,
    namespaced=False,
    columns=(
        NAME,
        Column("AttachRequired", lambda obj: dig(obj, "spec", "attachRequired") is not False, type="boolean"),
        Column("PodInfoOnMount", lambda obj: bool(dig(obj, "spec", "podInfoOnMount")), type="boolean"),
        Column("StorageCapacity", lambda obj: bool(dig(obj, "spec", "storageCapacity")), type="boolean"),
        AGE,
    ),
    returns_deleted=True,
)

CSI_NODE: Final = Kind(
    kind="CSINode",
    plural="csinodes",
    singular="csinode",
    group=GROUP,
    namespaced=False,
    columns=(NAME, Column("Drivers", lambda obj: len(dig(obj, "spec", "drivers") or ()), type="integer"), AGE),
    returns_deleted=True,
)

VOLUME_ATTACHMENT: Final = Kind(
    kind="VolumeAttachment",
    plural="volumeattachments",
    singular="volumeattachment",
    group=GROUP,
    namespaced=False,
    columns=(
        NAME,
        Column("Attacher", lambda obj: dig(obj, "spec", "attacher") or "", format="name"),
        Column("PV", lambda obj: dig(obj, "spec", "source", "persistentVolumeName") or ""),
        Column("Node", lambda obj: dig(obj, "spec", "nodeName") or ""),
        Column("Attached", lambda obj: bool(dig(obj, "status", "attached")), type="boolean"),
        AGE,
    ),
    prepare=starts_with_status(attached=False),
    status=True,
    returns_deleted=True,
)

STORAGE: Final = (CSI_DRIVER, CSI_NODE, STORAGE_CLASS, VOLUME_ATTACHMENT)
