"""Role truth in words: what each daemon says of its part in the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

from k8slab.snapshot import DaemonStatus, NodeStatus
from k8slab.view.look import BAD, LOUD, MILD
from k8slab.view.words import count

Truth = Mapping[str, Any]


def truths(node: NodeStatus) -> tuple[Text, ...]:
    """One part for each daemon of the node that has something to say, by its alias where several do."""
    if node.state != "running":
        return ()
    said = [(daemon.alias, told) for daemon in node.daemons if (told := truth(daemon)) is not None]
    return tuple(Text.assemble(f"{alias} ", told) if len(said) > 1 else told for alias, told in said)


def truth(daemon: DaemonStatus) -> Text | None:
    phrase = PHRASES.get(daemon.name)
    return phrase(daemon.truth) if phrase is not None and daemon.truth else None


def _etcd(truth: Truth) -> Text:
    if not truth.get("healthy", True):
        return Text("not healthy: no quorum", BAD)
    term = f", term {truth['term']}" if truth.get("term") else ""
    return Text.assemble(("leader", LOUD) if truth.get("leader") else "follower", term)


def _zookeeper(truth: Truth) -> Text | None:
    mode = truth.get("mode")
    if not mode:
        return None
    return Text(str(mode), LOUD if mode in ("leader", "standalone") else "")


def _mesos_master(truth: Truth) -> Text:
    if not truth.get("leading"):
        return Text("standby")
    agents = f", {count(truth['agents'], 'agent')}" if "agents" in truth else ""
    frameworks = ", ".join(truth.get("frameworks") or ("no framework",))
    return Text.assemble(("leading", LOUD), f"{agents}, {frameworks}")


def _mesos_slave(truth: Truth) -> Text:
    if not truth.get("registered"):
        return Text("not registered", BAD)
    pods = truth.get("pods")
    return Text("registered" if pods is None else f"registered, {count(pods, 'pod')}")


def _apiserver(truth: Truth) -> Text | None:
    if "nodes" not in truth:
        return None
    ready, known = truth.get("nodes_ready", 0), truth["nodes"]
    pods = f", {count(truth['pods'], 'pod')}" if "pods" in truth else ""
    return Text.assemble((f"{ready}/{known} nodes Ready", MILD if ready < known else ""), pods)


def _scheduler(truth: Truth) -> Text | None:
    if "registered" not in truth:
        return None
    if not truth["registered"]:
        return Text("framework not registered", BAD)
    return Text(f"{truth.get('framework') or 'framework'} registered")


def _controller_manager(truth: Truth) -> Text | None:
    return None if truth.get("healthy", True) else Text("controllers not healthy", BAD)


def _docker(truth: Truth) -> Text | None:
    return Text(count(truth["pods"], "pod")) if "pods" in truth else None


PHRASES: Mapping[str, Callable[[Truth], Text | None]] = {
    "etcd": _etcd,
    "zookeeper": _zookeeper,
    "mesos-master": _mesos_master,
    "mesos-slave": _mesos_slave,
    "apiserver": _apiserver,
    "scheduler": _scheduler,
    "controller-manager": _controller_manager,
    "docker": _docker,
}
