"""The frozen picture of a Mesos cluster, read from what its masters answer at ``/state``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["masters", "agents", "frameworks", "tasks", "offers"]
MasterState = Literal["leading", "standby", "down"]
LIVE = frozenset(("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE"))


@dataclass(frozen=True)
class Resources:
    """Amounts; memory and disk in megabytes."""

    cpus: float = 0.0
    mem: float = 0.0
    disk: float = 0.0
    gpus: float = 0.0
    ports: str = ""

    @classmethod
    def read(cls, shown: Mapping[str, Any]) -> Resources:
        amounts = {name: float(shown.get(name, 0.0)) for name in ("cpus", "mem", "disk", "gpus")}
        return cls(**amounts, ports=str(shown.get("ports", "")))

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.cpus + other.cpus, self.mem + other.mem, self.disk + other.disk, self.gpus + other.gpus, self.ports
        )


@dataclass(frozen=True)
class Share:
    """The dominant share: the largest ``part`` (0 to 1) that is taken of any one ``resource``."""

    part: float = 0.0
    resource: str = ""

    @classmethod
    def of(cls, taken: Resources, total: Resources) -> Share:
        pairs = [(name, getattr(taken, name), getattr(total, name)) for name in ("cpus", "mem", "disk", "gpus")]
        parts = [cls(amount / whole, name) for name, amount, whole in pairs if whole and amount]
        return max(parts, key=lambda share: share.part, default=cls())


@dataclass(frozen=True)
class Master:
    """``elected``: epoch seconds, 0 unless it leads."""

    name: str
    address: str
    state: MasterState
    elected: float = 0.0
    version: str = ""


@dataclass(frozen=True)
class Agent:
    id: str
    host: str
    address: str
    active: bool
    total: Resources
    used: Resources
    offered: Resources
    tasks: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Framework:
    """``share`` is what its tasks and executors take; ``allocated_share`` counts its offers too, as allocation does."""

    id: str
    name: str
    roles: tuple[str, ...]
    weight: float
    active: bool
    connected: bool
    used: Resources
    offered: Resources
    share: Share
    allocated_share: Share
    tasks: int
    offers: int


@dataclass(frozen=True)
class Task:
    """``since``: epoch seconds of its last change of state, 0 when unknown. ``directory`` is not known to masters."""

    id: str
    name: str
    framework: str
    framework_id: str
    executor_id: str
    agent: str
    agent_id: str
    state: str
    resources: Resources
    since: float

    @property
    def ended(self) -> bool:
        return self.state not in LIVE


@dataclass(frozen=True)
class Offer:
    id: str
    framework: str
    agent: str
    resources: Resources


@dataclass(frozen=True)
class Cluster:
    """``tasks`` are the live ones first, newest first among each."""

    name: str
    masters: tuple[Master, ...]
    agents: tuple[Agent, ...]
    frameworks: tuple[Framework, ...]
    tasks: tuple[Task, ...]
    offers: tuple[Offer, ...]

    @property
    def total(self) -> Resources:
        return _sum([agent.total for agent in self.agents])

    @property
    def used(self) -> Resources:
        return _sum([agent.used for agent in self.agents])


def read(
    state: Mapping[str, Any], masters: Sequence[Master] = (), weights: Mapping[str, float] | None = None
) -> Cluster:
    """The cluster as the leader's ``/state`` has it; ``weights`` of roles that do not weigh 1."""
    frameworks = state.get("frameworks", ())
    hosts = {slave["id"]: str(slave["hostname"]) for slave in state.get("slaves", ())}
    tasks = [
        _task(task, framework, hosts)
        for framework in [*frameworks, *state.get("completed_frameworks", ())]
        for kind in ("tasks", "unreachable_tasks", "completed_tasks")
        for task in framework.get(kind, ())
    ]
    running = Counter(task.agent_id for task in tasks if not task.ended)
    agents = tuple(_agent(slave, running) for slave in state.get("slaves", ()))
    total = _sum([agent.total for agent in agents])
    return Cluster(
        name=str(state.get("cluster", "")),
        masters=tuple(masters),
        agents=tuple(sorted(agents, key=lambda agent: agent.host)),
        frameworks=tuple(_framework(framework, total, weights or {}) for framework in frameworks),
        tasks=tuple(sorted(tasks, key=lambda task: (task.ended, -task.since))),
        offers=tuple(_offer(offer, one, hosts) for one in frameworks for offer in one.get("offers", ())),
    )


def read_master(name: str, address: str, state: Mapping[str, Any] | None, *, standby: bool) -> Master:
    """``state``: its ``/state`` when it leads; ``standby``: it answers without leading."""
    if state is None:
        return Master(name, address, "standby" if standby else "down")
    elected, version = float(state.get("elected_time", 0.0)), str(state.get("version", ""))
    return Master(name, address, "leading", elected, version)


def _agent(slave: Mapping[str, Any], running: Mapping[str, int]) -> Agent:
    return Agent(
        id=slave["id"],
        host=slave["hostname"],
        address=str(slave.get("pid", "")).partition("@")[2],
        active=bool(slave.get("active")),
        total=Resources.read(slave.get("resources", {})),
        used=Resources.read(slave.get("used_resources", {})),
        offered=Resources.read(slave.get("offered_resources", {})),
        tasks=running.get(slave["id"], 0),
        attributes=slave.get("attributes", {}),
    )


def _framework(framework: Mapping[str, Any], total: Resources, weights: Mapping[str, float]) -> Framework:
    used = Resources.read(framework.get("used_resources", {}))
    offered = Resources.read(framework.get("offered_resources", {}))
    roles = tuple(framework.get("roles") or [framework.get("role", "*")])
    return Framework(
        id=framework["id"],
        name=framework["name"],
        roles=roles,
        weight=weights.get(roles[0], 1.0),
        active=bool(framework.get("active")),
        connected=bool(framework.get("connected", framework.get("active"))),
        used=used,
        offered=offered,
        share=Share.of(used, total),
        allocated_share=Share.of(used + offered, total),
        tasks=len(framework.get("tasks", ())),
        offers=len(framework.get("offers", ())),
    )


def _task(task: Mapping[str, Any], framework: Mapping[str, Any], hosts: Mapping[str, str]) -> Task:
    statuses = task.get("statuses", ())
    return Task(
        id=task["id"],
        name=task["name"],
        framework=framework["name"],
        framework_id=framework["id"],
        executor_id=task.get("executor_id", "") or task["id"],
        agent=hosts.get(task["slave_id"], task["slave_id"]),
        agent_id=task["slave_id"],
        state=task["state"],
        resources=Resources.read(task.get("resources", {})),
        since=float(statuses[-1].get("timestamp", 0.0)) if statuses else 0.0,
    )


def _offer(offer: Mapping[str, Any], framework: Mapping[str, Any], hosts: Mapping[str, str]) -> Offer:
    agent = str(offer.get("slave_id", ""))
    return Offer(offer["id"], framework["name"], hosts.get(agent, agent), Resources.read(offer.get("resources", {})))


def _sum(parts: Sequence[Resources]) -> Resources:
    total = Resources()
    for part in parts:
        total += part
    return total
