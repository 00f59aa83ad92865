"""Configmaps, secrets and tokens, as those who make a pod's files and variables of them ask for them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Protocol

from k8slab.kube.client import Object

Pod = Mapping[str, Any]


class Supplies(Protocol):
    async def find(self, pod: Pod, resource: str, name: str) -> Object | None:
        """A configmap or secret of the pod's namespace. Raises ApiUnavailable when nobody has ever told."""
        ...

    async def token(self, pod: Pod, audience: str, seconds: int) -> str:
        """For the pod's service account, bound to the pod. Raises ApiError and ApiUnavailable."""
        ...

    async def allocatable(self) -> Mapping[str, Any]:
        """What the node has for pods: its quantities by resource. Raises ApiError and ApiUnavailable."""
        ...


class Undecodable(Exception):
    """A value of an object that is not the base64 it should be."""


def values(obj: Mapping[str, Any]) -> dict[str, bytes]:
    """A configmap's or secret's keys, all of them as bytes. Raises Undecodable."""
    secret = obj["kind"] == "Secret"
    encoded = (obj.get("data") if secret else obj.get("binaryData")) or {}
    plain = {} if secret else {key: text.encode() for key, text in (obj.get("data") or {}).items()}
    try:
        return plain | {key: base64.b64decode(text) for key, text in encoded.items()}
    except binascii.Error as error:
        raise Undecodable(f"{obj['kind']} {obj['metadata']['name']}: {error}") from error
