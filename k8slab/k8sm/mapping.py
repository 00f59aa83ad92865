"""Pod ↔ Mesos task: names, ids, annotations, the task and its executor.

task id        pod.<uuid>                      one per launch of a pod
task name      <pod>.<namespace>.pod
data           the pod's JSON
executor id    <crc64 of its description>_k8sm-executor: other flags make another executor
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid1

import orjson

from k8slab.k8sm.resources import WantedPort, unreserved

PREFIX: Final = "k8s.mesosphere.io/"
BINDING_HOST: Final = PREFIX + "bindingHost"
TASK_ID: Final = PREFIX + "taskId"
SLAVE_ID: Final = PREFIX + "slaveId"
OFFER_ID: Final = PREFIX + "offerId"
EXECUTOR_ID: Final = PREFIX + "executorId"
ROLES: Final = PREFIX + "roles"
PORT: Final = PREFIX + "port_"
PORT_NAME: Final = PREFIX + "portName_"
DISCOVERY: Final = PREFIX + "discovery-"
ATTRIBUTE_LABEL: Final = PREFIX + "attribute-"

EXECUTOR_NAME: Final = "Kubelet-Executor"
EXECUTOR_SOURCE: Final = "kubernetes"
EXECUTOR_SUFFIX: Final = "k8sm-executor"

# What executor and scheduler say to each other in the message of a status.
CREATE_BINDING_SUCCESS: Final = "create-binding-success"
CREATE_BINDING_FAILURE: Final = "create-binding-failure"
LAUNCH_TASK_FAILED: Final = "launch-task-failed"
UNMARSHAL_FAILURE: Final = "unmarshal-task-data-failure"
POD_RUNNING: Final = "pod-running"
POD_DELETED: Final = "pod-deleted"
POD_SUCCEEDED: Final = "pod-succeeded"
POD_FAILED: Final = "pod-failed"
KILL_POD_TASK: Final = "kill-pod-task"
SUPERSEDED: Final = "task-superseded"
# Message to an executor: end, and leave the pods to the next one.
HAND_OVER: Final = b"hand-over"

_POLYNOMIAL: Final = 0xD800000000000000


@dataclass(frozen=True)
class Executor:
    """How `km executor` is started on an agent; ``command``: argv, its first word the program's path.

    ``data``: what it finds in its description.
    """

    id: str
    command: tuple[str, ...]
    cpus: float
    mem: float
    data: bytes = b""

    def info(self) -> dict[str, Any]:
        info = {
            "executor_id": {"value": self.id},
            "type": "CUSTOM",
            "name": EXECUTOR_NAME,
            "source": EXECUTOR_SOURCE,
            "command": {"shell": False, "value": self.command[0], "arguments": list(self.command)},
            "resources": unreserved(self.cpus, self.mem),
        }
        return {**info, "data": base64.b64encode(self.data).decode()} if self.data else info


def executor(command: Sequence[str], cpus: float, mem: float, data: bytes = b"") -> Executor:
    described = [EXECUTOR_NAME, EXECUTOR_SOURCE, *command, f"{cpus:g}", f"{mem:g}"]
    digest = crc64(b"\0".join([*map(str.encode, described), *([data] if data else [])]))
    return Executor(f"{digest:016x}_{EXECUTOR_SUFFIX}", tuple(command), cpus, mem, data)


def new_task_id() -> str:
    return f"pod.{uuid1()}"


def task_name(pod: Mapping[str, Any]) -> str:
    meta = pod["metadata"]
    return f"{meta['name']}.{meta['namespace']}.pod"


def pod_roles(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles whose resources the pod wants, in its order; () when it does not say."""
    return tuple(role.strip() for role in annotation(pod, ROLES).split(",") if role.strip())


def binding_annotations(*, task_id: str, host: str, agent: str, offer: str, executor: str) -> dict[str, str]:
    return {BINDING_HOST: host, TASK_ID: task_id, SLAVE_ID: agent, OFFER_ID: offer, EXECUTOR_ID: executor}


def with_host_ports(pod: Mapping[str, Any], wanted: Sequence[WantedPort], ports: Sequence[int]) -> dict[str, Any]:
    """The pod with its host ports filled in, and annotations that say them: port_TCP_80, portName_TCP_http."""
    containers = [
        {**one, "ports": [dict(port) for port in one.get("ports") or ()]} for one in pod["spec"]["containers"]
    ]
    said: dict[str, str] = {}
    for want, number in zip(wanted, ports, strict=True):
        port = containers[want.container]["ports"][want.port]
        port["hostPort"] = number
        protocol = port.get("protocol") or "TCP"
        said[f"{PORT}{protocol}_{port['containerPort']}"] = str(number)
        if port.get("name"):
            said[f"{PORT_NAME}{protocol}_{port['name']}"] = str(number)
    meta = pod["metadata"]
    return {
        **pod,
        "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), **said}},
        "spec": {**pod["spec"], "containers": containers},
    }


def task_info(
    pod: Mapping[str, Any],
    annotations: Mapping[str, str],
    resources: Sequence[Mapping[str, Any]],
    executor: Executor,
) -> dict[str, Any]:
    """The TaskInfo; ``annotations`` as binding_annotations makes them, ``resources`` taken from an offer."""
    meta = pod["metadata"]
    annotated = {**pod, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), **annotations}}}
    return {
        "name": task_name(pod),
        "task_id": {"value": annotations[TASK_ID]},
        "agent_id": {"value": annotations[SLAVE_ID]},
        "resources": list(resources),
        "executor": executor.info(),
        "data": base64.b64encode(orjson.dumps(annotated)).decode(),
    }


def discovery_info(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The DiscoveryInfo: the pod's discovery labels, and the host ports that it has."""
    labels = pod["metadata"].get("labels") or {}
    said = {word: labels.get(DISCOVERY + word, "") for word in ("name", "environment", "location", "version")}
    visibility = str(labels.get(f"{DISCOVERY}visibility", "")).upper()
    ports = [
        {
            "number": int(port["hostPort"]),
            "name": port.get("name") or str(port["containerPort"]),
            "protocol": (port.get("protocol") or "TCP").lower(),
        }
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]
    return {
        "visibility": visibility if visibility in ("FRAMEWORK", "CLUSTER", "EXTERNAL") else "CLUSTER",
        **{word: text for word, text in said.items() if text},
        "name": said["name"] or task_name(pod),
        "ports": {"ports": ports},
    }


def annotation(pod: Mapping[str, Any], name: str) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(name, ""))


def own_annotations(pod: Mapping[str, Any]) -> dict[str, str]:
    """The annotations that a binding writes, of a pod that came as a task's data."""
    own = {name: annotation(pod, name) for name in (BINDING_HOST, TASK_ID, SLAVE_ID, OFFER_ID, EXECUTOR_ID)}
    all_of_them = pod["metadata"].get("annotations") or {}
    return own | {name: text for name, text in all_of_them.items() if name.startswith((PORT, PORT_NAME))}


def crc64(data: bytes) -> int:
    """CRC-64 with the ISO 3309 polynomial."""
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFFFFFFFFFF


def _table() -> Iterable[int]:
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ _POLYNOMIAL if crc & 1 else crc >> 1
        yield crc


_TABLE: Final = tuple(_table())
