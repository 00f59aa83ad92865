"""The order in which the scheduler API checks a call, and what each check answers."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from k8slab.mesos.recordio import Decoder
from tests.daemons.mesos.cluster import Cluster, Driver

JSON = {"Content-Type": "application/json"}


def subscribe(framework_id: str | None = None, **info: Any) -> dict[str, Any]:
    framework = {"user": "root", "name": "test", **info}
    call: dict[str, Any] = {"type": "SUBSCRIBE", "subscribe": {"framework_info": framework}}
    if framework_id is not None:
        call["framework_id"] = framework["id"] = {"value": framework_id}
    return call


class Stream:
    """A subscription read by hand."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self._decoder = Decoder()
        self._events: list[dict[str, Any]] = []

    @property
    def stream_id(self) -> str:
        return self.response.headers["Mesos-Stream-Id"]

    async def next(self) -> dict[str, Any] | None:
        """The next event; None at the end of the stream."""
        while not self._events:
            chunk = await self.response.content.readany()
            if not chunk:
                return None
            self._events += map(json.loads, self._decoder.feed(chunk))
        return self._events.pop(0)


class Api:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def post(self, call: Any, **headers: str) -> tuple[int, str]:
        body = call if isinstance(call, str | bytes) else json.dumps(call)
        async with self.session.post(self.url, data=body, headers={**JSON, **headers}) as response:
            return response.status, await response.text()

    async def open(self, call: Any, **headers: str) -> Stream:
        response = await self.session.post(self.url, data=json.dumps(call), headers={**JSON, **headers})
        assert response.status == 200, await response.text()
        return Stream(response)


@pytest.fixture
async def api(master: Cluster) -> Any:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Api(session, f"{master.masters[0].url}/api/v1/scheduler")


async def test_a_subscription_starts_with_subscribed_and_a_heartbeat(api: Api) -> None:
    stream = await api.open(subscribe())
    subscribed, heartbeat = await stream.next(), await stream.next()
    assert subscribed is not None
    assert subscribed["subscribed"]["heartbeat_interval_seconds"] == 15.0
    master_id, _, number = subscribed["subscribed"]["framework_id"]["value"].rpartition("-")
    assert number == "0000"
    assert subscribed["subscribed"]["master_info"]["id"] == master_id
    assert heartbeat == {"type": "HEARTBEAT"}
    assert stream.response.headers["Content-Type"] == "application/json"
    assert stream.response.headers["Transfer-Encoding"] == "chunked"


async def test_method_type_and_body(api: Api) -> None:
    async with api.session.get(api.url) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
    assert (await api.post(subscribe(), **{"Content-Type": "text/plain"}))[0] == 415
    assert (await api.post(subscribe(), **{"Content-Type": "application/json; charset=utf-8"}))[0] == 415
    async with api.session.post(api.url, data=b"{}", skip_auto_headers=["Content-Type"]) as response:
        assert response.status == 400
        assert "Content-Type" in await response.text()
    status, text = await api.post("{broken")
    assert (status, text.startswith("Failed to parse body into JSON: ")) == (400, True)
    status, text = await api.post({"type": "SUBSCRIBE", "subscribe": {}})
    assert (status, text.startswith("Failed to convert JSON into Call protobuf: ")) == (400, True)
    status, text = await api.post({"type": "FOO"})
    assert (status, text) == (400, "Failed to validate scheduler::Call: Expecting 'type' to be present")
    assert (await api.post({"type": 3}))[0] == 400
    assert (await api.post(subscribe(), Accept="text/html"))[0] == 406


async def test_stream_ids(api: Api) -> None:
    stream = await api.open(subscribe())
    subscribed = await stream.next()
    assert subscribed is not None
    decline = {
        "type": "DECLINE",
        "framework_id": subscribed["subscribed"]["framework_id"],
        "decline": {"offer_ids": []},
    }
    assert (await api.post(decline))[0] == 400
    assert (await api.post(decline, **{"Mesos-Stream-Id": "another"}))[0] == 400
    assert (await api.post(decline, **{"Mesos-Stream-Id": stream.stream_id})) == (202, "")
    assert (await api.post(subscribe(), **{"Mesos-Stream-Id": stream.stream_id}))[0] == 400
    unserved = {"type": "UPDATE_FRAMEWORK", "framework_id": decline["framework_id"]}
    unserved["update_framework"] = {"framework_info": {"user": "root", "name": "other"}}
    assert (await api.post(unserved, **{"Mesos-Stream-Id": stream.stream_id}))[0] == 501


async def test_unknown_and_unsubscribed_frameworks(api: Api) -> None:
    revive = {"type": "REVIVE", "framework_id": {"value": "never-seen"}}
    assert await api.post(revive) == (400, "Framework cannot be found")
    stream = await api.open(subscribe(failover_timeout=60.0))
    subscribed = await stream.next()
    assert subscribed is not None
    stream.response.close()
    revive["framework_id"] = subscribed["subscribed"]["framework_id"]
    headers = {"Mesos-Stream-Id": stream.stream_id}
    while (answer := await api.post(revive, **headers)) == (202, ""):
        pass
    assert answer == (403, "Framework is not subscribed")


async def test_two_ids_that_differ(api: Api) -> None:
    call = subscribe("one")
    call["subscribe"]["framework_info"]["id"] = {"value": "two"}
    assert (await api.post(call))[0] == 400
    del call["subscribe"]["framework_info"]["id"]
    assert (await api.post(call))[0] == 400


@pytest.mark.parametrize(
    "info",
    [
        {"role": "a b"},
        {"role": "-a"},
        {"roles": ["a"]},
        {"failover_timeout": -1.0},
        {"role": "a", "roles": ["b"], "capabilities": [{"type": "MULTI_ROLE"}]},
    ],
)
async def test_a_wrong_framework_is_told_by_an_event(api: Api, info: dict[str, Any]) -> None:
    stream = await api.open(subscribe(**info))
    error = await stream.next()
    assert error is not None
    assert error["type"] == "ERROR"
    assert error["error"]["message"]
    assert await stream.next() is None


async def test_a_second_subscription_takes_over(api: Api) -> None:
    first = await api.open(subscribe(failover_timeout=60.0))
    subscribed = await first.next()
    assert subscribed is not None
    framework_id = subscribed["subscribed"]["framework_id"]["value"]
    second = await api.open(subscribe(framework_id, failover_timeout=60.0))
    again = await second.next()
    assert again is not None
    assert again["subscribed"]["framework_id"]["value"] == framework_id
    assert second.stream_id != first.stream_id
    assert await first.next() == {"type": "HEARTBEAT"}
    assert await first.next() == {"type": "ERROR", "error": {"message": "Framework failed over"}}
    assert await first.next() is None


async def test_a_removed_framework_never_returns(api: Api) -> None:
    stream = await api.open(subscribe())
    subscribed = await stream.next()
    assert subscribed is not None
    framework_id = subscribed["subscribed"]["framework_id"]
    teardown = {"type": "TEARDOWN", "framework_id": framework_id}
    assert await api.post(teardown, **{"Mesos-Stream-Id": stream.stream_id}) == (202, "")
    assert await stream.next() == {"type": "HEARTBEAT"}
    assert await stream.next() is None
    again = await api.open(subscribe(framework_id["value"]))
    assert await again.next() == {"type": "ERROR", "error": {"message": "Framework has been removed"}}
    assert await again.next() is None


async def test_roles_not_on_the_whitelist(cluster: Cluster) -> None:
    cluster.master("--roles=web,batch")
    async with aiohttp.ClientSession() as session:
        api = Api(session, f"{cluster.masters[0].url}/master/api/v1/scheduler/")
        refused = await (await api.open(subscribe(role="other"))).next()
        assert refused is not None
        assert refused["type"] == "ERROR"
        taken = await (await api.open(subscribe(role="web"))).next()
        assert taken is not None
        assert taken["type"] == "SUBSCRIBED"


async def test_unknown_paths(master: Cluster) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/nothing", "/redirect/anything", "/master/nothing", "/api/v2", "/masterstate"):
            async with session.get(master.masters[0].url + path, allow_redirects=False) as response:
                assert response.status == 404, path
        for path in ("/health", "/master/health", "/health/", "/api/v1/operator"):
            async with session.get(master.masters[0].url + path) as response:
                assert response.status == (405 if "operator" in path else 200), path


async def test_a_disconnected_framework_with_no_patience_is_removed(small: Cluster) -> None:
    async with Driver(small.master_flag, failover_timeout=0.0) as driver:
        framework_id = driver.client.framework_id
    async with Driver(small.master_flag) as watcher:
        await watcher.offer()
        state = await small.state()
        assert [framework["id"] for framework in state["completed_frameworks"]] == [framework_id]
