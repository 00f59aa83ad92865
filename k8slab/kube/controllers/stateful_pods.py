"""The pods of a stateful set: each has a number, and with it a name, a host name and claims that outlive it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.client import Object
from k8slab.kube.controllers.owned_pods import phase, pod_of

REVISION: Final = "controller-revision-hash"
POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
POD_INDEX: Final = "apps.kubernetes.io/pod-index"
NUMBERED: Final = re.compile(r"^(.*)-(0|[1-9][0-9]{0,9})$")


def ordinal(owner: Mapping[str, Any], pod: Mapping[str, Any]) -> int:
    """The pod's number in its set; -1 when its name is not one of the set's."""
    found = NUMBERED.match(pod["metadata"]["name"])
    return int(found[2]) if found and found[1] == owner["metadata"]["name"] else -1


def first_ordinal(owner: Mapping[str, Any]) -> int:
    return int((owner["spec"].get("ordinals") or {}).get("start") or 0)


def numbered_pod(owner: Object, template: Mapping[str, Any], number: int, revision: str) -> Object:
    """The set's pod of this number, to be created from a revision's template."""
    pod = pod_of(template, owner)
    name = f"{owner['metadata']['name']}-{number}"
    meta = {key: value for key, value in pod["metadata"].items() if key != "generateName"}
    labels = {**(meta.get("labels") or {}), **identity(owner, number), REVISION: revision}
    spec = {**pod["spec"], "hostname": name}
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    claimed = {one["metadata"]["name"]: claim_name(owner, one, number) for one in claim_templates(owner)}
    volumes = [one for one in spec.get("volumes") or () if one["name"] not in claimed]
    volumes += [{"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in claimed.items()]
    if volumes:
        spec["volumes"] = volumes
    return {"metadata": {**meta, "name": name, "labels": labels}, "spec": spec}


def identity(owner: Mapping[str, Any], number: int) -> dict[str, str]:
    """The labels that tell which of the set's pods it is."""
    return {POD_NAME: f"{owner['metadata']['name']}-{number}", POD_INDEX: str(number)}


def claims(owner: Object, number: int) -> list[Object]:
    """The claims of the pod of this number, to be created unless they are there."""
    chosen = owner["spec"]["selector"].get("matchLabels") or {}
    made = []
    for template in claim_templates(owner):
        meta = template["metadata"]
        labels = {**(meta.get("labels") or {}), **chosen}
        named = {"name": claim_name(owner, template, number), "namespace": owner["metadata"]["namespace"]}
        kept = {"annotations": meta["annotations"]} if meta.get("annotations") else {}
        made.append({"metadata": {**named, "labels": labels, **kept}, "spec": template["spec"]})
    return made


def claim_heir(owner: Object, pod: Object | None) -> Object | None:
    """With whom a claim goes: with its pod that is scaled away, with the set, or with nobody.

    The garbage collector sees to it; ``pod`` is the one that is to go because the set has become smaller.
    """
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    going_with = None
    if pod is not None and policy.get("whenScaled") == "Delete":
        going_with = {"apiVersion": "v1", "kind": "Pod", **_name_of(pod)}
    elif policy.get("whenDeleted") == "Delete":
        going_with = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **_name_of(owner)}
    return going_with


def _name_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}


def claim_templates(owner: Mapping[str, Any]) -> list[Object]:
    return list(owner["spec"].get("volumeClaimTemplates") or ())


def claim_name(owner: Mapping[str, Any], template: Mapping[str, Any], number: int) -> str:
    return f"{template['metadata']['name']}-{owner['metadata']['name']}-{number}"


def revision_of(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION) or "")


def is_going(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def has_ended(pod: Mapping[str, Any]) -> bool:
    return phase(pod) in ("Succeeded", "Failed")
