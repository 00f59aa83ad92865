"""One object of every kind that a client may create, and what ``kubectl get`` prints of it (ages cut off)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TEMPLATE = "{metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: 'nginx:1'}, {name: d, image: d}]}}"
_ENDING = "{spec: {restartPolicy: Never, containers: [{name: c, image: 'busybox:1'}]}}"
_SELECTED = f"selector: {{matchLabels: {{app: x}}}}, template: {_TEMPLATE}"


@dataclass(frozen=True)
class Manifest:
    """``rest``: the fields besides kind, version and metadata; ``row``: the cells after the name, with -o wide."""

    api_version: str
    kind: str
    resource: str
    rest: str
    row: str
    since: int = 0

    @property
    def yaml(self) -> str:
        return f"apiVersion: {self.api_version}\nkind: {self.kind}\nmetadata: {{name: x1}}\n{self.rest}\n"


NAMESPACED: Final = (
    Manifest(
        "apps/v1", "Deployment", "deploy", f"spec: {{replicas: 3, {_SELECTED}}}", "0/3 0 0 AGE c,d nginx:1,d app=x"
    ),
    Manifest("apps/v1", "ReplicaSet", "rs", f"spec: {{replicas: 2, {_SELECTED}}}", "2 0 0 AGE c,d nginx:1,d app=x"),
    Manifest("apps/v1", "DaemonSet", "ds", f"spec: {{{_SELECTED}}}", "0 0 0 0 0 <none> AGE c,d nginx:1,d app=x"),
    Manifest("apps/v1", "StatefulSet", "sts", f"spec: {{serviceName: s, {_SELECTED}}}", "0/1 AGE c,d nginx:1,d"),
    Manifest("apps/v1", "ControllerRevision", "controllerrevisions", "revision: 3", "<none> 3 AGE"),
    Manifest("v1", "ReplicationController", "rc", f"spec: {{template: {_TEMPLATE}}}", "1 0 0 AGE c,d nginx:1,d app=x"),
    Manifest("v1", "PodTemplate", "podtemplates", f"template: {_TEMPLATE}", "c,d nginx:1,d app=x"),
    Manifest("batch/v1", "Job", "jobs", f"spec: {{template: {_ENDING}}}", "Running 0/1 AGE c busybox:1 ANY"),
    Manifest(
        "batch/v1",
        "CronJob",
        "cj",
        f"spec: {{schedule: '*/5 * * * *', jobTemplate: {{spec: {{template: {_ENDING}}}}}}}",
        "*/5 * * * * <none> False 0 <none> AGE c busybox:1 <none>",
        since=21,
    ),
    Manifest(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "hpa",
        "spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}}",
        "Deployment/d cpu: <unknown>/80% 1 5 0 AGE",
        since=23,
    ),
    Manifest(
        "policy/v1",
        "PodDisruptionBudget",
        "pdb",
        "spec: {minAvailable: 50%, selector: {matchLabels: {app: x}}}",
        "50% N/A 0 AGE",
        since=21,
    ),
    Manifest(
        "networking.k8s.io/v1",
        "Ingress",
        "ing",
        "spec: {rules: [{host: a.b, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: "
        "{number: 80}}}}]}}]}",
        "<none> a.b 80 AGE",
    ),
    Manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "netpol",
        "spec: {podSelector: {matchLabels: {app: x}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}",
        "app=x AGE",
    ),
    Manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "endpointslices",
        "addressType: IPv4\nendpoints: [{addresses: [10.1.2.3]}]\nports: [{port: 80}]",
        "IPv4 80 10.1.2.3 AGE",
        since=21,
    ),
    Manifest("v1", "LimitRange", "limits", "spec: {limits: [{type: Container, max: {cpu: '2'}}]}", "DATE"),
    Manifest("v1", "ResourceQuota", "quota", "spec: {hard: {configmaps: '9'}}", "configmaps: 1/9 AGE"),
    Manifest(
        "v1",
        "PersistentVolumeClaim",
        "pvc",
        "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}",
        "Pending <unset> AGE Filesystem",
    ),
    Manifest("coordination.k8s.io/v1", "Lease", "leases", "spec: {holderIdentity: me}", "me AGE"),
    Manifest(
        "rbac.authorization.k8s.io/v1",
        "Role",
        "roles",
        "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]",
        "DATE",
    ),
    Manifest(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "rolebindings",
        "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}\nsubjects: [{kind: User, name: u}]",
        "Role/r AGE u",
    ),
)

CLUSTER: Final = (
    Manifest("scheduling.k8s.io/v1", "PriorityClass", "pc", "value: 7", "7 false AGE PreemptLowerPriority"),
    Manifest("storage.k8s.io/v1", "StorageClass", "sc", "provisioner: a.b/c", "a.b/c Delete Immediate false AGE"),
    Manifest("networking.k8s.io/v1", "IngressClass", "ingressclasses", "spec: {controller: a.b/c}", "a.b/c <none> AGE"),
    Manifest(
        "v1",
        "PersistentVolume",
        "pv",
        "spec: {capacity: {storage: 5Gi}, accessModes: [ReadWriteOnce, ReadOnlyMany], hostPath: {path: /tmp/x}}",
        "5Gi RWO,ROX Retain Pending <unset> AGE Filesystem",
    ),
    Manifest(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "clusterroles",
        "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]",
        "DATE",
    ),
    Manifest("storage.k8s.io/v1", "CSIDriver", "csidrivers", "spec: {podInfoOnMount: true}", "true true false AGE"),
)
