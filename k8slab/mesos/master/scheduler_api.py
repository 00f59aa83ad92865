"""``POST /api/v1/scheduler``: the ladder of checks every call climbs, and the stream of events a SUBSCRIBE opens."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from aiohttp import web

from k8slab.mesos.authentication import principal_error
from k8slab.mesos.http import EventStream, accepts_json, open_stream, read_call, refuse
from k8slab.mesos.master.calls import SchedulerCalls
from k8slab.mesos.master.leading import not_leading
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.model import Framework
from k8slab.mesos.master.validation import call_error, framework_error, framework_update_error

STREAM_ID = "Mesos-Stream-Id"
UNACCEPTABLE = "Expecting 'Accept' to allow application/json or application/x-protobuf"


class SchedulerApi:
    def __init__(self, master: Master) -> None:
        self._master = master
        self._calls = SchedulerCalls(master)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """The first check that fails answers; their order is part of the API."""
        if (elsewhere := not_leading(self._master, request)) is not None:
            return elsewhere
        call = await read_call(request, "SchedulerCall", name="Call")
        if isinstance(call, web.Response):
            return call
        if error := call_error(call) or _subscriber_error(request, call):
            return refuse(400, f"Failed to validate scheduler::Call: {error}")
        if call["type"] == "SUBSCRIBE":
            return await self._subscribe(request, call)
        if call["type"] == "RECONCILE_OPERATIONS" and not accepts_json(request):
            return refuse(406, UNACCEPTABLE)
        return self._take(request, call)

    def _take(self, request: web.Request, call: dict[str, Any]) -> web.Response:
        framework = self._master.frameworks.get(call["framework_id"]["value"])
        if framework is None:
            return refuse(400, "Framework cannot be found")
        if error := principal_error(request, framework.info.get("principal")):
            return refuse(400, error)
        if not framework.connected:
            return refuse(403, "Framework is not subscribed")
        stream_id = request.headers.get(STREAM_ID)
        if stream_id is None:
            return refuse(400, f"All non-subscribe calls should include the '{STREAM_ID}' header")
        if stream_id != framework.stream_id:
            return refuse(
                400,
                f"The stream ID '{stream_id}' included in this request didn't match the stream ID "
                f"currently associated with framework ID '{framework.framework_id}'",
            )
        if call["type"] == "UPDATE_FRAMEWORK":
            return self._update_framework(framework, call["update_framework"])
        handle = self._calls.handle.get(call["type"])
        if handle is None:
            return refuse(501, f"{call['type']} is not served by this master")
        self._master.counters[f"messages_{call['type'].lower()}"] += 1
        handle(framework, call.get(call["type"].lower()) or {})
        return web.Response(status=202)

    def _update_framework(self, framework: Framework, update: dict[str, Any]) -> web.Response:
        """Answered at once and whole; nothing can remove the framework meanwhile, so there is never a conflict."""
        self._master.counters["messages_update_framework"] += 1
        info, suppressed = update["framework_info"], update.get("suppressed_roles", ())
        if error := self._framework_error(info, suppressed):
            return refuse(400, f"Supplied FrameworkInfo is not valid: {error}")
        if error := framework_update_error(framework.info, info):
            return refuse(400, f"FrameworkInfo update is not valid: {error}")
        self._calls.update_framework(framework, info, suppressed)
        return web.Response(status=200)

    async def _subscribe(self, request: web.Request, call: dict[str, Any]) -> web.StreamResponse:
        if not accepts_json(request):
            return refuse(406, UNACCEPTABLE)
        if STREAM_ID in request.headers:
            return refuse(400, f"Subscribe calls should not include the '{STREAM_ID}' header")
        subscribe = call["subscribe"]
        stream, stream_id = EventStream(), str(uuid.uuid4())
        response = await open_stream(request, **{STREAM_ID: stream_id})
        if error := self._subscription_error(subscribe):
            stream.send({"type": "ERROR", "error": {"message": error}})
            stream.close()
            await stream.serve(response)
            return response
        framework = self._master.subscribe(
            subscribe["framework_info"],
            suppressed=subscribe.get("suppressed_roles", ()),
            stream=stream,
            stream_id=stream_id,
        )
        try:
            await stream.serve(response)
        finally:
            self._master.disconnect_framework(framework, stream)
        return response

    def _subscription_error(self, subscribe: dict[str, Any]) -> str | None:
        info = subscribe["framework_info"]
        if error := self._framework_error(info, subscribe.get("suppressed_roles", ())):
            return error
        framework_id = (info.get("id") or {}).get("value")
        if framework_id is None:
            return None
        if self._master.is_completed(framework_id):
            return "Framework has been removed"
        known = self._master.frameworks.get(framework_id)
        if known is not None and known.info.get("principal") != info.get("principal"):
            return "Changing framework's principal is not allowed."
        return None

    def _framework_error(self, info: dict[str, Any], suppressed: Collection[str]) -> str | None:
        options = self._master.options
        return framework_error(
            info, suppressed=suppressed, whitelist=options.roles, root_submissions=options.root_submissions
        )


def _subscriber_error(request: web.Request, call: dict[str, Any]) -> str | None:
    """A framework that names no principal may subscribe as anybody; only its other calls are held to the name."""
    if call["type"] != "SUBSCRIBE" or "principal" not in call["subscribe"]["framework_info"]:
        return None
    return principal_error(request, call["subscribe"]["framework_info"]["principal"])
