"""Feedback on offer operations: frameworks that gave theirs an id are told what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Framework


def tell_operation(
    framework: Framework, operation: Mapping[str, Any], state: str, message: str = "", **extra: Any
) -> None:
    """UPDATE_OPERATION_STATUS for an operation with an id; the master's own word, so without uuid: like all that the
    master itself says it is not acknowledged."""
    if "id" in operation:
        _send(framework, operation["id"], state, message, **extra)


def reconcile_operations(master: Master, framework: Framework, reconcile: Mapping[str, Any]) -> None:
    """No operation outlives its ACCEPT, so none is known: what can be said comes from the agent it was for."""
    for item in reconcile.get("operations", ()):
        agent_id = (item.get("agent_id") or {}).get("value")
        if agent_id is not None and master.membership.in_transition(agent_id):
            state, text = "OPERATION_RECOVERING", "Agent is recovered but has not re-registered"
        elif agent_id in master.unreachable_agents:
            state, text = "OPERATION_UNREACHABLE", "Agent is unreachable"
        elif agent_id in master.gone_agents:
            state, text = "OPERATION_GONE_BY_OPERATOR", "Agent has been marked gone"
        else:
            state, text = "OPERATION_UNKNOWN", "Operation is unknown"
        extra = {key: item[key] for key in ("agent_id", "resource_provider_id") if key in item}
        _send(framework, item["operation_id"], state, f"Reconciliation: {text}", **extra)


def _send(framework: Framework, operation_id: Mapping[str, Any], state: str, message: str, **extra: Any) -> None:
    status = {"operation_id": dict(operation_id), "state": state, **extra}
    if message:
        status["message"] = message
    framework.send({"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": status}})
