"""What a framework owes its agents: one acknowledgement for every delivery of an update that carries a uuid."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

REMEMBERED = 10_000


class Acknowledgements:
    """Knows how an event is acknowledged, and which updates were dealt with before: the last ``REMEMBERED`` of them."""

    def __init__(self) -> None:
        self._dealt_with: OrderedDict[str, None] = OrderedDict()

    def call(self, event: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """Type and payload of the call that confirms ``event``; None when it needs no confirmation."""
        keys: tuple[str, ...]
        match event["type"]:
            case "UPDATE":
                type, keys = "ACKNOWLEDGE", ("agent_id", "task_id", "uuid")
            case "UPDATE_OPERATION_STATUS":
                type = "ACKNOWLEDGE_OPERATION_STATUS"
                keys = ("agent_id", "resource_provider_id", "operation_id", "uuid")
            case _:
                return None
        status = event[event["type"].lower()]["status"]
        if not status.get("uuid"):
            return None
        return type, {key: status[key] for key in keys if key in status}

    def repeated(self, event: Mapping[str, Any]) -> bool:
        """Whether ``event`` is an update that was dealt with, delivered again because its confirmation got lost."""
        call = self.call(event)
        return call is not None and str(call[1]["uuid"]) in self._dealt_with

    def note(self, event: Mapping[str, Any]) -> None:
        """``event`` has been dealt with."""
        if (call := self.call(event)) is not None:
            self._dealt_with[str(call[1]["uuid"])] = None
            while len(self._dealt_with) > REMEMBERED:
                self._dealt_with.popitem(last=False)
