"""The kinds that are served, one declaration each; of a group's versions the first is preferred."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.apps import APPS
from k8slab.kube.api.kinds.autoscaling import AUTOSCALING
from k8slab.kube.api.kinds.batch import BATCH
from k8slab.kube.api.kinds.components import COMPONENT_STATUS
from k8slab.kube.api.kinds.endpoint_slice import ENDPOINT_SLICE
from k8slab.kube.api.kinds.event import EVENT, EVENT_OF_GROUP
from k8slab.kube.api.kinds.limits import LIMIT_RANGE, RESOURCE_QUOTA
from k8slab.kube.api.kinds.namespace import NAMESPACE
from k8slab.kube.api.kinds.networking import NETWORKING
from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.policy import PDB
from k8slab.kube.api.kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from k8slab.kube.api.kinds.replication import POD_TEMPLATE, REPLICATION_CONTROLLER
from k8slab.kube.api.kinds.reviews import REVIEWS
from k8slab.kube.api.kinds.scheduling import PRIORITY_CLASS
from k8slab.kube.api.kinds.service import ENDPOINTS, SERVICE
from k8slab.kube.api.kinds.small import BINDING, CONFIG_MAP, LEASE, SECRET, SERVICE_ACCOUNT
from k8slab.kube.api.kinds.usage import NODE_METRICS, POD_METRICS
from k8slab.kube.api.kinds.volumes import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE

KINDS: Final[tuple[Kind, ...]] = (
    BINDING,
    COMPONENT_STATUS,
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    LIMIT_RANGE,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    POD_TEMPLATE,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    *APPS,
    EVENT_OF_GROUP,
    *REVIEWS,
    *AUTOSCALING,
    *BATCH,
    *NETWORKING,
    PDB,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    *STORAGE,
    PRIORITY_CLASS,
    LEASE,
    ENDPOINT_SLICE,
    NODE_METRICS,
    POD_METRICS,
)
