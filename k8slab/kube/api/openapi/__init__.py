"""OpenAPI, made from the kinds and the table of types when first asked for: v3 per group, and v2 for old clients.

A document is kept packed: clients ask for it so, and its plain form is many times as large.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from k8slab.kube.api import gnostic
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.openapi.models import V2, V3, Models
from k8slab.kube.api.openapi.operations import Operations
from k8slab.kube.api.schemas import types

V2_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
TITLE: Final = "Kubernetes"


@dataclass(frozen=True)
class Document:
    """``digest`` names its contents: the hash in the v3 index and the entity tag."""

    packed: bytes
    digest: str

    @classmethod
    def of(cls, raw: bytes) -> Document:
        return cls(gzip.compress(raw, compresslevel=6, mtime=0), hashlib.sha512(raw).hexdigest()[:128].upper())

    @property
    def plain(self) -> bytes:
        return gzip.decompress(self.packed)


class OpenApi:
    def __init__(self, kinds: Iterable[Kind], version: str) -> None:
        known = [kind for kind in kinds if kind.schema in types()]
        self._paths: dict[str, list[Kind]] = {}
        for kind in known:
            self._paths.setdefault(group_path(kind), []).append(kind)
        self._kinds = known
        self._version = version
        self._made: dict[str, Document] = {}

    @cached_property
    def index(self) -> bytes:
        """The v3 index: where each group's document is, with the hash of its contents."""
        paths = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.v3(path).digest}"} for path in self._paths}
        return orjson.dumps({"paths": paths})

    def v3(self, path: str) -> Document:
        """A group's document. Raises KeyError for a group that is not served."""
        kinds = self._paths[path]
        return self._document(path, lambda: orjson.dumps(self._v3(kinds)))

    def v2(self, *, protobuf: bool) -> Document:
        if protobuf:
            return self._document("v2-protobuf", lambda: gnostic.document(self._v2()))
        return self._document("v2", lambda: orjson.dumps(self._v2()))

    def _document(self, key: str, make: Callable[[], bytes]) -> Document:
        if key not in self._made:
            self._made[key] = Document.of(make())
        return self._made[key]

    def _v3(self, kinds: Iterable[Kind]) -> Mapping[str, Any]:
        models = Models(V3)
        paths = _paths(kinds, models)
        return {
            "openapi": "3.0.0",
            "info": {"title": TITLE, "version": self._version},
            "paths": paths,
            "components": {"schemas": models.made()},
        }

    def _v2(self) -> Mapping[str, Any]:
        models = Models(V2)
        paths = _paths(self._kinds, models)
        return {
            "swagger": "2.0",
            "info": {"title": TITLE, "version": self._version},
            "paths": paths,
            "definitions": models.made(),
        }


def _paths(kinds: Iterable[Kind], models: Models) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for kind in kinds:
        models.mark(kind)
        paths.update(Operations(kind, models).paths())
    return dict(sorted(paths.items()))


def group_path(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"
