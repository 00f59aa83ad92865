"""A pod's log, passed on from the kubelet of its node."""

from __future__ import annotations

from typing import Any, Final

import aiohttp
from aiohttp import web

from k8slab.kube.api import errors
from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.meta import dig
from k8slab.kube.api.registry import Registry

KUBELET_PORT: Final = 10250
CONNECT_TIMEOUT: Final = 5.0
PASSED_ON: Final = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
)


async def pod_log(request: web.BaseRequest, registry: Registry, namespace: str, name: str) -> web.StreamResponse:
    """Stream the log. Raises BadRequest for a container that is not there or has not begun, 500 without a kubelet."""
    record = await registry.get(POD, namespace, name)
    pod = POD.decode(record.value, record.revision)
    container = _container(pod, request.query.get("container", ""))
    node = pod["spec"].get("nodeName")
    if not node:
        raise errors.bad_request(f'container "{container}" in pod "{name}" is not available')
    address = await _address(registry, node)
    host, port = address
    url = f"http://{host}:{port}/containerLogs/{namespace}/{name}/{container}"
    query = {key: request.query[key] for key in PASSED_ON if key in request.query}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, params=query) as answer:
            if answer.status >= 400:
                text = (await answer.text()).strip()
                raise errors.ApiFailure(answer.status, "BadRequest" if answer.status == 400 else "", text)
            return await _pass_on(request, answer)
    except (aiohttp.ClientConnectionError, TimeoutError) as trouble:
        raise errors.ApiFailure(500, "InternalError", f"Get {url!r}: {trouble}", details={}) from None


async def _pass_on(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


def _container(pod: dict[str, Any], asked: str) -> str:
    spec, name = pod["spec"], pod["metadata"]["name"]
    known = [one["name"] for one in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))]
    if asked:
        if asked not in known:
            raise errors.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(spec["containers"]) > 1:
        choices = " ".join(one["name"] for one in spec["containers"])
        raise errors.bad_request(f"a container name must be specified for pod {name}, choose one of: [{choices}]")
    return str(spec["containers"][0]["name"])


async def _address(registry: Registry, name: str) -> tuple[str, int]:
    record = await registry.get(NODE, "", name)
    node = NODE.decode(record.value, record.revision)
    addresses = {one.get("type"): one.get("address") for one in dig(node, "status", "addresses") or ()}
    host = addresses.get("InternalIP") or addresses.get("Hostname") or name
    port = dig(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port") or KUBELET_PORT
    return str(host), int(port)
