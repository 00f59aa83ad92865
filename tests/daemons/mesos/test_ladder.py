"""The order in which the scheduler API checks a call, and what each check answers."""

from __future__ import annotations

import json
import time
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


async def test_row_01_a_subscription_starts_with_subscribed_and_a_heartbeat(api: Api) -> None:
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


async def test_row_02_method_type_and_body(api: Api) -> None:
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


async def test_row_03_stream_ids(api: Api) -> None:
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


async def test_row_04_unknown_and_unsubscribed_frameworks(api: Api) -> None:
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


async def test_row_05_two_ids_that_differ(api: Api) -> None:
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
        {"role": "a/../b"},
        {"role": ""},
        {"roles": ["a"]},
        {"failover_timeout": -1.0},
        {"failover_timeout": 1e30},
        {"role": "a", "roles": ["b"], "capabilities": [{"type": "MULTI_ROLE"}]},
        {"roles": ["a b"], "capabilities": [{"type": "MULTI_ROLE"}]},
        {"roles": ["a", "a"], "capabilities": [{"type": "MULTI_ROLE"}]},
    ],
)
async def test_row_06_a_wrong_framework_is_told_by_an_event(api: Api, info: dict[str, Any]) -> None:
    stream = await api.open(subscribe(**info))
    error = await stream.next()
    assert error is not None
    assert error["type"] == "ERROR"
    assert error["error"]["message"]
    assert await stream.next() is None


async def test_row_07_a_second_subscription_takes_over(api: Api) -> None:
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


async def test_row_06_roles_not_on_the_whitelist(cluster: Cluster) -> None:
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


async def test_suppressed_roles_and_ids_that_cannot_be(api: Api) -> None:
    suppressing = subscribe(role="a")
    suppressing["subscribe"]["suppressed_roles"] = ["b"]
    for call in (suppressing, subscribe("a/b"), subscribe("..")):
        stream = await api.open(call)
        error = await stream.next()
        assert error is not None
        assert error["type"] == "ERROR"
        assert await stream.next() is None


async def test_root_may_be_kept_out(cluster: Cluster) -> None:
    cluster.master("--no-root_submissions")
    async with aiohttp.ClientSession() as session:
        api = Api(session, f"{cluster.masters[0].url}/api/v1/scheduler")
        refused = await api.open(subscribe())
        error = await refused.next()
        assert error is not None
        assert "root" in error["error"]["message"]
        assert await refused.next() is None
        taken = await (await api.open(subscribe(user="nobody"))).next()
        assert taken is not None
        assert taken["type"] == "SUBSCRIBED"


@pytest.mark.slow
async def test_row_01_heartbeats_come_every_fifteen_seconds(api: Api) -> None:
    stream = await api.open(subscribe())
    await stream.next()
    assert await stream.next() == {"type": "HEARTBEAT"}
    seen = time.monotonic()
    assert await stream.next() == {"type": "HEARTBEAT"}
    assert 14.5 < time.monotonic() - seen < 16.0


async def subscribed_to(api: Api, **info: Any) -> tuple[Stream, str, dict[str, str]]:
    """A new framework: its stream, its id, the header its calls carry."""
    stream = await api.open(subscribe(**info))
    subscribed = await stream.next()
    assert subscribed is not None
    assert await stream.next() == {"type": "HEARTBEAT"}
    return stream, subscribed["subscribed"]["framework_id"]["value"], {"Mesos-Stream-Id": stream.stream_id}


U16, U3 = "AAECAwQFBgcICQoLDA0ODw==", "AAEC"
IDS = {"agent_id": {"value": "S"}, "task_id": {"value": "T"}, "operation_id": {"value": "O"}}


@pytest.mark.parametrize(
    ("kind", "payload", "status"),
    [
        ("DECLINE", None, 400),
        ("ACCEPT", None, 400),
        ("KILL", {}, 400),
        ("REVIVE", None, 202),
        ("SUPPRESS", None, 202),
        ("REVIVE", {"roles": ["not-mine"]}, 202),
        ("RECONCILE", {}, 202),
        ("ACKNOWLEDGE", {**IDS, "uuid": U3}, 400),
        ("ACKNOWLEDGE", {**IDS, "uuid": "%%"}, 400),
        ("ACKNOWLEDGE", {**IDS, "uuid": U16}, 202),
        ("ACKNOWLEDGE_OPERATION_STATUS", {**IDS, "uuid": U3}, 400),
        ("ACKNOWLEDGE_OPERATION_STATUS", {"operation_id": IDS["operation_id"], "uuid": U16}, 400),
        ("ACKNOWLEDGE_OPERATION_STATUS", {**IDS, "uuid": U16}, 202),
        ("RECONCILE_OPERATIONS", {}, 202),
        ("REQUEST", {"requests": []}, 202),
        ("ACCEPT_INVERSE_OFFERS", {"inverse_offer_ids": [{"value": "none"}]}, 202),
        ("DECLINE_INVERSE_OFFERS", {"inverse_offer_ids": [{"value": "none"}]}, 202),
        ("DECLINE_INVERSE_OFFERS", {"inverse_offer_ids": [{}]}, 400),
        ("SHUTDOWN", {"executor_id": {"value": "E"}, "agent_id": {"value": "S"}}, 202),
        ("MESSAGE", {"executor_id": {"value": "E"}, "agent_id": {"value": "S"}, "data": U3}, 202),
        ("UPDATE_FRAMEWORK", None, 400),
    ],
)
async def test_what_each_call_needs(api: Api, kind: str, payload: Any, status: int) -> None:
    _stream, framework_id, headers = await subscribed_to(api)
    call: dict[str, Any] = {"type": kind}
    if payload is not None:
        call[kind.lower()] = payload
    assert (await api.post(call, **headers))[0] == 400, "no framework_id"
    call["framework_id"] = {"value": framework_id}
    assert (await api.post(call, **headers))[0] == status


async def test_the_first_check_that_fails_answers(api: Api) -> None:
    _stream, framework_id, headers = await subscribed_to(api)
    reconcile = {"type": "RECONCILE_OPERATIONS", "framework_id": {"value": "never-seen"}, "reconcile_operations": {}}
    assert (await api.post(reconcile, Accept="text/html"))[0] == 406
    assert await api.post(reconcile) == (400, "Framework cannot be found")
    decline = {"type": "DECLINE", "framework_id": {"value": framework_id}, "decline": {"offer_ids": []}}
    assert (await api.post(decline, Accept="text/html", **headers))[0] == 202
    async with api.session.put(api.url, data="{broken", headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 405
    assert (await api.post("{broken", **{"Content-Type": "text/plain"}))[0] == 415
    broken = {"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "root"}}}
    assert (await api.post(broken, Accept="text/html"))[0] == 400


async def test_row_08_a_framework_keeps_what_may_not_change_when_it_returns(api: Api) -> None:
    stream, framework_id, _headers = await subscribed_to(api, failover_timeout=60.0, principal="me")
    stream.response.close()
    changes = {"user": "nobody", "name": "other", "checkpoint": True, "failover_timeout": 5.0, "hostname": "h"}
    other = await api.open(subscribe(framework_id, principal="you", **changes))
    assert await other.next() == {
        "type": "ERROR",
        "error": {"message": "Changing framework's principal is not allowed."},
    }
    assert await other.next() is None
    again = await api.open(subscribe(framework_id, principal="me", **changes))
    subscribed = await again.next()
    assert subscribed is not None
    assert subscribed["subscribed"]["framework_id"]["value"] == framework_id
    assert again.stream_id != stream.stream_id
    async with api.session.get(api.url.replace("/api/v1/scheduler", "/state")) as response:
        [shown] = (await response.json())["frameworks"]
    assert (shown["user"], shown["checkpoint"]) == ("root", False)
    assert (shown["name"], shown["failover_timeout"], shown["hostname"]) == ("other", 5.0, "h")


async def test_update_framework(api: Api) -> None:
    stream, framework_id, headers = await subscribed_to(api, role="before", failover_timeout=60.0)
    info = {"user": "root", "name": "renamed", "id": {"value": framework_id}, "role": "after", "failover_timeout": 7.0}

    def update(**changes: Any) -> dict[str, Any]:
        payload = {"framework_info": {**info, **changes}, "suppressed_roles": changes.pop("suppressed", [])}
        return {
            "type": "UPDATE_FRAMEWORK",
            "framework_id": {"value": framework_id},
            "update_framework": payload,
        }

    assert await api.post(update(), **headers) == (200, "")
    async with api.session.get(api.url.replace("/api/v1/scheduler", "/state")) as response:
        [shown] = (await response.json())["frameworks"]
    assert (shown["name"], shown["role"], shown["failover_timeout"]) == ("renamed", "after", 7.0)
    for wrong in (
        {"id": {"value": "other"}},
        {"user": "nobody"},
        {"principal": "me"},
        {"checkpoint": True},
        {"role": "a b"},
        {"suppressed": ["before"]},
    ):
        assert (await api.post(update(**wrong), **headers))[0] == 400, wrong
    assert (await api.post(update()))[0] == 400, "no stream id"
    stream.response.close()
    while (answer := await api.post(update(), **headers))[0] == 200:
        pass
    assert answer == (403, "Framework is not subscribed")
