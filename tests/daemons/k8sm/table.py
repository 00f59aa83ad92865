"""Many small pods at once, each a row of a table: what it asks for, and what it says about that with its last words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from k8slab.kube.client import ApiError, KubeClient, Object
from tests.daemons.k8sm.cluster import Cluster, Pod, pod
from tests.daemons.processes import eventually

NAMESPACE = "table"
SMALL = {"resources": {"requests": {"cpu": "50m", "memory": "16Mi"}}}


@dataclass(frozen=True)
class Row:
    """``command``: for the shell of the pod's only container; ``says``: the last words it must leave, a pattern."""

    name: str
    command: str
    says: str
    container: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)

    def pod(self) -> Pod:
        command = f"{{ {self.command}; }} > /dev/termination-log 2>&1"
        made = pod(self.name, command, container={**SMALL, **self.container}, **{"restartPolicy": "Never", **self.spec})
        made["metadata"] |= {"namespace": NAMESPACE, "annotations": {"team": "blue"}}
        return made

    def check(self, shown: Pod) -> None:
        assert shown["status"].get("containerStatuses"), shown["status"]
        state = shown["status"]["containerStatuses"][0]["state"]
        assert "terminated" in state, state
        said = state["terminated"].get("message", "")
        assert re.fullmatch(self.says, said.strip(), re.DOTALL), said


@dataclass(frozen=True)
class Stuck:
    """A pod whose container must wait for ever: with this reason, and an event that says why."""

    name: str
    reason: str
    event: tuple[str, str]
    container: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)

    def pod(self) -> Pod:
        made = pod(self.name, container={**SMALL, **self.container}, **self.spec)
        made["metadata"]["namespace"] = NAMESPACE
        return made


def rows(table: Sequence[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=[row.name for row in table])


async def prepare(client: KubeClient, objects: Mapping[str, Sequence[Object]]) -> None:
    """The table's namespace and, by resource, what its pods refer to."""
    try:
        await client.create("namespaces", {"metadata": {"name": NAMESPACE}})
    except ApiError as error:
        if not error.is_already_exists:
            raise
    for resource, made in objects.items():
        for one in made:
            await client.create(resource, one, NAMESPACE)


@contextlib.contextmanager
def prepared(
    cluster: Cluster, table: Sequence[Row], objects: Mapping[str, Sequence[Object]], **places: object
) -> Iterator[dict[str, Pod]]:
    """All rows' pods, ended, by name. ``places``: what stands for "{name}" in their specs."""
    pods = filled([row.pod() for row in table], places)

    async def work(client: KubeClient) -> dict[str, Pod]:
        await prepare(client, objects)
        return await run(client, pods)

    try:
        yield at_once(cluster.server, work)
    finally:
        at_once(cluster.server, lambda client: clear(client, objects))


def filled(pods: Any, places: Mapping[str, object]) -> Any:
    written = json.dumps(pods)
    for name, value in places.items():
        written = written.replace(f"{{{name}}}", str(value))
    return json.loads(written)


async def run(client: KubeClient, pods: Sequence[Pod]) -> dict[str, Pod]:
    """The pods as they are when the last one has ended, by name."""
    for one in pods:
        await client.create("pods", one)
    names = {one["metadata"]["name"] for one in pods}

    def ended(one: Pod) -> bool:
        return (one.get("status") or {}).get("phase") in ("Succeeded", "Failed")

    return await _when_all(client, names, ended)


async def _when_all(client: KubeClient, names: set[str], holds: Callable[[Pod], bool]) -> dict[str, Pod]:
    found: dict[str, Pod] = {}

    async def all_hold() -> bool:
        listed = (await client.list("pods", NAMESPACE)).items
        found.update({one["metadata"]["name"]: one for one in listed if one["metadata"]["name"] in names})
        return all(name in found and holds(found[name]) for name in names)

    # Each row says for itself what has become of it.
    with contextlib.suppress(AssertionError):
        await eventually(all_hold, timeout=60, interval=0.2, what="all rows have ended")
    return found


async def stuck_for(client: KubeClient, row: Stuck) -> None:
    """Until the row's pod waits as it must and has said why."""
    seen: dict[str, Any] = {}

    async def waits() -> bool:
        shown = await client.get("pods", row.name, NAMESPACE)
        statuses = shown["status"].get("containerStatuses") or [{}]
        seen["state"] = statuses[0].get("state")
        events = (await client.list("events", NAMESPACE, field_selector=f"involvedObject.name={row.name}")).items
        seen["events"] = [(one["reason"], one["message"]) for one in events]
        reason = ((seen["state"] or {}).get("waiting") or {}).get("reason")
        return reason == row.reason and any(
            kind == row.event[0] and re.search(row.event[1], message) for kind, message in seen["events"]
        )

    try:
        await eventually(waits, timeout=20, interval=0.1)
    except AssertionError:
        raise AssertionError(f"pod {row.name}: {seen}") from None


async def clear(client: KubeClient, objects: Mapping[str, Sequence[Object]]) -> None:
    for resource, made in objects.items():
        for obj in made:
            await client.delete(resource, obj["metadata"]["name"], NAMESPACE)
    for one in (await client.list("pods", NAMESPACE)).items:
        await client.delete("pods", one["metadata"]["name"], NAMESPACE, grace_period_seconds=0)

    async def gone() -> bool:
        return not (await client.list("pods", NAMESPACE)).items

    await eventually(gone, what="the table's pods are gone")


def at_once(server: str, work: Callable[[KubeClient], Any]) -> Any:
    """For fixtures that outlive a test's loop."""

    async def do() -> Any:
        async with KubeClient(server) as client:
            return await work(client)

    return asyncio.run(do())
