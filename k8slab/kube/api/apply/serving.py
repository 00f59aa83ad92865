"""Requests that apply a configuration, and who a request's writer is."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from k8slab.kube.api import answers, bodies, duplicates, errors, negotiation, validation
from k8slab.kube.api.apply import applying
from k8slab.kube.api.apply.managed import LONGEST_MANAGER, Writer, manager_of
from k8slab.kube.api.auth.access import Access
from k8slab.kube.api.errors import ApiFailure, FieldProblem
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.requests import Asked, is_dry_run, truthy
from k8slab.kube.malformed import legible

APPLY_PATCH: Final = "application/apply-patch+yaml"
TRIES: Final = 5


def media_of(request: web.BaseRequest) -> str:
    return negotiation.media_type(request.headers.get("Content-Type", ""))


def writer_of(request: web.BaseRequest, options: str, subresource: str = "") -> Writer:
    """Raises Invalid for a manager that cannot be written down, or for force where nothing is applied."""
    given = request.query.get("fieldManager", "")
    problems: list[FieldProblem] = []
    applies = media_of(request) == APPLY_PATCH
    if applies and not given:
        problems.append(validation.required("fieldManager", "is required for apply patch"))
    if len(given) > LONGEST_MANAGER:
        problems.append(validation.too_long("fieldManager", LONGEST_MANAGER))
    if not given.isprintable():
        problems.append(validation.invalid("fieldManager", given, "should only contain printable characters"))
    if not applies and "force" in request.query and options == "PatchOptions":
        problems.append(validation.forbidden("force", "may not be specified for non-apply patch"))
    if problems:
        raise errors.invalid("meta.k8s.io", options, "", problems)
    return Writer(manager_of(given, legible(request.headers.get("User-Agent", ""))), subresource)


async def serve_apply(
    registry: Registry, access: Access, request: web.BaseRequest, kind: Kind, asked: Asked, *, status_only: bool
) -> web.Response:
    writer = writer_of(request, "PatchOptions", asked.subresource)
    dry_run = is_dry_run(request.query, "PatchOptions")
    force = truthy(request.query, "force")
    config, warnings = await _read(request, kind, asked)
    encoded = orjson.dumps(config)
    user = request["user"]

    def mutate(old: Object) -> Object:
        merged = applying.apply(kind, old, orjson.loads(encoded), writer, force=force)
        owners = merged["metadata"].pop("managedFields", [])
        new = registry.replacement(kind, old, merged, status_only=status_only, track=lambda *_: owners)
        access.judge_grant(user, kind, asked.namespace, new, old)
        return new

    for attempt in range(TRIES):
        try:
            done = await registry.change(kind, asked.namespace, asked.name, mutate, dry_run=dry_run)
            return answers.outcome(request, kind, done, warnings)
        except ApiFailure as failure:
            if failure.code != 404 or status_only or asked.subresource:
                raise
        obj, _ = bodies.decoded(kind, orjson.loads(encoded))
        if uid := obj["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise errors.conflict(kind.group, kind.plural, asked.name, why)
        access.judge_creation(user, kind, asked.namespace, asked.name)
        access.judge_grant(user, kind, asked.namespace, obj, None)
        track = applying.by_creation(kind, config, writer)
        try:
            done = await registry.create(kind, asked.namespace, obj, dry_run=dry_run, track=track)
            return answers.outcome(request, kind, done, warnings, code=201)
        except ApiFailure as failure:
            if failure.reason != "AlreadyExists" or attempt == TRIES - 1:
                raise
    raise errors.conflict(kind.group, kind.plural, asked.name, errors.MODIFIED)


async def _read(request: web.BaseRequest, kind: Kind, asked: Asked) -> tuple[Object, list[str]]:
    """The configuration in the body, and warnings. It is JSON most of the time, which is YAML too."""
    raw = await request.read()
    body, media = _parsed(raw)
    if not isinstance(body, dict) or not body.get("kind") or not body.get("apiVersion"):
        raise errors.bad_request("error decoding YAML: a configuration says its kind and apiVersion")
    config, unknown = bodies.decoded(kind, body, literal=True)
    meta = config["metadata"]
    if meta.get("managedFields") is not None:
        raise errors.bad_request("metadata.managedFields must be nil")
    if meta.setdefault("name", asked.name) != asked.name:
        raise errors.bad_request(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({asked.name})"
        )
    if kind.namespaced:
        bodies.hold_namespace(config, asked.namespace)
    if unknown:
        where = f"{asked.namespace}/{asked.name}; {kind.group}/{kind.version}, Kind={kind.kind}"
        lines = [f".{path}: field not declared in schema" for path in unknown]
        said = lines[0] if len(lines) == 1 else "errors:\n" + "\n".join(f"  {line}" for line in lines)
        raise ApiFailure(500, "", f"failed to create typed patch object ({where}): {said}")
    twice = duplicates.found(raw, media, body)
    return config, bodies.judge_unknown(request.query, kind.api_version, kind.kind, (), twice)


def _parsed(raw: bytes) -> tuple[Any, str]:
    try:
        return negotiation.judged(orjson.loads(raw), raw), negotiation.JSON
    except orjson.JSONDecodeError:
        return negotiation.read_object(raw, negotiation.YAML), negotiation.YAML
