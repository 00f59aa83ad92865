"""v1beta1 (and v1beta2, which says the same): desired and current states, manifests, ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from k8slab.kube.api.legacy import meta
from k8slab.kube.api.legacy.containers import (
    container_from_v1,
    container_to_v1,
    volume_from_v1,
    volume_to_v1,
    volumes,
)
from k8slab.kube.api.meta import Object

RESTART: Final = {"always": "Always", "onFailure": "OnFailure", "never": "Never"}
PHASES: Final = {
    "Pending": "Waiting",
    "Running": "Running",
    "Succeeded": "Succeeded",
    "Failed": "Terminated",
    "Unknown": "Unknown",
}
STATUSES: Final = {"True": "Full", "False": "None", "Unknown": "Unknown"}
MANIFEST_VERSION: Final = "v1beta2"


def _pruned(obj: Mapping[str, Any]) -> Object:
    return {key: value for key, value in obj.items() if value not in (None, "", {}, [])}


def _spec(manifest: Mapping[str, Any]) -> Object:
    restart = manifest.get("restartPolicy") or {}
    chosen = next((now for was, now in RESTART.items() if was in restart), None)
    return _pruned(
        {
            "containers": [container_to_v1(one) for one in manifest.get("containers") or ()],
            "volumes": volumes(manifest.get("volumes"), volume_to_v1),
            "restartPolicy": chosen,
            "dnsPolicy": manifest.get("dnsPolicy"),
            "hostNetwork": manifest.get("hostNetwork"),
        }
    )


def _manifest(spec: Mapping[str, Any], identity: str = "", uid: str = "") -> Object:
    restart = next((was for was, now in RESTART.items() if now == spec.get("restartPolicy")), "always")
    manifest: Object = {
        "version": MANIFEST_VERSION,
        "id": identity,
        "volumes": volumes(spec.get("volumes"), volume_from_v1) or None,
        "containers": [container_from_v1(one) for one in spec.get("containers") or ()],
        "restartPolicy": {restart: {}},
        "dnsPolicy": spec.get("dnsPolicy"),
    }
    if uid:
        manifest["uuid"] = uid
    if spec.get("hostNetwork"):
        manifest["hostNetwork"] = True
    return {key: value for key, value in manifest.items() if value is not None or key == "volumes"}


def pod_to_v1(old: Mapping[str, Any]) -> Object:
    desired = old.get("desiredState") or {}
    manifest = desired.get("manifest") or {}
    flat = {**old, "id": old.get("id") or manifest.get("id")}
    spec = _spec(manifest)
    if desired.get("host"):
        spec["nodeName"] = desired["host"]
    if old.get("nodeSelector"):
        spec["nodeSelector"] = old["nodeSelector"]
    return {"metadata": meta.to_v1(flat), "spec": spec}


def pod_from_v1(new: Mapping[str, Any], path: str) -> Object:
    about, spec, status = new["metadata"], new.get("spec") or {}, new.get("status") or {}
    manifest = _manifest(spec, about["name"], about.get("uid") or "")
    host = spec.get("nodeName")
    info: Object = {one["name"]: _container_info(one) for one in status.get("containerStatuses") or ()}
    if status.get("podIP"):
        info["net"] = {"podIP": status["podIP"]}
    current = {
        "manifest": manifest,
        "status": PHASES.get(status.get("phase", "Pending"), "Unknown"),
        "Condition": [
            {"kind": one["type"], "status": STATUSES.get(one["status"], "Unknown")}
            for one in status.get("conditions") or ()
            if one["type"] == "Ready"
        ],
        "message": status.get("message"),
        "host": host,
        "hostIP": status.get("hostIP"),
        "podIP": status.get("podIP"),
        "info": info,
    }
    desired = _pruned({"manifest": manifest, "host": host, "status": "Running"})
    return {
        **meta.from_v1(about, path),
        "desiredState": desired,
        "currentState": _pruned(current),
        **_pruned({"nodeSelector": spec.get("nodeSelector")}),
    }


def _container_info(status: Mapping[str, Any]) -> Object:
    def state(given: Mapping[str, Any]) -> Object:
        return {("termination" if key == "terminated" else key): value for key, value in given.items()}

    info = {
        "state": state(status.get("state") or {}),
        "lastState": state(status.get("lastState") or {}),
        "ready": bool(status.get("ready")),
        "restartCount": int(status.get("restartCount") or 0),
        "image": status.get("image"),
        "imageID": status.get("imageID"),
        "containerID": status.get("containerID"),
    }
    return {key: value for key, value in info.items() if value not in (None, "", {})}


def controller_to_v1(old: Mapping[str, Any]) -> Object:
    desired = old.get("desiredState") or {}
    template = desired.get("podTemplate") or {}
    labels = template.get("labels") or {}
    inner = template.get("desiredState") or {}
    spec = _spec(inner.get("manifest") or {})
    if template.get("nodeSelector"):
        spec["nodeSelector"] = template["nodeSelector"]
    body: Object = {
        "replicas": desired.get("replicas", 0),
        "selector": desired.get("replicaSelector") or labels,
        "template": {"metadata": _pruned({"labels": labels, "annotations": template.get("annotations")}), "spec": spec},
    }
    return {"metadata": meta.to_v1(old), "spec": body}


def controller_from_v1(new: Mapping[str, Any], path: str) -> Object:
    spec, status = new.get("spec") or {}, new.get("status") or {}
    template = spec.get("template") or {}
    empty: Object = {"version": "", "id": "", "volumes": None, "containers": None, "restartPolicy": {}}
    return {
        **meta.from_v1(new["metadata"], path),
        "desiredState": {
            "replicas": spec.get("replicas", 0),
            "replicaSelector": spec.get("selector") or {},
            "podTemplate": {
                "desiredState": {"manifest": _manifest(template.get("spec") or {})},
                **_pruned(
                    {
                        "labels": (template.get("metadata") or {}).get("labels"),
                        "annotations": (template.get("metadata") or {}).get("annotations"),
                        "nodeSelector": (template.get("spec") or {}).get("nodeSelector"),
                    }
                ),
            },
        },
        "currentState": {
            "replicas": status.get("replicas", 0),
            "podTemplate": {"desiredState": {"manifest": empty}},
        },
    }


def service_to_v1(old: Mapping[str, Any]) -> Object:
    port = _pruned(
        {
            "port": old.get("port"),
            "protocol": old.get("protocol") or "TCP",
            "targetPort": old.get("containerPort") or old.get("port"),
        }
    )
    spec = {
        "ports": [port],
        "selector": old.get("selector"),
        "clusterIP": old.get("portalIP"),
        "externalIPs": old.get("publicIPs"),
        "type": "LoadBalancer" if old.get("createExternalLoadBalancer") else None,
        "sessionAffinity": old.get("sessionAffinity"),
    }
    return {"metadata": meta.to_v1(old), "spec": _pruned(spec)}


def service_from_v1(new: Mapping[str, Any], path: str) -> Object:
    spec = new.get("spec") or {}
    first = (spec.get("ports") or [{}])[0]
    body = {
        "port": first.get("port"),
        "protocol": first.get("protocol"),
        "containerPort": first.get("targetPort"),
        "selector": spec.get("selector"),
        "portalIP": spec.get("clusterIP"),
        "publicIPs": spec.get("externalIPs"),
        "createExternalLoadBalancer": spec.get("type") == "LoadBalancer" or None,
        "sessionAffinity": spec.get("sessionAffinity"),
    }
    return {**meta.from_v1(new["metadata"], path), **_pruned(body)}


def endpoints_to_v1(old: Mapping[str, Any]) -> Object:
    ports: dict[int, list[Object]] = {}
    for one in old.get("endpoints") or ():
        host, _, port = str(one).rpartition(":")
        ports.setdefault(int(port), []).append({"ip": host})
    subsets = [
        {"addresses": addresses, "ports": [{"port": port, "protocol": old.get("protocol") or "TCP"}]}
        for port, addresses in ports.items()
    ]
    return {"metadata": meta.to_v1(old), "subsets": old.get("subsets") or subsets}


def endpoints_from_v1(new: Mapping[str, Any], path: str) -> Object:
    subsets = new.get("subsets") or []
    pairs = [
        (f"{address['ip']}:{port['port']}", address.get("targetRef"))
        for subset in subsets
        for port in (subset.get("ports") or ())[:1]
        for address in subset.get("addresses") or ()
    ]
    body = {
        "endpoints": [where for where, _ in pairs],
        "protocol": next((port.get("protocol") for one in subsets for port in one.get("ports") or ()), "TCP"),
        "targetRefs": [{"endpoint": where, "targetRef": target} for where, target in pairs if target],
        "subsets": subsets,
    }
    return {**meta.from_v1(new["metadata"], path), **{key: value for key, value in body.items() if value}}


def minion_to_v1(old: Mapping[str, Any]) -> Object:
    status: Object = {}
    if capacity := (old.get("resources") or {}).get("capacity"):
        status = {"capacity": capacity, "allocatable": capacity}
    return {"metadata": meta.to_v1(old), "spec": _pruned({"podCIDR": old.get("podCIDR")}), "status": status}


def minion_from_v1(new: Mapping[str, Any], path: str) -> Object:
    spec, status = new.get("spec") or {}, new.get("status") or {}
    addresses = status.get("addresses") or []
    body = {
        "hostIP": next((one["address"] for one in addresses if one["type"] == "InternalIP"), None),
        "resources": _pruned({"capacity": status.get("capacity")}),
        "status": _pruned(
            {
                "conditions": [
                    {**one, "kind": one["type"], "status": STATUSES.get(one["status"], "Unknown")}
                    for one in status.get("conditions") or ()
                ],
                "addresses": addresses,
            }
        ),
        "podCIDR": spec.get("podCIDR"),
    }
    return {**meta.from_v1(new["metadata"], path), **_pruned(body)}


def event_to_v1(old: Mapping[str, Any]) -> Object:
    about = dict(old.get("involvedObject") or {})
    when = old.get("timestamp")
    body = {
        "involvedObject": about,
        "reason": old.get("reason"),
        "message": old.get("message"),
        "source": _pruned({"component": old.get("source"), "host": old.get("host")}),
        "firstTimestamp": old.get("firstTimestamp") or when,
        "lastTimestamp": old.get("lastTimestamp") or when,
        "count": old.get("count"),
    }
    return {"metadata": meta.to_v1(old), **_pruned(body)}


def event_from_v1(new: Mapping[str, Any], path: str) -> Object:
    source = new.get("source") or {}
    body = {
        "involvedObject": new.get("involvedObject"),
        "reason": new.get("reason"),
        "message": new.get("message"),
        "source": source.get("component"),
        "host": source.get("host"),
        "timestamp": new.get("lastTimestamp"),
        "firstTimestamp": new.get("firstTimestamp"),
        "lastTimestamp": new.get("lastTimestamp"),
        "count": new.get("count"),
    }
    return {**meta.from_v1(new["metadata"], path), **_pruned(body)}


def namespace_to_v1(old: Mapping[str, Any]) -> Object:
    return {"metadata": meta.to_v1(old)}


def namespace_from_v1(new: Mapping[str, Any], path: str) -> Object:
    body = {"spec": new.get("spec"), "status": new.get("status")}
    return {**meta.from_v1(new["metadata"], path), **_pruned(body)}


ToV1 = Callable[[Mapping[str, Any]], Object]
FromV1 = Callable[[Mapping[str, Any], str], Object]

# The plural in the path, as it is today → the name of then, its kind, and the way there and back.
FORMS: Final[Mapping[str, tuple[str, str, ToV1, FromV1]]] = {
    "pods": ("pods", "Pod", pod_to_v1, pod_from_v1),
    "replicationcontrollers": (
        "replicationControllers",
        "ReplicationController",
        controller_to_v1,
        controller_from_v1,
    ),
    "services": ("services", "Service", service_to_v1, service_from_v1),
    "endpoints": ("endpoints", "Endpoints", endpoints_to_v1, endpoints_from_v1),
    "nodes": ("minions", "Minion", minion_to_v1, minion_from_v1),
    "events": ("events", "Event", event_to_v1, event_from_v1),
    "namespaces": ("namespaces", "Namespace", namespace_to_v1, namespace_from_v1),
}
