"""The roles and daemons every topology starts from."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from k8slab.topology.model import CatalogueFile
from k8slab.topology.source import parse


@cache
def builtin_catalogue() -> CatalogueFile:
    text = (files("k8slab.topology") / "roles.yaml").read_text(encoding="utf-8")
    return CatalogueFile.model_validate(parse(text, "roles.yaml").value)
