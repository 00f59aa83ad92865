"""Writes ``types.json`` from the models of the ``kubernetes`` package: ``python -m k8slab.kube.api.schemas.generate``.

Only the facts are taken: which fields a type has and their types. The package is not needed to run.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import orjson

ROOTS = (
    *("V1Pod", "V1Node", "V1Service", "V1Endpoints", "V1Namespace", "CoreV1Event", "V1Binding", "V1ConfigMap"),
    *("V1Secret", "V1ServiceAccount", "V1ReplicationController", "V1Lease", "V1DeleteOptions"),
    *("V1Role", "V1RoleBinding", "V1ClusterRole", "V1ClusterRoleBinding", "V1SubjectAccessReview", "V1TokenReview"),
    *("V1SelfSubjectAccessReview", "V1LocalSubjectAccessReview", "V1SelfSubjectRulesReview", "V1SelfSubjectReview"),
    "AuthenticationV1TokenRequest",
)
QUANTITIES = frozenset(
    ("limits", "requests", "capacity", "allocatable", "hard", "used", "sizeLimit", "divisor", "overhead")
)
SCALARS = {
    "str": "string",
    "int": "integer",
    "bool": "boolean",
    "float": "number",
    "datetime": "Time",
    "object": "any",
}
INT_OR_STRING = frozenset({("ServicePort", "targetPort"), ("HTTPGetAction", "port"), ("TCPSocketAction", "port")})
BYTES = frozenset({("Secret", "data"), ("ConfigMap", "binaryData")})


def main() -> int:
    models = importlib.import_module("kubernetes.client.models")
    types: dict[str, dict[str, str]] = {}
    waiting = list(ROOTS)
    while waiting:
        model = waiting.pop()
        name = short(model)
        if name in types:
            continue
        described = getattr(models, model)
        fields = {}
        for attribute, form in described.openapi_types.items():
            key = described.attribute_map[attribute]
            fields[key] = written(name, key, form)
            waiting += re.findall(r"(?:Core|Rbac|Authentication)?V[0-9]\w+", form)
        types[name] = fields
    Path(__file__).with_name("types.json").write_bytes(
        orjson.dumps(types, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"
    )
    print(f"{len(types)} types", file=sys.stderr)
    return 0


def short(model: str) -> str:
    """ "V1Container" and "CoreV1Event" as "Container" and "Event"."""
    return re.sub(r"^(?:Core|Rbac|Authentication)?V[0-9]+(?:(?:alpha|beta)[0-9]+)?", "", model)


def written(owner: str, key: str, form: str) -> str:
    """A Python model's type in the file's own words: "string", "[]Container", "map[]Quantity"…"""
    if listed := re.fullmatch(r"List\[(.*)\]", form):
        return "[]" + written(owner, key, listed[1])
    if mapped := re.fullmatch(r"Dict\[str, (.*)\]", form):
        return "map[]" + written(owner, key, mapped[1])
    if form == "str" and key in QUANTITIES:
        return "Quantity"
    if form in ("str", "object") and (owner, key) in BYTES:
        return "bytes"
    if (owner, key) in INT_OR_STRING:
        return "IntOrString"
    return SCALARS.get(form) or short(form)


if __name__ == "__main__":
    sys.exit(main())
