"""The node's own sign of life."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from k8slab.kube.client import ApiError, ApiUnavailable, Object
from k8slab.kube.kubelet.node_lease import NAMESPACE, keep_lease


class Api:
    """``troubles`` come before anything is done, one for each call."""

    def __init__(self) -> None:
        self.nodes: dict[str, Object] = {}
        self.leases: dict[str, Object] = {}
        self.renewals: list[str] = []
        self.troubles: list[Exception] = []

    def _trouble(self) -> None:
        if self.troubles:
            raise self.troubles.pop(0)

    async def patch(self, resource: str, name: str, patch: Any, namespace: str) -> Object:
        self._trouble()
        if name not in self.leases:
            raise ApiError(404, "NotFound", name)
        self.renewals.append(patch["spec"]["renewTime"])
        self.leases[name] = {**self.leases[name], **patch}
        return self.leases[name]

    async def get(self, resource: str, name: str) -> Object:
        if name not in self.nodes:
            raise ApiError(404, "NotFound", name)
        return self.nodes[name]

    async def create(self, resource: str, obj: Object, namespace: str) -> Object:
        assert (resource, namespace) == ("leases", NAMESPACE)
        self.leases[obj["metadata"]["name"]] = obj
        return obj


async def kept(api: Any, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await keep_lease(api, "node-0", frequency=0.02)


async def test_a_lease_is_made_for_its_node_and_renewed() -> None:
    api = Api()
    api.nodes["node-0"] = {"metadata": {"name": "node-0", "uid": "u"}}
    await kept(api, 0.3)
    (reference,) = api.leases["node-0"]["metadata"]["ownerReferences"]
    assert reference == {"apiVersion": "v1", "kind": "Node", "name": "node-0", "uid": "u"}
    assert api.leases["node-0"]["spec"]["holderIdentity"] == "node-0"
    assert len(set(api.renewals)) >= 3
    assert api.leases["node-0"]["spec"]["renewTime"] == api.renewals[-1]


async def test_there_is_no_lease_without_a_node() -> None:
    api = Api()
    await kept(api, 0.1)
    assert api.leases == {}
    api.nodes["node-0"] = {"metadata": {"name": "node-0", "uid": "u"}}
    await kept(api, 0.1)
    assert "node-0" in api.leases


@pytest.mark.parametrize("trouble", [ApiUnavailable("away"), ApiError(500, "InternalError", "etcd")])
async def test_trouble_is_outlived(trouble: Exception) -> None:
    api = Api()
    api.nodes["node-0"] = {"metadata": {"name": "node-0", "uid": "u"}}
    api.troubles = [trouble, trouble]
    await kept(api, 0.3)
    assert api.renewals


async def test_an_api_that_does_not_answer_is_said_to_be_silent(caplog: pytest.LogCaptureFixture) -> None:
    class Silent(Api):
        async def patch(self, resource: str, name: str, patch: Any, namespace: str) -> Object:
            await asyncio.Event().wait()
            raise AssertionError

    with caplog.at_level("INFO"):
        await kept(Silent(), 0.3)
    assert "the lease of node node-0 is not renewed: no answer in time" in caplog.text
