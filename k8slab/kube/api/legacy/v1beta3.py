"""v1beta3: today's shape in nearly everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.api.legacy import meta
from k8slab.kube.api.legacy.v1beta1 import FromV1, ToV1
from k8slab.kube.api.meta import Object


def _metadata(old: Mapping[str, Any]) -> Object:
    given = dict(old.get("metadata") or {})
    if name := given.get("name"):
        given["name"] = meta.name_of(str(name))
        if given["name"] != name:
            given["annotations"] = {**(given.get("annotations") or {}), meta.GIVEN_ID: name}
    given.pop("selfLink", None)
    return given


def _metadata_from_v1(new: Mapping[str, Any], path: str) -> Object:
    about = dict(new["metadata"])
    annotations = dict(about.pop("annotations", None) or {})
    if given := annotations.pop(meta.GIVEN_ID, ""):
        about["name"] = given
    about.pop("managedFields", None)
    return {**about, **({"annotations": annotations} if annotations else {}), "selfLink": path}


def same_to_v1(old: Mapping[str, Any]) -> Object:
    return {**{key: old[key] for key in old if key not in ("kind", "apiVersion")}, "metadata": _metadata(old)}


def same_from_v1(new: Mapping[str, Any], path: str) -> Object:
    kept = {key: value for key, value in new.items() if key not in ("kind", "apiVersion")}
    return {**kept, "metadata": _metadata_from_v1(new, path)}


def pod_to_v1(old: Mapping[str, Any]) -> Object:
    new = same_to_v1(old)
    spec = dict(new.get("spec") or {})
    if host := spec.pop("host", ""):
        spec.setdefault("nodeName", host)
    return {**new, "spec": spec}


def pod_from_v1(new: Mapping[str, Any], path: str) -> Object:
    old = same_from_v1(new, path)
    spec, status = dict(old.get("spec") or {}), dict(old.get("status") or {})
    if host := spec.pop("nodeName", ""):
        spec["host"] = status["host"] = host
    if "conditions" in status:
        status["Condition"] = status.pop("conditions")
    status["containerStatuses"] = [_container(one) for one in status.get("containerStatuses") or ()]
    return {**old, "spec": spec, "status": {key: value for key, value in status.items() if value != []}}


def _container(status: Mapping[str, Any]) -> Object:
    def state(given: Mapping[str, Any]) -> Object:
        return {("termination" if key == "terminated" else key): value for key, value in given.items()}

    states = {key: state(status[key]) for key in ("state", "lastState") if status.get(key)}
    return {**status, **states}


def service_to_v1(old: Mapping[str, Any]) -> Object:
    new = same_to_v1(old)
    spec = dict(new.get("spec") or {})
    single = {key: spec.pop(key) for key in ("port", "protocol", "targetPort") if spec.get(key)}
    if "containerPort" in spec:
        single["targetPort"] = spec.pop("containerPort")
    if single and not spec.get("ports"):
        spec["ports"] = [single]
    if portal := spec.pop("portalIP", ""):
        spec.setdefault("clusterIP", portal)
    if addresses := spec.pop("publicIPs", None):
        spec.setdefault("externalIPs", addresses)
    if spec.pop("createExternalLoadBalancer", False):
        spec.setdefault("type", "LoadBalancer")
    return {**new, "spec": spec}


def service_from_v1(new: Mapping[str, Any], path: str) -> Object:
    old = same_from_v1(new, path)
    spec = dict(old.get("spec") or {})
    first = (spec.get("ports") or [{}])[0]
    spec |= {key: first[key] for key in ("port", "protocol", "targetPort") if key in first}
    if "clusterIP" in spec:
        spec["portalIP"] = spec.pop("clusterIP")
    for today in ("clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
        spec.pop(today, None)
    if spec.pop("externalIPs", None):
        spec["publicIPs"] = new["spec"]["externalIPs"]
    if spec.pop("type", "") == "LoadBalancer":
        spec["createExternalLoadBalancer"] = True
    return {**old, "spec": spec}


def endpoints_from_v1(new: Mapping[str, Any], path: str) -> Object:
    old = same_from_v1(new, path)
    subsets = [
        {**one, "addresses": [{"IP": address["ip"], **address} for address in one.get("addresses") or ()]}
        for one in old.get("subsets") or ()
    ]
    return {**old, "subsets": subsets}


def endpoints_to_v1(old: Mapping[str, Any]) -> Object:
    new = same_to_v1(old)
    subsets = [
        {**one, "addresses": [_address(address) for address in one.get("addresses") or ()]}
        for one in new.get("subsets") or ()
    ]
    return {**new, "subsets": subsets}


def _address(old: Mapping[str, Any]) -> Object:
    new = {key: value for key, value in old.items() if key != "IP"}
    return new | ({"ip": old["IP"]} if old.get("IP") and not old.get("ip") else {})


FORMS: Final[Mapping[str, tuple[str, str, ToV1, FromV1]]] = {
    "pods": ("pods", "Pod", pod_to_v1, pod_from_v1),
    "replicationcontrollers": ("replicationcontrollers", "ReplicationController", same_to_v1, same_from_v1),
    "services": ("services", "Service", service_to_v1, service_from_v1),
    "endpoints": ("endpoints", "Endpoints", endpoints_to_v1, endpoints_from_v1),
    "nodes": ("nodes", "Node", same_to_v1, same_from_v1),
    "events": ("events", "Event", same_to_v1, same_from_v1),
    "namespaces": ("namespaces", "Namespace", same_to_v1, same_from_v1),
}
