"""Writes ``types.json`` and ``descriptions.json.xz``: ``python -m k8slab.kube.api.schemas.generate SCHEMA SOURCES``

SCHEMA is the published JSON schema of the API: ``_definitions.json``, or the wheel of kubernetes-validate that has
it. SOURCES is a folder of Kubernetes' sources with the ``generated.proto`` and Go files of its API; only facts are
taken from them: the numbers of fields and which are pointers. ``numbers.json`` has those of newer fields.
"""

from __future__ import annotations

import lzma
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from k8slab.kube.api.schemas.protofiles import Messages, read_messages

HERE: Final = Path(__file__).parent
INSIDE_WHEEL: Final = "kubernetes_validate/kubernetes-json-schema/v1.32.0-local/_definitions.json"
API: Final = "io.k8s.api."
META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
METRICS: Final = "io.k8s.metrics.pkg.apis.metrics.v1beta1."

# Package of the models → the group and version they are served as. The first in which a name occurs keeps it bare.
GROUPS: Final[Mapping[str, str]] = {
    META: "meta.k8s.io/v1",
    f"{API}core.v1.": "v1",
    f"{API}apps.v1.": "apps/v1",
    f"{API}authentication.v1.": "authentication.k8s.io/v1",
    f"{API}authorization.v1.": "authorization.k8s.io/v1",
    f"{API}autoscaling.v1.": "autoscaling/v1",
    f"{API}autoscaling.v2.": "autoscaling/v2",
    f"{API}batch.v1.": "batch/v1",
    f"{API}coordination.v1.": "coordination.k8s.io/v1",
    f"{API}discovery.v1.": "discovery.k8s.io/v1",
    f"{API}events.v1.": "events.k8s.io/v1",
    METRICS: "metrics.k8s.io/v1beta1",
    f"{API}networking.v1.": "networking.k8s.io/v1",
    f"{API}policy.v1.": "policy/v1",
    f"{API}rbac.v1.": "rbac.authorization.k8s.io/v1",
    f"{API}scheduling.v1.": "scheduling.k8s.io/v1",
    f"{API}storage.v1.": "storage.k8s.io/v1",
}
# Models whose JSON is no object of fields.
SCALARS: Final[Mapping[str, str]] = {
    f"{META}Time": "Time",
    f"{META}MicroTime": "MicroTime",
    f"{META}FieldsV1": "FieldsV1",
    f"{META}Patch": "any",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "IntOrString",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "RawExtension",
}
PLAIN: Final[Mapping[tuple[str, str], str]] = {
    ("string", ""): "string",
    ("string", "byte"): "bytes",
    ("boolean", ""): "boolean",
    ("integer", "int32"): "int32",
    ("integer", "int64"): "int64",
    ("number", "double"): "double",
    ("object", ""): "any",
}
# Fields that tell list members apart and may be left out; the published schema does not say what they then are.
DEFAULTS: Final[Mapping[tuple[str, str], str]] = {
    (f"{API}core.v1.ContainerPort", "protocol"): "TCP",
    (f"{API}core.v1.ServicePort", "protocol"): "TCP",
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    definitions = {**read_definitions(Path(arguments[0])), **metrics_definitions()}
    messages = read_messages(Path(arguments[1]), orjson.loads((HERE / "numbers.json").read_bytes()))
    names = short_names(definitions)
    types = {name: described(model, definitions[model], names, messages) for model, name in sorted(names.items())}
    lines = (orjson.dumps(name) + b": " + orjson.dumps(types[name]) for name in sorted(types))
    (HERE / "types.json").write_bytes(b"{\n" + b",\n".join(lines) + b"\n}\n")
    described_models = {**names, **{model: form for model, form in SCALARS.items() if form != "any"}}
    texts = {name: descriptions(definitions[model]) for model, name in described_models.items()}
    packed = lzma.compress(orjson.dumps(texts, option=orjson.OPT_SORT_KEYS), preset=9 | lzma.PRESET_EXTREME)
    (HERE / "descriptions.json.xz").write_bytes(packed)
    print(f"{len(types)} types, {len(packed)} bytes of descriptions", file=sys.stderr)
    for missing in unnumbered(types):
        print(f"no field number: {missing}", file=sys.stderr)
    return 0


def read_definitions(path: Path) -> dict[str, Any]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            raw = wheel.read(INSIDE_WHEEL)
    else:
        raw = path.read_bytes()
    found: dict[str, Any] = orjson.loads(raw)["$defs"]
    return found


def short_names(definitions: Mapping[str, Any]) -> dict[str, str]:
    """Model → its name in the table."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for package, served in GROUPS.items():
        for model in definitions:
            bare = model.removeprefix(package)
            if not model.startswith(package) or "." in bare or model in SCALARS:
                continue
            names[model] = f"{served}.{bare}" if bare in taken else bare
        taken |= {name for name in names.values() if "/" not in name}
    return names


def described(
    model: str, definition: Mapping[str, Any], names: Mapping[str, str], messages: Messages
) -> dict[str, Any]:
    required = set(definition.get("required", ()))
    places = messages.places(model, frozenset(definition.get("properties", {})))
    fields = {}
    for key, schema in sorted(definition.get("properties", {}).items()):
        extras = dict(field_rules(schema))
        if key in required:
            extras["required"] = True
        if (model, key) in DEFAULTS:
            extras["default"] = DEFAULTS[model, key]
        number, pointer = places.get(key, (None, False))
        if pointer:
            extras["pointer"] = True
        entry: list[Any] = [form(schema, names), number]
        fields[key] = [*entry, extras] if extras else entry if entry[1] else entry[:1]
    found: dict[str, Any] = {"model": model, "fields": fields}
    if definition.get("x-kubernetes-map-type") == "atomic":
        found["atomic"] = True
    return found


def field_rules(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, name in (
        ("x-kubernetes-patch-merge-key", "mergeKey"),
        ("x-kubernetes-patch-strategy", "strategy"),
        ("x-kubernetes-list-type", "listType"),
        ("x-kubernetes-list-map-keys", "mapKeys"),
        ("x-kubernetes-map-type", "mapType"),
    ):
        if key in schema:
            yield name, schema[key]


def form(schema: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The table's own word for a field's type."""
    if "$ref" in schema:
        model = schema["$ref"].removeprefix("#/$defs/")
        return SCALARS.get(model) or names[model]
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "array":
        return "[]" + form(schema["items"], names)
    if "additionalProperties" in schema:
        return "map[]" + form(schema["additionalProperties"], names)
    return PLAIN[kind, schema.get("format", "")]


def descriptions(definition: Mapping[str, Any]) -> list[Any]:
    """What a type is, and what each of its fields is."""
    properties = definition.get("properties", {})
    return [definition.get("description", ""), {key: one.get("description", "") for key, one in properties.items()}]


def unnumbered(types: Mapping[str, Any]) -> Iterator[str]:
    for name, described_type in types.items():
        fields = described_type["fields"]
        envelope = ("kind", "apiVersion") if "kind" in fields and "apiVersion" in fields else ()
        for key, (_, *more) in fields.items():
            if key not in envelope and not (more and more[0]):
                yield f"{name}.{key}"


def metrics_definitions() -> dict[str, Any]:
    """The types of metrics.k8s.io, which another server publishes."""
    usage = {"additionalProperties": {"$ref": "#/$defs/io.k8s.apimachinery.pkg.api.resource.Quantity"}}
    span = {
        "timestamp": {"$ref": f"#/$defs/{META}Time", "description": "The end of the interval of the measurement."},
        "window": {"type": "string", "description": "The length of the interval of the measurement."},
    }
    container = {"type": "array", "items": {"$ref": f"#/$defs/{METRICS}ContainerMetrics"}}
    node = {**span, "usage": {**usage, "description": "The memory usage is the memory working set."}}
    pod = {**span, "containers": {**container, "description": "Metrics for all containers of the pod."}}
    one = {
        "name": {"type": "string", "description": "Container name corresponding to the one from pod.spec.containers."}
    }
    return {
        f"{METRICS}ContainerMetrics": {
            "description": "ContainerMetrics sets resource usage metrics of a container.",
            "properties": {**one, "usage": node["usage"]},
            "required": ["name", "usage"],
        },
        **_kind_and_list("NodeMetrics", node, "NodeMetrics sets resource usage metrics of a node."),
        **_kind_and_list("PodMetrics", pod, "PodMetrics sets resource usage metrics of a pod."),
    }


def _kind_and_list(kind: str, fields: Mapping[str, Any], description: str) -> dict[str, Any]:
    both = {"kind": {"type": "string"}, "apiVersion": {"type": "string"}}
    items = {"type": "array", "items": {"$ref": f"#/$defs/{METRICS}{kind}"}, "description": f"List of {kind}."}
    return {
        f"{METRICS}{kind}": {
            "description": description,
            "properties": {**both, "metadata": {"$ref": f"#/$defs/{META}ObjectMeta"}, **fields},
            "required": sorted(fields),
        },
        f"{METRICS}{kind}List": {
            "description": f"{kind}List is a list of {kind}.",
            "properties": {**both, "metadata": {"$ref": f"#/$defs/{META}ListMeta"}, "items": items},
            "required": ["items"],
        },
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
