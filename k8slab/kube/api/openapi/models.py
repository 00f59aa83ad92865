"""Types as schemas of OpenAPI, in the manner of v2 or of v3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.schemas import Field, descriptions, types

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
PLAIN: Final[Mapping[str, dict[str, Any]]] = {
    "string": {"type": "string"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "boolean": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},
}
# Scalars that have a name of their own in the documents.
NAMED: Final[Mapping[str, str]] = {
    "Time": f"{META}Time",
    "MicroTime": f"{META}MicroTime",
    "FieldsV1": f"{META}FieldsV1",
    "Patch": f"{META}Patch",
    "Quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "IntOrString": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "RawExtension": "io.k8s.apimachinery.pkg.runtime.RawExtension",
}
PATCH: Final = "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body."


@dataclass(frozen=True)
class Manner:
    """How a version of OpenAPI writes references and values of several types."""

    prefix: str
    wrapped: bool
    scalars: Mapping[str, dict[str, Any]]


_EITHER: Final = [{"type": "integer"}, {"type": "string"}]
_DATES: Final = {key: {"type": "string", "format": "date-time"} for key in ("Time", "MicroTime")}
_OBJECTS: Final = {key: {"type": "object"} for key in ("FieldsV1", "Patch", "RawExtension")}
V2: Final = Manner(
    prefix="#/definitions/",
    wrapped=False,
    scalars={
        **_DATES,
        **_OBJECTS,
        "Quantity": {"type": "string"},
        "IntOrString": {"type": "string", "format": "int-or-string"},
    },
)
V3: Final = Manner(
    prefix="#/components/schemas/",
    wrapped=True,
    scalars={
        **_DATES,
        **_OBJECTS,
        "Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        "IntOrString": {"format": "int-or-string", "oneOf": _EITHER},
    },
)


class Models:
    """Gathers the schemas that a document refers to."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._schemas: dict[str, Any] = {}
        self._marks: dict[str, list[dict[str, str]]] = {}
        self._texts = descriptions()

    @property
    def wrapped(self) -> bool:
        return self._manner.wrapped

    def made(self) -> dict[str, Any]:
        for form, marks in self._marks.items():
            self._schemas[model_name(form)]["x-kubernetes-group-version-kind"] = marks
        return dict(sorted(self._schemas.items()))

    def mark(self, kind: Kind) -> None:
        """Say which group, version and kind a type is, as clients look it up by that."""
        self._mark(kind.schema, kind.group, kind.version)
        if f"{kind.schema}List" in types():
            self._mark(f"{kind.schema}List", kind.group, kind.version)

    def _mark(self, form: str, group: str, version: str) -> None:
        self.reference(form)
        mark = {"group": group, "kind": form.rpartition(".")[2], "version": version}
        marks = self._marks.setdefault(form, [])
        if mark not in marks:
            marks.append(mark)

    def reference(self, form: str) -> dict[str, Any]:
        name = model_name(form)
        if name not in self._schemas:
            self._schemas[name] = {}
            self._schemas[name] = self._scalar(form) if form in NAMED else self._object(form)
        return {"$ref": self._manner.prefix + name}

    def _scalar(self, form: str) -> dict[str, Any]:
        text = PATCH if form == "Patch" else self._texts.get(form, ("",))[0]
        return {**({"description": text} if text else {}), **self._manner.scalars[form]}

    def _object(self, form: str) -> dict[str, Any]:
        described, texts = self._texts.get(form, ("", {}))
        schema: dict[str, Any] = {"type": "object"}
        if described:
            schema["description"] = described
        fields = types()[form].fields
        required = [key for key, field in fields.items() if field.required]
        if required:
            schema["required"] = required
        if fields:
            schema["properties"] = {key: self._field(field, texts.get(key, "")) for key, field in fields.items()}
        if types()[form].atomic:
            schema["x-kubernetes-map-type"] = "atomic"
        return schema

    def _field(self, field: Field, text: str) -> dict[str, Any]:
        schema = self.of(field.form)
        if "$ref" in schema and self._manner.wrapped:
            schema = {"allOf": [schema]}
        if text:
            schema["description"] = text
        if field.default:
            schema["default"] = field.default
        for key, value in (
            ("x-kubernetes-patch-merge-key", field.merge_key),
            ("x-kubernetes-patch-strategy", field.strategy),
            ("x-kubernetes-list-type", field.list_type),
            ("x-kubernetes-list-map-keys", list(field.map_keys)),
            ("x-kubernetes-map-type", field.map_type),
        ):
            if value:
                schema[key] = value
        return schema

    def of(self, form: str) -> dict[str, Any]:
        if form in PLAIN:
            return dict(PLAIN[form])
        if form.startswith("[]"):
            return {"type": "array", "items": self.of(form[2:])}
        if form.startswith("map[]"):
            return {"type": "object", "additionalProperties": self.of(form[5:])}
        return self.reference(form)


def model_name(form: str) -> str:
    return NAMED.get(form) or types()[form].model
