"""How a pod's containers are called and marked in the engine, so that they can be found again by anyone.

k8s_<container>_<pod>_<namespace>_<uid>_<attempt>       the pause container's <container> is POD
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PREFIX: Final = "k8s"
SANDBOX: Final = "POD"

LABEL_NODE: Final = "io.kubernetes.node.name"
LABEL_POD: Final = "io.kubernetes.pod.name"
LABEL_NAMESPACE: Final = "io.kubernetes.pod.namespace"
LABEL_UID: Final = "io.kubernetes.pod.uid"
LABEL_CONTAINER: Final = "io.kubernetes.container.name"
LABEL_ATTEMPT: Final = "io.kubernetes.container.restartCount"
LABEL_GRACE: Final = "io.kubernetes.pod.terminationGracePeriod"
LABEL_MESSAGE_PATH: Final = "io.kubernetes.container.terminationMessagePath"


@dataclass(frozen=True)
class ContainerName:
    container: str
    pod: str
    namespace: str
    uid: str
    attempt: int

    def __str__(self) -> str:
        return "_".join((PREFIX, self.container, self.pod, self.namespace, self.uid, str(self.attempt)))


def parse(name: str) -> ContainerName | None:
    """The parts of a container's name, or None when it is not one of a pod's. A leading "/" is the engine's habit."""
    parts = name.removeprefix("/").split("_")
    if len(parts) != 6 or parts[0] != PREFIX or not parts[5].isdigit():
        return None
    return ContainerName(parts[1], parts[2], parts[3], parts[4], int(parts[5]))


def container_name(pod: Mapping[str, Any], container: str, attempt: int) -> ContainerName:
    meta = pod["metadata"]
    return ContainerName(container, meta["name"], meta["namespace"], meta["uid"], attempt)


def labels(name: ContainerName, node: str) -> dict[str, str]:
    return {
        LABEL_NODE: node,
        LABEL_POD: name.pod,
        LABEL_NAMESPACE: name.namespace,
        LABEL_UID: name.uid,
        LABEL_CONTAINER: name.container,
        LABEL_ATTEMPT: str(name.attempt),
    }


def full_name(pod: Mapping[str, Any]) -> str:
    """ "<pod>_<namespace>", the form in which a kubelet and its frameworks speak of a pod."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}"


def display_name(pod: Mapping[str, Any]) -> str:
    meta = pod["metadata"]
    return f"{meta['namespace']}/{meta['name']}"
