"""The kinds that are served, one declaration each."""

from __future__ import annotations

from typing import Final

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.event import EVENT
from k8slab.kube.api.kinds.namespace import NAMESPACE
from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from k8slab.kube.api.kinds.reviews import REVIEWS
from k8slab.kube.api.kinds.service import ENDPOINTS, SERVICE
from k8slab.kube.api.kinds.small import BINDING, CONFIG_MAP, LEASE, SECRET, SERVICE_ACCOUNT

KINDS: Final[tuple[Kind, ...]] = (
    BINDING,
    CONFIG_MAP,
    ENDPOINTS,
    EVENT,
    NAMESPACE,
    NODE,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    LEASE,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    *REVIEWS,
)
