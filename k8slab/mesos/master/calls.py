"""What each scheduler call does to the master's books, once the ladder has let it through."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from k8slab.mesos.master import operator_events, reserving
from k8slab.mesos.master.allocator import refuse_seconds
from k8slab.mesos.master.launching import Launching
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import TERMINAL, Agent, Framework, Offer, Task, task_status
from k8slab.mesos.master.operations import reconcile_operations, tell_operation
from k8slab.mesos.resources import Resources, total

log = logging.getLogger(__name__)

Call = Callable[[Framework, Mapping[str, Any]], None]


class SchedulerCalls:
    """``handle`` maps a call's type to its method; a type that is not there is one this master does not serve."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._launching = Launching(master)
        self.handle: dict[str, Call] = {
            "TEARDOWN": self._teardown,
            "ACCEPT": self._accept,
            "DECLINE": self._decline,
            "REVIVE": self._revive,
            "SUPPRESS": self._suppress,
            "KILL": self._kill,
            "SHUTDOWN": self._shutdown,
            "ACKNOWLEDGE": self._acknowledge,
            "RECONCILE": self._reconcile,
            "MESSAGE": self._message,
            "REQUEST": self._request,
            "ACCEPT_INVERSE_OFFERS": self._answer_inverse_offers,
            "DECLINE_INVERSE_OFFERS": self._answer_inverse_offers,
            "ACKNOWLEDGE_OPERATION_STATUS": self._acknowledge_operation,
            "RECONCILE_OPERATIONS": partial(reconcile_operations, master),
        }

    def _teardown(self, framework: Framework, _payload: Mapping[str, Any]) -> None:
        self._master.remove_framework(framework)

    def update_framework(self, framework: Framework, info: Mapping[str, Any], suppressed: Iterable[str]) -> None:
        """Its offers in roles it gave up are rescinded; tasks in them keep running."""
        framework.info = dict(info)
        framework.suppressed = set(suppressed)
        self._master.allocator.update_framework(
            framework.framework_id,
            framework.roles,
            capabilities=framework.capabilities,
            suppressed=framework.suppressed,
        )
        for offer in list(framework.offers.values()):
            if offer.role not in framework.roles:
                self._master.offers.rescind(offer)
        self._master.announce(operator_events.framework_updated, framework)
        self._master.offers.allocate_soon()

    def _request(self, framework: Framework, _payload: Mapping[str, Any]) -> None:
        log.info("framework %s requests resources: the allocator offers them anyway", framework.framework_id)

    def _answer_inverse_offers(self, framework: Framework, answer: Mapping[str, Any]) -> None:
        for offer_id in answer.get("inverse_offer_ids", ()):
            log.info(
                "inverse offer %s of framework %s is not known: none was made",
                offer_id["value"],
                framework.framework_id,
            )

    def _acknowledge_operation(self, framework: Framework, acknowledge: Mapping[str, Any]) -> None:
        operation_id = acknowledge["operation_id"]["value"]
        log.info("acknowledgement of operation %s of %s: it awaits none", operation_id, framework.framework_id)

    # -- offers

    def _accept(self, framework: Framework, accept: Mapping[str, Any]) -> None:
        offers = [self._master.offers.get(offer["value"]) for offer in accept.get("offer_ids", ())]
        error = _offers_error(framework, offers)
        mine = [offer for offer in offers if offer is not None and offer.framework_id == framework.framework_id]
        operations = accept.get("operations", ())
        if error is not None:
            log.warning("ACCEPT of framework %s: %s", framework.framework_id, error)
            for offer in mine:
                self._master.offers.drop(offer)
            for task in _tasks(operations):
                self._launching.drop(framework, task, "INVALID_OFFERS", f"Task launched with invalid offers: {error}")
            for operation in operations:
                if operation.get("type") not in ("LAUNCH", "LAUNCH_GROUP"):
                    tell_operation(framework, operation, "OPERATION_DROPPED", f"Invalid offers: {error}")
            return
        agent = self._master.agents[mine[0].agent_id]
        role = mine[0].role
        pool = total(offer.resources for offer in mine)
        for offer in mine:
            self._master.offers.drop(offer, give_back=False)
        for operation in operations:
            pool = self._operate(framework, agent, role, operation, pool)
        self._give_back(framework, agent.agent_id, role, pool, accept)

    def _give_back(
        self, framework: Framework, agent_id: str, role: str, resources: Resources, payload: Mapping[str, Any]
    ) -> None:
        self._master.allocator.recover(
            framework.framework_id,
            role,
            agent_id,
            resources,
            now=self._master.now(),
            refuse_seconds=refuse_seconds((payload.get("filters") or {}).get("refuse_seconds")),
        )

    def _operate(
        self, framework: Framework, agent: Agent, role: str, operation: Mapping[str, Any], pool: Resources
    ) -> Resources:
        """Carry out one operation of an ACCEPT; what is left of the offers after it."""
        match operation.get("type"):
            case "LAUNCH" | "LAUNCH_GROUP" as kind if "id" in operation:
                reason = "TASK_INVALID" if kind == "LAUNCH" else "TASK_GROUP_INVALID"
                for task in _tasks([operation]):
                    self._launching.refuse(
                        framework, task, reason, f"The 'id' field must not be set for a {kind} operation"
                    )
            case "LAUNCH":
                for task in operation.get("launch", {}).get("task_infos", ()):
                    pool -= self._launching.launch(framework, agent, role, task, pool)
            case "LAUNCH_GROUP" if "launch_group" in operation:
                pool -= self._launching.launch_group(framework, agent, role, operation["launch_group"], pool)
            case "RESERVE" | "UNRESERVE":
                pool = reserving.operate(self._master, framework, agent, role, operation, pool)
            case other:
                log.warning("operation %s of framework %s dropped: not served", other, framework.framework_id)
                tell_operation(framework, operation, "OPERATION_ERROR", f"{other} operations are not supported")
        return pool

    def _decline(self, framework: Framework, decline: Mapping[str, Any]) -> None:
        for offer_id in decline.get("offer_ids", ()):
            offer = self._master.offers.get(offer_id["value"])
            if offer is None or offer.framework_id != framework.framework_id:
                log.info("DECLINE of unknown offer %s", offer_id["value"])
                continue
            self._master.offers.drop(offer, give_back=False)
            self._give_back(framework, offer.agent_id, offer.role, offer.resources, decline)

    def _revive(self, framework: Framework, revive: Mapping[str, Any]) -> None:
        if roles := _named_roles(framework, revive):
            framework.suppressed -= set(roles)
            self._master.allocator.revive(framework.framework_id, roles)
            self._master.offers.allocate_soon()

    def _suppress(self, framework: Framework, suppress: Mapping[str, Any]) -> None:
        if roles := _named_roles(framework, suppress):
            framework.suppressed |= set(roles)
            self._master.allocator.suppress(framework.framework_id, roles)

    # -- tasks

    def _kill(self, framework: Framework, kill: Mapping[str, Any]) -> None:
        task_id = kill["task_id"]["value"]
        task = framework.tasks.get(task_id)
        if task is None:
            self._reconcile_one(framework, task_id, (kill.get("agent_id") or {}).get("value"))
            return
        if "agent_id" in kill and kill["agent_id"]["value"] != task.agent_id:
            log.warning("KILL of %s ignored: it runs on %s", task_id, task.agent_id)
            return
        event = {
            "type": "KILL_TASK",
            "framework_id": {"value": framework.framework_id},
            "task_id": kill["task_id"],
            "partition_aware": framework.capable("PARTITION_AWARE"),
        }
        if "kill_policy" in kill:
            event["kill_policy"] = kill["kill_policy"]
        agent = self._master.agents[task.agent_id]
        if agent.connected:
            agent.send(event)
        else:
            agent.pending_kills[(framework.framework_id, task_id)] = event

    def _shutdown(self, framework: Framework, shutdown: Mapping[str, Any]) -> None:
        agent = self._master.agents.get(shutdown["agent_id"]["value"])
        if agent is not None:
            agent.send(
                {
                    "type": "SHUTDOWN_EXECUTOR",
                    "framework_id": {"value": framework.framework_id},
                    "executor_id": shutdown["executor_id"],
                }
            )

    def _acknowledge(self, framework: Framework, acknowledge: Mapping[str, Any]) -> None:
        agent = self._master.agents.get(acknowledge["agent_id"]["value"])
        if agent is None or not agent.connected:
            log.info("acknowledgement dropped: agent %s is away", acknowledge["agent_id"]["value"])
            return
        agent.send({"type": "ACKNOWLEDGE", "framework_id": {"value": framework.framework_id}, **acknowledge})
        task = agent.tasks.get((framework.framework_id, acknowledge["task_id"]["value"]))
        last = task.statuses[-1] if task and task.statuses else None
        if task is not None and last and last["state"] in TERMINAL and last.get("uuid") == acknowledge["uuid"]:
            self._master.forget_task(task)

    def _reconcile(self, framework: Framework, reconcile: Mapping[str, Any]) -> None:
        wanted = reconcile.get("tasks", ())
        if not wanted:
            for task in list(framework.tasks.values()):
                self._answer_known(framework, task)
        for item in wanted:
            self._reconcile_one(framework, item["task_id"]["value"], (item.get("agent_id") or {}).get("value"))

    def _reconcile_one(self, framework: Framework, task_id: str, agent_id: str | None) -> None:
        master = self._master
        task = framework.tasks.get(task_id)
        if task is not None:
            self._answer_known(framework, task)
        elif master.membership.in_transition(agent_id):
            log.info("no answer about %s yet: its agent may return", task_id)
        elif agent_id in master.agents:
            text = "Reconciliation: Task is unknown to the agent"
            self._answer(framework, task_id, agent_id, "TASK_GONE", text)
        elif agent_id in master.unreachable_agents:
            since = {"unreachable_time": {"nanoseconds": int(master.unreachable_agents[agent_id] * 1e9)}}
            self._answer(
                framework, task_id, agent_id, "TASK_UNREACHABLE", "Reconciliation: Task is unreachable", **since
            )
        elif agent_id in master.gone_agents:
            text = "Reconciliation: Task is gone"
            self._answer(framework, task_id, agent_id, "TASK_GONE_BY_OPERATOR", text)
        else:
            self._answer(framework, task_id, agent_id, "TASK_UNKNOWN", "Reconciliation: Task is unknown")

    def _answer_known(self, framework: Framework, task: Task) -> None:
        text = "Reconciliation: Latest task state"
        status = task_status(task, task.state, reason="RECONCILIATION", message=text, timestamp=time.time())
        if task.statuses:
            last = task.statuses[-1]
            status |= {key: last[key] for key in ("healthy", "labels", "container_status", "data") if key in last}
        self._master.send_update(framework, status)

    def _answer(
        self, framework: Framework, task_id: str, agent_id: str | None, state: str, message: str, **extra: Any
    ) -> None:
        if not framework.capable("PARTITION_AWARE"):
            state, extra = "TASK_LOST", {}
        status = task_status(
            None,
            state,
            task_id=task_id,
            agent_id=agent_id or "",
            reason="RECONCILIATION",
            message=message,
            timestamp=time.time(),
            **extra,
        )
        self._master.send_update(framework, status)

    def _message(self, framework: Framework, message: Mapping[str, Any]) -> None:
        agent = self._master.agents.get(message["agent_id"]["value"])
        if agent is None or not agent.connected:
            log.info("message to executor %s dropped: its agent is away", message["executor_id"]["value"])
            self._master.counters["dropped_messages"] += 1
            return
        agent.send(
            {
                "type": "MESSAGE",
                "framework_id": {"value": framework.framework_id},
                "executor_id": message["executor_id"],
                "data": message["data"],
            }
        )


def _offers_error(framework: Framework, offers: list[Offer | None]) -> str | None:
    if not offers:
        return "No offers specified"
    known = [offer for offer in offers if offer is not None and offer.framework_id == framework.framework_id]
    if len(known) != len(offers):
        return "an offer is no longer valid"
    if len({offer.offer_id for offer in known}) != len(known):
        return "an offer is listed twice: the second time it is no longer valid"
    if len({offer.agent_id for offer in known}) > 1:
        return "the offers are no longer valid together: they are of several agents"
    if len({offer.role for offer in known}) > 1:
        return "the offers are no longer valid together: they are for several roles"
    return None


def _tasks(operations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    for operation in operations:
        tasks += operation.get("launch", {}).get("task_infos", ())
        tasks += operation.get("launch_group", {}).get("task_group", {}).get("tasks", ())
    return tasks


def _named_roles(framework: Framework, payload: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles a REVIVE or SUPPRESS means; none at all when it names one that is not the framework's."""
    named = tuple(payload.get("roles", ()))
    if not set(named) <= set(framework.roles):
        return ()
    return named or framework.roles
