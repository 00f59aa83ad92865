"""Usage of nodes and pods, gathered from the kubelets at the moment of the question."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final, TypeGuard

import aiohttp
import orjson
from aiohttp import web

from k8slab.kube.api import answers, errors
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.node import NODE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.usage import METRICS, NODE_METRICS
from k8slab.kube.api.meta import Object, dig
from k8slab.kube.api.requests import Asked, list_options
from k8slab.kube.api.streams.locate import kubelet_of
from k8slab.kube.api.verbs import Verbs

log = logging.getLogger(__name__)

SECONDS: Final = 5.0


async def serve_usage(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    """Of a node or pod whose kubelet does not say, nothing is known. Raises NotFound for such a one by name."""
    answers.wanted_by(request)
    about = NODE if kind is NODE_METRICS else POD
    selector = list_options(kind, request.query).selector
    found = [entry.obj for entry in verbs.cache.of(about).scan(about.scope(asked.namespace))]
    if asked.name:
        found = [one for one in found if one["metadata"]["name"] == asked.name]
    else:
        found = [one for one in found if selector.matches(one)]
    make = _of_nodes if about is NODE else _of_pods
    items = await make(verbs, found)
    if not asked.name:
        return answers.computed_list(request, kind, items)
    if not items:
        name = f"{asked.namespace}/{asked.name}" if asked.namespace else asked.name
        raise errors.not_found(METRICS, kind.kind.lower(), name)
    return answers.computed(request, kind, items[0])


async def _of_nodes(verbs: Verbs, nodes: list[Object]) -> list[Object]:
    summaries = await _summaries(nodes)
    items = []
    for node in nodes:
        own = (summaries.get(node["metadata"]["name"]) or {}).get("node")
        if _is_whole(own):
            items.append({"metadata": _metadata(node, own), **_span(own), "usage": _usage(own)})
    return items


async def _of_pods(verbs: Verbs, pods: list[Object]) -> list[Object]:
    hosts = {pod["spec"].get("nodeName") for pod in pods}
    nodes = [entry.obj for entry in verbs.cache.of(NODE).scan(NODE.scope(""))]
    summaries = await _summaries(node for node in nodes if node["metadata"]["name"] in hosts)
    told = [pod for summary in summaries.values() for pod in _list(summary.get("pods"))]
    by_uid = {dig(pod, "podRef", "uid"): pod for pod in told if isinstance(dig(pod, "podRef", "uid"), str)}
    items = []
    for pod in pods:
        own = by_uid.get(pod["metadata"]["uid"])
        told_of = _list((own or {}).get("containers"))
        # A pod of which only a part is known is better not told of: it would look as if it used little.
        if told_of and _is_whole(own) and all(map(_is_whole, told_of)):
            containers = [{"name": one.get("name", ""), "usage": _usage(one)} for one in told_of]
            items.append({"metadata": _metadata(pod, own), **_span(own), "containers": containers})
    return items


async def _summaries(nodes: Iterable[Object]) -> dict[str, Any]:
    """By the nodes' names; without those that did not answer in time."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as http:

        async def one(node: Object) -> tuple[str, Any]:
            name = node["metadata"]["name"]
            try:
                async with http.get(f"http://{kubelet_of(node).netloc}/stats/summary") as answer:
                    answer.raise_for_status()
                    summary = orjson.loads(await answer.read())
                    return name, summary if isinstance(summary, dict) else None
            except (aiohttp.ClientError, TimeoutError, ApiFailure, orjson.JSONDecodeError) as trouble:
                log.info("node %s does not say what it uses: %s", name, trouble or type(trouble).__name__)
                return name, None

        told = await asyncio.gather(*map(one, nodes))
        return {name: summary for name, summary in told if summary is not None}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_whole(used: Any) -> TypeGuard[Object]:
    """Whether a kubelet said all that is to be told: one that has just begun has no rates yet."""
    numbers = (dig(used, "cpu", "usageNanoCores"), dig(used, "memory", "workingSetBytes"))
    return all(isinstance(one, int) for one in numbers) and isinstance(dig(used, "cpu", "time"), str)


def _metadata(obj: Object, used: Object) -> Object:
    meta = obj["metadata"]
    kept = {key: meta[key] for key in ("name", "namespace", "labels") if meta.get(key)}
    return {**kept, "creationTimestamp": used["cpu"]["time"]}


def _span(used: Object) -> Object:
    window = dig(used, "cpu", "windowSeconds")
    return {"timestamp": used["cpu"]["time"], "window": f"{window:g}s" if isinstance(window, float) else "0s"}


def _usage(used: Object) -> Object:
    cpu, memory = used["cpu"]["usageNanoCores"], used["memory"]["workingSetBytes"]
    return {"cpu": f"{cpu}n", "memory": f"{memory // 1024}Ki"}
