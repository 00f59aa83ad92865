"""What an operator sets aside for a role on an agent, and gives back to everybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Agent
from k8slab.mesos.resources import UNRESERVED, Resources, total


class ReservationError(Exception):
    """``status`` and text of the answer: 400 for what makes no sense, 409 for what is not free."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def reserve(master: Master, agent_id: str, resources: Iterable[Mapping[str, Any]]) -> None:
    """Offers of the agent are rescinded, what tasks use is not touched. Raises ReservationError."""
    agent, reserved = _agent(master, agent_id), _reserved(resources)
    taken = _unreserved(reserved)
    if not (agent.resources - agent.used).contains(taken):
        raise ReservationError(409, f"Invalid RESERVE Operation: {taken} is not free on the agent")
    _rebook(master, agent, agent.resources - taken + reserved, agent.dynamic + reserved)


def unreserve(master: Master, agent_id: str, resources: Iterable[Mapping[str, Any]]) -> None:
    """Only what was reserved so, and is not in use, can be given back. Raises ReservationError."""
    agent, reserved = _agent(master, agent_id), _reserved(resources)
    if not agent.dynamic.contains(reserved):
        raise ReservationError(409, f"Invalid UNRESERVE Operation: {reserved} is not reserved dynamically")
    if not (agent.resources - agent.used).contains(reserved):
        raise ReservationError(409, f"Invalid UNRESERVE Operation: {reserved} is in use")
    _rebook(master, agent, agent.resources - reserved + _unreserved(reserved), agent.dynamic - reserved)


def found_again(own: Resources, checkpointed: Iterable[Mapping[str, Any]]) -> Resources:
    """What was reserved dynamically on an agent that kept all it had, compared with its own account of itself."""
    kept = total(Resources.from_json(checkpointed).reserved().values())
    return kept - total(own.reserved().values())


def with_dynamic(own: Resources, dynamic: Resources) -> Resources:
    """What an agent has, by its own account, with what was reserved on it since."""
    return own - _unreserved(dynamic) + dynamic


def _rebook(master: Master, agent: Agent, resources: Resources, dynamic: Resources) -> None:
    for offer in list(agent.offers.values()):
        master.offers.rescind(offer)
    agent.resources, agent.dynamic = resources, dynamic
    master.allocator.set_agent_total(agent.agent_id, resources)
    agent.send({"type": "CHECKPOINT_RESOURCES", "resources": resources.to_json(refined=True)})
    master.offers.allocate_soon([agent.agent_id])


def _agent(master: Master, agent_id: str) -> Agent:
    agent = master.agents.get(agent_id)
    if agent is None:
        raise ReservationError(400, "No agent found with specified ID")
    return agent


def _reserved(resources: Iterable[Mapping[str, Any]]) -> Resources:
    given = list(resources)
    if any(len(resource.get("reservations", ())) > 1 for resource in given):
        raise ReservationError(400, "Reservations cannot be refined further")
    try:
        reserved = Resources.from_json(given)
    except ValueError as error:
        raise ReservationError(400, f"Invalid resources: {error}") from error
    if not reserved:
        raise ReservationError(400, "No resources given")
    if reserved.unreserved():
        raise ReservationError(400, f"Invalid resources: {reserved.unreserved()} has no role")
    return reserved


def _unreserved(resources: Resources) -> Resources:
    """The same, before anybody reserved it."""
    return Resources.from_json(
        {**{key: value for key, value in item.items() if key != "reservations"}, "role": UNRESERVED}
        for item in resources.to_json(refined=True)
    )
