"""Role truth: what each daemon itself says of its part in the whole, asked over its own wire.

A probe takes a daemon's address and port and returns a small flat record; the records of one look are then completed
from each other (how many pods a minion has is known to the apiserver alone).
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from k8slab.lab.parallel import in_parallel
from k8slab.lab.probes.http import PATIENCE, NoAnswer, ask, ask_json
from k8slab.topology.resolved import Daemon, Topology

Truth = dict[str, Any]
# Facts of one daemon about others; handed on to these and taken out before anybody sees the record.
PODS_PER_NODE = "pods_per_node"
AGENT_IDS = "agent_ids"


def etcd(address: str, port: int) -> Truth:
    """From the v3 gateway's maintenance status, which a member answers without asking the others."""
    status = ask_json(address, port, "/v3/maintenance/status", method="POST", body={})
    header = status.get("header", {})
    leader = status.get("leader", "0")
    truth: Truth = {
        "leader": leader != "0" and leader == header.get("member_id"),
        "leader_id": leader,
        "term": int(status.get("raftTerm", 0)),
        "version": status.get("version", ""),
        "healthy": False,
    }
    health_status, health = ask(address, port, "/health")
    truth["healthy"] = health_status == 200 and json.loads(health or b"{}").get("health") in ("true", True)
    return truth


def zookeeper(address: str, port: int) -> Truth:
    """From the four-letter word ``srvr``."""
    try:
        with socket.create_connection((address, port), timeout=PATIENCE) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(b"srvr")
            answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")
    except OSError as error:
        raise NoAnswer(str(error)) from error
    mode = next((line.partition(": ")[2] for line in answer.splitlines() if line.startswith("Mode:")), "")
    return {"mode": mode}


def mesos_master(address: str, port: int) -> Truth:
    """A follower redirects and knows nothing more; the leader's /state has the whole cluster."""
    status, content = ask(address, port, "/state")
    if status != 200:
        return {"leading": False}
    state = json.loads(content)
    return {
        "leading": state.get("leader") == state.get("pid"),
        "leader": str(state.get("leader", "")).partition("@")[2],
        "agents": int(state.get("activated_slaves", 0)),
        "frameworks": sorted(one["name"] for one in state.get("frameworks", []) if one.get("active")),
        AGENT_IDS: [one["id"] for one in state.get("slaves", []) if one.get("active")],
    }


def mesos_slave(address: str, port: int) -> Truth:
    return {"agent_id": ask_json(address, port, "/state").get("id", ""), "registered": False}


def apiserver(address: str, port: int) -> Truth:
    nodes = ask_json(address, port, "/api/v1/nodes").get("items", [])
    pods = ask_json(address, port, "/api/v1/pods").get("items", [])
    alive = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    return {
        "nodes": len(nodes),
        "nodes_ready": sum(map(_is_ready, nodes)),
        "pods": len(alive),
        PODS_PER_NODE: dict(Counter(pod["spec"]["nodeName"] for pod in alive if pod.get("spec", {}).get("nodeName"))),
    }


def healthy(address: str, port: int) -> Truth:
    return {"healthy": ask(address, port, "/healthz")[0] == 200}


PROBES: Mapping[str, Callable[[str, int], Truth]] = {
    "etcd": etcd,
    "etcd-server": etcd,
    "zookeeper": zookeeper,
    "mesos-master": mesos_master,
    "mesos-slave": mesos_slave,
    "apiserver": apiserver,
    "controller-manager": healthy,
    "scheduler": healthy,
}


def truths(topology: Topology, asked: Collection[Daemon]) -> dict[str, Truth]:
    """What each daemon of ``asked`` says, by target; one that does not answer has no entry."""
    known = [daemon for daemon in asked if daemon.name in PROBES]

    def probe(daemon: Daemon) -> tuple[str, Truth | None]:
        try:
            return daemon.target, PROBES[daemon.name](str(topology.node(daemon.node).address), daemon.port)
        except (NoAnswer, ValueError, KeyError, TypeError, AttributeError):
            # Half an answer is no answer: a daemon may be cut off, or killed, in the middle of a sentence.
            return daemon.target, None

    answers = {target: truth for target, truth in in_parallel(probe, known) if truth is not None}
    return _completed(answers, asked)


def _completed(answers: dict[str, Truth], asked: Collection[Daemon]) -> dict[str, Truth]:
    """Hand on what only another daemon knows: an agent is registered when the leading master says so."""
    pods: Mapping[str, int] | None = None
    frameworks: list[str] = []
    agents: list[str] = []
    for truth in answers.values():
        pods = truth.pop(PODS_PER_NODE, pods)
        if truth.get("leading"):
            frameworks, agents = truth["frameworks"], truth.pop(AGENT_IDS)
    for daemon in asked:
        truth = answers.get(daemon.target, {})
        if daemon.name == "mesos-slave" and truth:
            truth["registered"] = truth["agent_id"] in agents
            truth["pods"] = pods.get(daemon.node, 0) if pods is not None else None
        if daemon.name == "scheduler" and truth:
            truth |= {"registered": bool(frameworks), "framework": ", ".join(frameworks)}
    return answers


def _is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
