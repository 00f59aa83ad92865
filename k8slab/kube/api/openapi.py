"""OpenAPI, made from the kinds and their types: v3 per group, and v2 in protobuf, the only form that old kubectls read.

The documents say what clients look for in them: which fields there are, what a strategic patch merges by, and that the
server validates fields itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Final

import orjson

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.schemas import types

V2_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
TITLE: Final = "Kubernetes"
SCALARS: Final[Mapping[str, dict[str, Any]]] = {
    "string": {"type": "string"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "boolean": {"type": "boolean"},
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},
}
# Their JSON is a string or a number, which kubectl 1.20 accepts where the definition names no fields.
SPECIAL: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "Quantity": ("io.k8s.apimachinery.pkg.api.resource.Quantity", {"type": "string"}),
    "IntOrString": ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", {"type": "string", "format": "int-or-string"}),
}
FIELD_VALIDATION: Final = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}


def model_name(form: str) -> str:
    return SPECIAL[form][0] if form in SPECIAL else types()[form].model


def group_path(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"


class OpenApi:
    def __init__(self, kinds: Iterable[Kind], version: str) -> None:
        self._kinds = tuple(kinds)
        self._version = version
        self._made: dict[str, tuple[bytes, str]] = {}

    @cached_property
    def index(self) -> bytes:
        """The v3 index: where each group's document is, with the hash of its contents."""
        paths = {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.v3(path)[1]}"}
            for path in dict.fromkeys(map(group_path, self._kinds))
        }
        return orjson.dumps({"paths": paths})

    def v3(self, path: str) -> tuple[bytes, str]:
        """A group's document and its hash. Raises KeyError for a group that is not served."""
        if path not in self._made:
            kinds = [kind for kind in self._kinds if group_path(kind) == path]
            if not kinds:
                raise KeyError(path)
            schemas: dict[str, Any] = {}
            for kind in kinds:
                _collect(kind.schema, schemas, "#/components/schemas/", wrapped=True)
                schemas[model_name(kind.schema)]["x-kubernetes-group-version-kind"] = [_gvk(kind)]
            document = {
                "openapi": "3.0.0",
                "info": {"title": TITLE, "version": self._version},
                "paths": {_url(kind): _operations(kind) for kind in kinds},
                "components": {"schemas": schemas},
            }
            raw = orjson.dumps(document)
            self._made[path] = raw, hashlib.sha256(raw).hexdigest()[:32].upper()
        return self._made[path]

    @cached_property
    def v2(self) -> dict[str, Any]:
        definitions: dict[str, Any] = {}
        for kind in self._kinds:
            _collect(kind.schema, definitions, "#/definitions/", wrapped=False)
            definitions[model_name(kind.schema)]["x-kubernetes-group-version-kind"] = [_gvk(kind)]
        return {
            "swagger": "2.0",
            "info": {"title": TITLE, "version": self._version},
            "paths": {},
            "definitions": definitions,
        }

    @cached_property
    def v2_protobuf(self) -> bytes:
        from k8slab.kube.api.gnostic import document

        return document(self.v2)


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "kind": kind.kind, "version": kind.version}


def _url(kind: Kind) -> str:
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    return f"/{group_path(kind)}{scope}/{kind.plural}/{{name}}"


def _operations(kind: Kind) -> dict[str, Any]:
    patch = {
        "parameters": [FIELD_VALIDATION],
        "responses": {},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    return {"patch": patch}


def _collect(form: str, schemas: dict[str, Any], prefix: str, *, wrapped: bool) -> None:
    """Add a type and all that it is made of. v3 wraps references that carry other keys in allOf; v2 does not."""
    name = model_name(form)
    if name in schemas:
        return
    if form in SPECIAL:
        schemas[name] = dict(SPECIAL[form][1])
        return
    schemas[name] = {"type": "object", "properties": {}}
    for key, field in types()[form].fields.items():
        schema = _schema(field.form, schemas, prefix, wrapped=wrapped)
        if field.strategy:
            schema["x-kubernetes-patch-strategy"] = field.strategy
        if field.merge_key:
            schema["x-kubernetes-patch-merge-key"] = field.merge_key
        schemas[name]["properties"][key] = schema


def _schema(field: str, schemas: dict[str, Any], prefix: str, *, wrapped: bool) -> dict[str, Any]:
    if field in SCALARS:
        return dict(SCALARS[field])
    if field.startswith("[]"):
        return {"type": "array", "items": _schema(field[2:], schemas, prefix, wrapped=wrapped)}
    if field.startswith("map[]"):
        return {"type": "object", "additionalProperties": _schema(field[5:], schemas, prefix, wrapped=wrapped)}
    _collect(field, schemas, prefix, wrapped=wrapped)
    reference = {"$ref": prefix + model_name(field)}
    return {"allOf": [reference]} if wrapped else reference
