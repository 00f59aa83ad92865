"""What a request's body holds, decoded as the type that its path says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from k8slab.kube.api import deletion, duplicates, errors, negotiation, schemas
from k8slab.kube.api.duplicates import NONE, Twice
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object
from k8slab.kube.api.requests import is_dry_run


async def read(request: web.BaseRequest, kind: Kind) -> tuple[Object, list[str]]:
    """The object in the body, and warnings about fields that its type does not have. Raises 400 and 415."""
    return await read_as(request, kind.schema, kind.api_version, kind.kind)


async def read_as(
    request: web.BaseRequest, form: str, api_version: str, name: str, *, elder: str = ""
) -> tuple[Object, list[str]]:
    """The same for a body that is no object of a kind: ``form`` is its type, ``name`` what its ``kind`` says.

    ``elder`` is a version in which clients of before say the same.
    """
    raw, media = await request.read(), request.headers.get("Content-Type", "")
    body = negotiation.read_object(raw, media)
    if elder and isinstance(body, dict) and body.get("apiVersion") == elder:
        body = {**body, "apiVersion": api_version}
    obj, unknown = decoded_as(form, api_version, name, body)
    twice = duplicates.found(raw, media, body)
    return obj, judge_unknown(request.query, api_version, name, unknown, twice)


def decoded(kind: Kind, body: Any, *, literal: bool = False) -> tuple[Object, list[str]]:
    """The body as an object of the kind, and the paths of the fields it has too much."""
    return decoded_as(kind.schema, kind.api_version, kind.kind, body, literal=literal)


def decoded_as(form: str, api_version: str, name: str, body: Any, *, literal: bool = False) -> tuple[Object, list[str]]:
    if not isinstance(body, dict):
        raise errors.bad_request("the object provided is unrecognized: it is not an object")
    given, given_version = body.get("kind") or name, body.get("apiVersion") or api_version
    if given != name or given_version != api_version:
        raise errors.bad_request(
            f'{given} in version "{given_version.rpartition("/")[2]}" cannot be handled as a {name}: converting '
            f"({given_version}.{given}) to ({api_version}.{name}): unknown conversion"
            if isinstance(given, str) and isinstance(given_version, str)
            else "the object provided is unrecognized: kind and apiVersion are words"
        )
    obj, unknown = schemas.decode(form, body, version=api_version.rpartition("/")[2], literal=literal)
    obj.setdefault("metadata", {})
    return obj, unknown


def judge_unknown(
    query: Mapping[str, str], api_version: str, name: str, unknown: Sequence[str], twice: Twice = NONE
) -> list[str]:
    """Warnings, or none when asked to ignore. Raises BadRequest in strict mode."""
    level = query.get("fieldValidation") or "Warn"
    if level not in ("Strict", "Warn", "Ignore"):
        problem = errors.FieldProblem("fieldValidation", "FieldValueNotSupported", f'Unsupported value: "{level}"')
        raise errors.invalid("meta.k8s.io", "CreateOptions", "", [problem])
    if level == "Ignore" or not (unknown or twice.warnings):
        return []
    said = [f'unknown field "{path}"' for path in unknown]
    if level == "Strict":
        version = api_version.rpartition("/")[2]
        raise errors.bad_request(
            f'{name} in version "{version}" cannot be handled as a {name}: strict decoding error: '
            + ", ".join([twice.error, *said] if twice.error else said)
        )
    return [*twice.warnings, *said]


def hold_namespace(obj: Object, namespace: str) -> None:
    """Raises BadRequest for an object of another namespace than the path's."""
    given = obj["metadata"].get("namespace") or namespace
    if given != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    obj["metadata"]["namespace"] = namespace


async def delete_options(request: web.BaseRequest) -> deletion.DeleteOptions:
    raw = await request.read()
    body = negotiation.read_object(raw, request.headers.get("Content-Type", "")) if raw else {}
    body, _ = schemas.decode("DeleteOptions", body, version="v1")
    return deletion.parse_options(body, dict(request.query), dry_run=is_dry_run(request.query, "DeleteOptions"))
