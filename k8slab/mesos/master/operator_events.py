"""What the master tells those who watch it: one function per event of the operator API's stream."""

from __future__ import annotations

from typing import Any

from k8slab.mesos.master import v1_views
from k8slab.mesos.master.model import Agent, Framework, Task


def task_added(task: Task) -> dict[str, Any]:
    return {"type": "TASK_ADDED", "task_added": {"task": v1_views.task_json(task)}}


def task_updated(task: Task) -> dict[str, Any]:
    """``status`` is the latest of the task, ``state`` what its agent says of it, which may be further on."""
    updated = {"framework_id": {"value": task.framework_id}, "status": task.statuses[-1], "state": task.state}
    return {"type": "TASK_UPDATED", "task_updated": updated}


def agent_added(agent: Agent) -> dict[str, Any]:
    return {"type": "AGENT_ADDED", "agent_added": {"agent": v1_views.agent_json(agent)}}


def agent_removed(agent: Agent) -> dict[str, Any]:
    return {"type": "AGENT_REMOVED", "agent_removed": {"agent_id": {"value": agent.agent_id}}}


def framework_added(framework: Framework) -> dict[str, Any]:
    return {"type": "FRAMEWORK_ADDED", "framework_added": {"framework": v1_views.framework_json(framework)}}


def framework_updated(framework: Framework) -> dict[str, Any]:
    return {"type": "FRAMEWORK_UPDATED", "framework_updated": {"framework": v1_views.framework_json(framework)}}


def framework_removed(framework: Framework) -> dict[str, Any]:
    return {"type": "FRAMEWORK_REMOVED", "framework_removed": {"framework_info": framework.info}}
