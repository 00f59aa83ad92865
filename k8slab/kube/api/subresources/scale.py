"""How many replicas: one small object over every kind that has a number of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from k8slab.kube.api import answers, bodies, errors, validation
from k8slab.kube.api.apply import managed
from k8slab.kube.api.apply.serving import writer_of
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object, dig
from k8slab.kube.api.requests import Asked, is_dry_run
from k8slab.kube.api.selectors import shown_requirements
from k8slab.kube.api.verbs import Verbs

VERSION = "autoscaling/v1"
FORM = "Scale"
CARRIED = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(obj: Object) -> Object:
    """The Scale of an object; ReplicationControllers select by labels alone."""
    selector = dig(obj, "spec", "selector") or {}
    if selector and not (selector.keys() & {"matchLabels", "matchExpressions"}):
        selector = {"matchLabels": selector}
    status: Object = {"replicas": dig(obj, "status", "replicas") or 0}
    if selector:
        status["selector"] = shown_requirements(selector)
    return {
        "kind": FORM,
        "apiVersion": VERSION,
        "metadata": {key: obj["metadata"][key] for key in CARRIED if key in obj["metadata"]},
        "spec": {"replicas": replicas} if (replicas := dig(obj, "spec", "replicas")) else {},
        "status": status,
    }


async def serve_scale(verbs: Verbs, request: web.BaseRequest, kind: Kind, asked: Asked) -> web.StreamResponse:
    answers.wanted_by(request)
    registry = verbs.registry
    if request.method in ("GET", "HEAD"):
        record = await registry.get(kind, asked.namespace, asked.name)
        return _answer(request, kind.decode(record.value, record.revision))
    change, warnings = await _change(verbs, request, asked)
    options = "PatchOptions" if request.method == "PATCH" else "UpdateOptions"
    dry_run = is_dry_run(request.query, options)
    track = managed.by_update(kind, writer_of(request, options, "scale"))

    def mutate(old: Object) -> Object:
        scale = change(scale_of(old))
        wanted = dig(scale, "spec", "replicas") or 0
        version = scale["metadata"].get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(kind.group, kind.plural, asked.name, errors.MODIFIED)
        if problems := validation.not_negative("spec.replicas", wanted):
            raise errors.invalid("autoscaling", FORM, asked.name, problems)
        new = {**old, "spec": {**old["spec"], "replicas": wanted}, "metadata": dict(old["metadata"])}
        if kind.is_raised(new, old):
            new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1
        if owners := track(old, new):
            new["metadata"]["managedFields"] = owners
        return new

    done = await registry.change(kind, asked.namespace, asked.name, mutate, dry_run=dry_run)
    return _answer(request, kind.decode(done.value, done.revision), warnings)


async def _change(verbs: Verbs, request: web.BaseRequest, asked: Asked) -> tuple[Callable[[Object], Object], list[str]]:
    """What becomes of the scale, by a whole one or by a patch."""
    if request.method == "PATCH":
        patch = await verbs.read_patch(request, FORM)

        def patched(scale: Object) -> Object:
            body: Any = patch(scale)
            found, unknown = bodies.decoded_as(FORM, VERSION, FORM, body)
            bodies.judge_unknown(request.query, VERSION, FORM, unknown)
            return found

        return patched, []
    wanted, warnings = await bodies.read_as(request, FORM, VERSION, FORM)
    bodies.hold_namespace(wanted, asked.namespace)
    name = wanted["metadata"].get("name") or ""
    if name != asked.name:
        why = f"the name of the object ({name}) does not match the name on the URL ({asked.name})"
        raise errors.bad_request(why)
    return lambda scale: wanted, warnings


def _answer(request: web.BaseRequest, obj: Object, warnings: list[str] | None = None) -> web.Response:
    return answers.body(request, orjson.dumps(scale_of(obj)) + b"\n", warnings=warnings or ())
