"""A status reaches the server however long the server cannot take it; only a refusal ends its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from k8slab.kube.api.strategic import strategic
from k8slab.kube.client import ApiError, ApiUnavailable, Object
from k8slab.kube.kubelet import writer
from tests.unit.kubelet.pods import a_pod


class Server:
    """Answers each patch with the next of ``troubles``, and takes it when there are none left."""

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.taken: list[Any] = []

    async def patch(self, resource: str, name: str, patch: Any, namespace: str, **how: str) -> Object:
        await asyncio.sleep(0)
        if self.troubles:
            raise self.troubles.pop(0)
        self.taken.append(patch["status"])
        return {}


async def written(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(writer, "_RETRY", 0.0)
    statuses = writer.StatusWriter(server)  # type: ignore[arg-type]
    running = asyncio.create_task(statuses.run())
    statuses.publish(a_pod(), {"phase": "Running"})
    async with asyncio.timeout(5):
        await statuses.flushed()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return server.taken


@pytest.mark.parametrize(
    "trouble",
    [ApiError(500, "InternalError", "etcd"), ApiError(504, "Timeout", ""), ApiError(429, "", ""), ApiUnavailable("")],
)
async def test_it_is_written_after_any_number_of_failures(trouble: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await written(Server(*[trouble] * 50), monkeypatch) == [{"phase": "Running", "conditions": []}]


@pytest.mark.parametrize(("code", "tries"), [(404, 1), (422, 5)])
async def test_a_refusal_ends_its_way(code: int, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(*[ApiError(code, "", "no")] * 50)
    assert await written(server, monkeypatch) == []
    assert len(server.troubles) == 50 - tries


def test_conditions_of_others_and_new_addresses() -> None:
    before = {
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "not yet"},
            {"type": "x/y", "status": "True"},
        ],
        "podIPs": [{"ip": "10.1.0.2"}],
    }
    told = {
        "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": None}, {"type": "x/y", "status": "False"}],
        "podIPs": [{"ip": "10.1.0.3"}],
    }
    after = strategic(before, writer.patch_of(told), "PodStatus")
    assert after == {
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "x/y", "status": "True"}],
        "podIPs": [{"ip": "10.1.0.3"}],
    }
