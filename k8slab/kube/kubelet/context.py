"""What all pods of one kubelet share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from k8slab.kube.client import Object
from k8slab.kube.events import EventRecorder
from k8slab.kube.kubelet.backoff import BackOff
from k8slab.kube.kubelet.engine import Engine
from k8slab.kube.kubelet.images import Images
from k8slab.kube.kubelet.objects import Supplies
from k8slab.kube.kubelet.resolver import DnsConfig

INFRA_IMAGE: Final = "k8slab/pause:1"
ROOT: Final = Path("/var/lib/kubelet")
PORT: Final = 10250

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """``node``: its name; ``address``: where its kubelet listens and its host ports are; ``services``: all services of
    the cluster, for the environment; ``supplies``: what else of the API pods are made of; ``publish``: told each new
    status of a pod."""

    engine: Engine
    images: Images
    recorder: EventRecorder
    node: str
    address: str
    services: Callable[[], Awaitable[list[Object]]]
    supplies: Supplies
    publish: Callable[[Pod, Object], None]
    root: Path = ROOT
    infra_image: str = INFRA_IMAGE
    dns: DnsConfig = field(default_factory=DnsConfig)
    restarts: BackOff = field(default_factory=BackOff)
