"""What is shown of ended tasks is made once, and anew when they change after all."""

from __future__ import annotations

from typing import Any

import orjson

from k8slab.mesos.master.model import Task
from k8slab.mesos.master.views import task_json
from k8slab.mesos.resources import Resources


def test_a_fragment_is_kept_until_the_task_changes() -> None:
    task = Task("t", "t", "f", "S0", "", "*", Resources())
    made: list[str] = []

    def make(shown: Task) -> dict[str, Any]:
        made.append(shown.state)
        return task_json(shown)

    def shown() -> dict[str, Any]:
        return dict(orjson.loads(orjson.dumps(task.fragment("v0", make))))

    task.state = "TASK_UNREACHABLE"
    task.note({"state": "TASK_UNREACHABLE"})
    assert shown() == shown() == orjson.loads(orjson.dumps(task_json(task)))
    assert made == ["TASK_UNREACHABLE"]
    task.state = "TASK_FINISHED"
    assert shown()["state"] == "TASK_FINISHED"
    task.note({"state": "TASK_FINISHED", "healthy": False})
    assert [status["state"] for status in shown()["statuses"]] == ["TASK_UNREACHABLE", "TASK_FINISHED"]
    task.note({"state": "TASK_FINISHED", "healthy": True})
    assert shown()["statuses"][-1]["healthy"] is True
