"""Dynamic reservations: frameworks make and end them with operations of an ACCEPT, operators over HTTP.

The agent is told its resources anew with each, keeps them, and tells them to the next master.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Agent, Framework
from k8slab.mesos.master.operations import tell_operation
from k8slab.mesos.master.validation import role_error
from k8slab.mesos.reservations import DYNAMIC, is_dynamic, stack_of
from k8slab.mesos.resources import Resources

log = logging.getLogger(__name__)


class Invalid(ValueError):
    """What is asked can never be."""


class Conflict(Exception):
    """What is asked cannot be now: resources that it is about are in use."""


def conversion(kind: str, resources: Iterable[Mapping[str, Any]]) -> tuple[Resources, Resources]:
    """The resources as they are before a RESERVE or UNRESERVE of these v1 Resources and after it. Raises Invalid."""
    listed = list(resources)
    if not listed:
        raise Invalid("No resources specified")
    for resource in listed:
        for extra in ("disk", "revocable", "shared"):
            if extra in resource:
                raise Invalid(f"Resource '{resource['name']}' with '{extra}' cannot be reserved or unreserved")
    try:
        reserved = Resources.from_json(listed)
    except ValueError as error:
        raise Invalid(f"Invalid resources: {error}") from error
    for holder in reserved.holders:
        if not is_dynamic(holder):
            raise Invalid(f"Resources {reserved} are not all dynamically reserved")
        if wrong := _stack_error(stack_of(holder)):
            raise Invalid(wrong)
    return (reserved.popped(), reserved) if kind == "RESERVE" else (reserved, reserved.popped())


def _stack_error(stack: Iterable[Any]) -> str | None:
    above = None
    for reservation in stack:
        if error := role_error(reservation.role):
            return error
        if above is not None and (reservation.kind != DYNAMIC or not reservation.role.startswith(f"{above}/")):
            return f"A reservation for '{above}' cannot be refined by a {reservation.kind} one for '{reservation.role}'"
        above = reservation.role
    return None


def operate(
    master: Master, framework: Framework, agent: Agent, role: str, operation: Mapping[str, Any], pool: Resources
) -> Resources:
    """A RESERVE or UNRESERVE in an ACCEPT of offers for ``role``; what is left of the offers, converted."""
    kind = operation["type"]
    if not agent.connected:
        tell_operation(framework, operation, "OPERATION_DROPPED", f"Agent {agent.hostname} disconnected")
        return pool
    try:
        before, after = conversion(kind, operation.get(kind.lower(), {}).get("resources", ()))
        if error := _permission_error(framework, role, after) if kind == "RESERVE" else None:
            raise Invalid(error)
        if not pool.contains(before):
            raise Invalid(f"Invalid {kind} operation: {before} are not all in the offered {pool}")
    except Invalid as error:
        log.warning("%s of framework %s dropped: %s", kind, framework.framework_id, error)
        tell_operation(framework, operation, "OPERATION_ERROR", str(error))
        return pool
    _convert(master, agent, before, after, allocated=True)
    shown = after.to_json(refined=framework.capable("RESERVATION_REFINEMENT"))
    where = {"value": agent.agent_id}
    tell_operation(framework, operation, "OPERATION_FINISHED", agent_id=where, converted_resources=shown)
    return pool - before + after


def _permission_error(framework: Framework, role: str, reserved: Resources) -> str | None:
    principal = framework.info.get("principal")
    for holder in reserved.holders:
        last = stack_of(holder)[-1]
        if last.role != role:
            return (
                f"A reserve operation was attempted for a resource with role '{last.role}', but the framework can only "
                f"reserve what was offered to it for role '{role}' for that role"
            )
        if principal is not None and last.principal != principal:
            named = f"principal '{last.principal}'" if last.principal is not None else "no principal"
            return (
                f"A reserve operation was attempted by principal '{principal}', but there is a reserved resource in "
                f"the request with {named} set in its reservation"
            )
    return None


def operator_convert(master: Master, kind: str, agent_id: str, resources: Iterable[Mapping[str, Any]]) -> None:
    """RESERVE or UNRESERVE by an operator. Offers that are in the way are rescinded. Raises Invalid and Conflict."""
    agent = master.agents.get(agent_id)
    if agent is None:
        raise Invalid("No agent found with specified ID")
    before, after = conversion(kind, resources)
    if not agent.connected:
        raise Conflict(f"Agent {agent_id} is disconnected")
    if not (master.allocator.free(agent_id) + agent.offered).contains(before):
        raise Conflict(f"Invalid {kind} operation on agent {agent_id}: {before} are not all unused")
    for offer in list(agent.offers.values()):
        if master.allocator.free(agent_id).contains(before):
            break
        master.offers.rescind(offer)
    _convert(master, agent, before, after, allocated=False)


def _convert(master: Master, agent: Agent, before: Resources, after: Resources, *, allocated: bool) -> None:
    agent.resources = agent.resources - before + after
    master.allocator.convert(agent.agent_id, before, after, allocated=allocated)
    tell_resources(agent)


def tell_resources(agent: Agent) -> None:
    agent.send({"type": "CHECKPOINT_RESOURCES", "resources": agent.resources.to_json(refined=True)})
