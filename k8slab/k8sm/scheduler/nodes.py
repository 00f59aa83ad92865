"""Keeps a Kubernetes node for every Mesos agent: made from what the master says, refreshed while the agent lives.

Node name = agent's host name; capacity = the agent's resources, not the machine's. A node of an agent that the master
declares lost becomes not ready at once; one whose agent is merely away is no longer refreshed, and the node controller
notices.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from k8slab.k8sm import mapping
from k8slab.kube.api.version import GIT_VERSION
from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.clock import rfc3339
from k8slab.mesos.authentication import Credentials

log = logging.getLogger(__name__)

KUBELET_PORT: Final = 10250
PODS_PER_NODE: Final = 110
# With no offers flowing nobody tells of a new agent: the master is asked, in big clusters not all the time.
LOOK: Final = 1.0
LOOK_SHARE: Final = 50
WRITES_AT_ONCE: Final = 16
POD_CIDR_ATTRIBUTE: Final = "podCIDR"

_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_ADDRESS: Final = re.compile(r"@(\[?[^\]@]+\]?):\d+$")


@dataclass(frozen=True)
class Agent:
    """``resources``: cpus, mem, disk as the master's /slaves has them (cores, MB, MB); ``active``: connected now."""

    id: str
    host: str
    address: str
    resources: Mapping[str, Any]
    attributes: Mapping[str, str]
    active: bool


def parse(raw: Mapping[str, Any]) -> Agent:
    """From one element of the master's /slaves."""
    address = _ADDRESS.search(raw.get("pid") or "")
    return Agent(
        id=raw["id"],
        host=raw["hostname"],
        address=address.group(1) if address else "",
        resources=raw.get("resources") or {},
        attributes={key: _text(value) for key, value in (raw.get("attributes") or {}).items()},
        active=bool(raw.get("active", True)),
    )


def node_object(agent: Agent) -> Object:
    labels = {
        "kubernetes.io/hostname": agent.host,
        "kubernetes.io/os": "linux",
        **{
            f"{mapping.ATTRIBUTE_LABEL}{name}": text
            for name, text in agent.attributes.items()
            if _LABEL_VALUE.fullmatch(text)
        },
    }
    spec = {"podCIDR": cidr, "podCIDRs": [cidr]} if (cidr := agent.attributes.get(POD_CIDR_ATTRIBUTE)) else {}
    return {
        "metadata": {"name": agent.host, "labels": labels, "annotations": {mapping.SLAVE_ID: agent.id}},
        "spec": spec,
    }


def node_status(agent: Agent, before: Mapping[str, Any], *, lost: bool = False) -> Object:
    """``before``: the node's present status, whose transition times are kept where nothing changed."""
    amounts = {
        "cpu": f"{round(float(agent.resources.get('cpus') or 0) * 1000)}m",
        "memory": f"{int(float(agent.resources.get('mem') or 0))}Mi",
        "ephemeral-storage": f"{int(float(agent.resources.get('disk') or 0))}Mi",
        "pods": str(PODS_PER_NODE),
    }
    if amounts["cpu"].endswith("000m"):
        amounts["cpu"] = amounts["cpu"].removesuffix("000m")
    old: Mapping[str, Any] = next((one for one in before.get("conditions") or () if one["type"] == "Ready"), {})
    status = "False" if lost else "True"
    now = rfc3339()
    ready = {
        "type": "Ready",
        "status": status,
        "reason": "SlaveLost" if lost else "SlaveReady",
        "message": "mesos reports that the agent is lost" if lost else "mesos reports ready status",
        "lastHeartbeatTime": old.get("lastHeartbeatTime", now) if lost else now,
        "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else now,
    }
    others = [one for one in before.get("conditions") or () if one["type"] != "Ready"]
    return {
        "capacity": amounts,
        "allocatable": amounts,
        "conditions": [*others, ready],
        "addresses": [
            {"type": "InternalIP", "address": agent.address or agent.host},
            {"type": "Hostname", "address": agent.host},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
    }


def new_status(agent: Agent) -> Object:
    """Of a node that is made now. Later its nodeInfo is the executor's to write, who knows the machine."""
    return {**node_status(agent, {}), "nodeInfo": _NODE_INFO}


_NODE_INFO: Final = {
    "machineID": "",
    "systemUUID": "",
    "bootID": "",
    "kernelVersion": "",
    "osImage": "",
    "containerRuntimeVersion": "",
    "kubeletVersion": GIT_VERSION,
    "kubeProxyVersion": "",
    "operatingSystem": "linux",
    "architecture": "amd64",
}


class NodeKeeper:
    """``nodes``: the API's, by name, as far as they are known; ``period``: seconds between two looks at the agents."""

    def __init__(
        self,
        client: KubeClient,
        nodes: Callable[[], Mapping[str, Object]],
        *,
        period: float,
        credentials: Credentials | None = None,
    ) -> None:
        self._headers = credentials.headers if credentials else {}
        self._client = client
        self._nodes = nodes
        self._period = period
        self._writers = asyncio.Semaphore(WRITES_AT_ONCE)
        self._agents: dict[str, Agent] = {}
        self._lost: set[str] = set()
        self._master = ""
        self._wake = asyncio.Event()

    @property
    def agents(self) -> Mapping[str, Agent]:
        """By agent id, as the master listed them last."""
        return self._agents

    def subscribed(self, master: str) -> None:
        """``master``: host:port of the leader from now on."""
        self._master = master
        self._wake.set()

    def disconnected(self) -> None:
        self._master = ""

    def noticed(self, agent: str) -> None:
        """An offer of this agent came: a new agent gets its node now, not at the next look."""
        self._lost.discard(agent)
        if agent not in self._agents:
            self._wake.set()

    def lost(self, agent: str) -> None:
        self._lost.add(agent)
        self._wake.set()

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        refreshed = float("-inf")
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            while True:
                self._wake.clear()
                began = clock()
                due = began - refreshed >= self._period
                if self._master and await self._look(session, all_of_them=due) and due:
                    refreshed = began
                try:
                    await asyncio.wait_for(self._wake.wait(), max(LOOK, LOOK_SHARE * (clock() - began)))
                except TimeoutError:
                    continue

    async def _look(self, session: aiohttp.ClientSession, *, all_of_them: bool) -> bool:
        """One look at the master's agents: new and lost ones get their nodes, or all of them. Whether it went well."""
        try:
            async with session.get(f"http://{self._master}/slaves") as response:
                response.raise_for_status()
                listed = [parse(raw) for raw in (await response.json(content_type=None))["slaves"]]
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError) as trouble:
            log.info("the master %s did not list its agents: %s", self._master, trouble or type(trouble).__name__)
            return False
        known = {**self._agents, **{agent.id: agent for agent in listed}}
        present = {agent.id for agent in listed}
        hosts = {agent.host for agent in listed if agent.active}
        keeping: list[tuple[Agent, bool]] = []
        for agent in known.values():
            alive = agent.id in present and agent.active
            # A lost agent's machine may be back under a new agent id: then that one speaks for the node.
            lost = agent.id in self._lost and agent.host not in hosts
            if lost or (alive and (all_of_them or agent != self._agents.get(agent.id))):
                keeping.append((agent, lost))
        kept = await asyncio.gather(*(self._keep(agent, lost=lost) for agent, lost in keeping))
        # What could not be written is as good as not seen: it is new again at the next look.
        failed = {agent.id for (agent, _), well in zip(keeping, kept, strict=True) if not well}
        self._lost -= {agent for agent in self._lost if agent not in known or known[agent].host in hosts}
        self._agents = {agent.id: agent for agent in listed if agent.id not in failed} | {
            agent: known[agent] for agent in self._lost if agent in known
        }
        return not failed

    async def _keep(self, agent: Agent, *, lost: bool) -> bool:
        async with self._writers:
            try:
                node = await self._ensure(agent)
                status = node_status(agent, node.get("status") or {}, lost=lost)
                if lost and not _is_ready(node):
                    return True
                await self._client.patch("nodes", agent.host, {"status": status}, subresource="status")
            except (ApiError, ApiUnavailable) as error:
                log.warning("node %s not refreshed: %s", agent.host, error)
                return False
            return True

    async def _ensure(self, agent: Agent) -> Object:
        wanted = node_object(agent)
        node = self._nodes().get(agent.host)
        if node is None:
            try:
                made = await self._client.create("nodes", {**wanted, "status": new_status(agent)})
            except ApiError as error:
                if not error.is_already_exists:
                    raise
                node = await self._client.get("nodes", agent.host)
            else:
                log.info("agent %s is node %s", agent.id, agent.host)
                return made
        patch: Object = {}
        for section in ("labels", "annotations"):
            own = {
                key: None
                for key in node["metadata"].get(section) or {}
                if key.startswith(mapping.ATTRIBUTE_LABEL) and key not in wanted["metadata"][section]
            }
            present = node["metadata"].get(section) or {}
            changes = own | {key: text for key, text in wanted["metadata"][section].items() if present.get(key) != text}
            if changes:
                patch.setdefault("metadata", {})[section] = changes
        if wanted["spec"] and not (node.get("spec") or {}).get("podCIDR"):
            patch["spec"] = wanted["spec"]
        return await self._client.patch("nodes", agent.host, patch) if patch else node


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
