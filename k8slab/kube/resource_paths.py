"""Where the resources that the daemons use live below a server's address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote


@dataclass(frozen=True)
class ResourcePath:
    """Where a resource lives: ``prefix`` such as "/api/v1"; ``api_version`` and ``kind`` as written in its objects."""

    prefix: str
    api_version: str
    kind: str
    namespaced: bool


def _core(kind: str, *, namespaced: bool = True) -> ResourcePath:
    return ResourcePath("/api/v1", "v1", kind, namespaced)


def _group(api_version: str, kind: str, *, namespaced: bool = True) -> ResourcePath:
    return ResourcePath(f"/apis/{api_version}", api_version, kind, namespaced)


RESOURCES: Final[Mapping[str, ResourcePath]] = {
    "bindings": _core("Binding"),
    "configmaps": _core("ConfigMap"),
    "endpoints": _core("Endpoints"),
    "events": _core("Event"),
    "namespaces": _core("Namespace", namespaced=False),
    "nodes": _core("Node", namespaced=False),
    "pods": _core("Pod"),
    "replicationcontrollers": _core("ReplicationController"),
    "secrets": _core("Secret"),
    "serviceaccounts": _core("ServiceAccount"),
    "services": _core("Service"),
    "limitranges": _core("LimitRange"),
    "persistentvolumeclaims": _core("PersistentVolumeClaim"),
    "podtemplates": _core("PodTemplate"),
    "resourcequotas": _core("ResourceQuota"),
    "controllerrevisions": _group("apps/v1", "ControllerRevision"),
    "cronjobs": _group("batch/v1", "CronJob"),
    "daemonsets": _group("apps/v1", "DaemonSet"),
    "deployments": _group("apps/v1", "Deployment"),
    "endpointslices": _group("discovery.k8s.io/v1", "EndpointSlice"),
    "horizontalpodautoscalers": _group("autoscaling/v2", "HorizontalPodAutoscaler"),
    "ingresses": _group("networking.k8s.io/v1", "Ingress"),
    "jobs": _group("batch/v1", "Job"),
    "leases": _group("coordination.k8s.io/v1", "Lease"),
    "networkpolicies": _group("networking.k8s.io/v1", "NetworkPolicy"),
    "poddisruptionbudgets": _group("policy/v1", "PodDisruptionBudget"),
    "replicasets": _group("apps/v1", "ReplicaSet"),
    "rolebindings": _group("rbac.authorization.k8s.io/v1", "RoleBinding"),
    "roles": _group("rbac.authorization.k8s.io/v1", "Role"),
    "statefulsets": _group("apps/v1", "StatefulSet"),
}


def path_of(
    resource: str, namespace: str | None, name: str = "", subresource: str = "", *, creating: bool = False
) -> str:
    where = RESOURCES[resource]
    parts = [where.prefix]
    if where.namespaced and (namespace or name or creating):
        parts += ["namespaces", quote(namespace or "default", safe="")]
    parts.append(resource)
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join(parts)
