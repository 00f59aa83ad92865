from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from k8slab.kube import events
from k8slab.kube.events import NORMAL, EventRecorder, reference


class Written:
    """The client's part that writes events; ``enough`` is set when there are as many as were awaited."""

    def __init__(self, awaited: int) -> None:
        self.made: list[dict[str, Any]] = []
        self.enough = asyncio.Event()
        self._awaited = awaited

    async def create(self, resource: str, obj: dict[str, Any], namespace: str) -> dict[str, Any]:
        self.made.append(obj)
        if len(self.made) == self._awaited:
            self.enough.set()
        return obj


def owner(name: str) -> dict[str, Any]:
    return {"kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"}}


async def test_of_one_object_no_more_is_said_than_its_allowance() -> None:
    client = Written(events.BURST + 1)
    recorder = EventRecorder(client, "test")  # type: ignore[arg-type]
    for number in range(100):
        recorder.say(owner("big"), NORMAL, "SuccessfulCreate", f"Created pod: big-{number}")
    recorder.say(owner("small"), NORMAL, "SuccessfulCreate", "Created pod: small-0")
    writing = asyncio.create_task(recorder.run())
    await asyncio.wait_for(client.enough.wait(), 5)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    assert [one["involvedObject"]["name"] for one in client.made] == ["big"] * events.BURST + ["small"]


def test_an_allowance_comes_back_with_time() -> None:
    allowance = events._Allowance(events.BURST, 0.0)
    assert sum(allowance.take(0.0) for _ in range(100)) == events.BURST
    assert not allowance.take(events.REFILL - 1)
    assert allowance.take(events.REFILL + 1)
    assert not allowance.take(events.REFILL + 2)


@pytest.mark.parametrize(
    ("container", "path"),
    [("", None), ("main", "spec.containers{main}"), ("first", "spec.initContainers{first}")],
)
def test_what_an_event_is_about(container: str, path: str | None) -> None:
    spec = {"initContainers": [{"name": "first"}], "containers": [{"name": "main"}]}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}
    shown = reference(pod, container)
    assert shown.pop("fieldPath", None) == path
    assert shown == {"kind": "Pod", "apiVersion": "v1", "namespace": "n", "name": "p", "uid": "u"}
