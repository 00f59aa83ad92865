"""An agent's end for good: unregistered by its operator, or told by the master that it is gone."""

from __future__ import annotations

import asyncio
import logging

from k8slab.mesos.agent.agent import Agent

log = logging.getLogger(__name__)

MARGIN_SECONDS = 5.0
LOOK_SECONDS = 0.05


async def leave(agent: Agent, *, message: str) -> None:
    """End all executors and forget the id: whoever starts here next is a new agent."""
    log.warning("this agent ends: %s", message)
    executors = [executor for framework in agent.frameworks.values() for executor in framework.executors.values()]
    given = [executor.info.get("shutdown_grace_period", {}).get("nanoseconds", 0) / 1e9 for executor in executors]
    grace = max([agent.options.executor_shutdown_grace_period, *given])
    for framework_id in list(agent.frameworks):
        agent.shutdown_framework(framework_id)
    deadline = asyncio.get_running_loop().time() + grace + MARGIN_SECONDS
    while agent.frameworks:
        if asyncio.get_running_loop().time() > deadline:
            log.error("executors of frameworks %s did not end in time", ", ".join(agent.frameworks))
            break
        await asyncio.sleep(LOOK_SECONDS)
    agent.checkpoint.forget_agent()
