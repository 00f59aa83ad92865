"""One line for each request: who did what to what, from where, and how it ended (audit.k8s.io/v1, level Metadata)."""

from __future__ import annotations

import logging
import sys
import uuid
from pathlib import Path
from typing import Any, TextIO

import orjson
from aiohttp import web

from k8slab.kube.api.auth.attributes import Attributes
from k8slab.kube.clock import rfc3339_micro
from k8slab.kube.malformed import legible

log = logging.getLogger(__name__)


class Audit:
    """Writes to a file, or to standard output for "-"."""

    def __init__(self, path: str) -> None:
        self._lines: TextIO = sys.stdout if path == "-" else Path(path).open("a", buffering=1)  # noqa: SIM115

    def received(self, request: web.BaseRequest) -> dict[str, Any]:
        """The event of a request that has just come, to be told when it has been answered."""
        return {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": legible(request.headers.get("Audit-ID", "")) or str(uuid.uuid4()),
            "requestURI": legible(request.path_qs),
            "sourceIPs": [request.remote] if request.remote else [],
            "userAgent": legible(request.headers.get("User-Agent", "")),
            "requestReceivedTimestamp": rfc3339_micro(),
        }

    def told(self, event: dict[str, Any], request: web.BaseRequest, code: int) -> None:
        real, user = request.get("real_user"), request.get("user")
        attributes: Attributes = request.get("attributes", Attributes(request.method.lower(), path=request.path))
        event["stage"] = "ResponseComplete"
        event["verb"] = attributes.verb
        event["user"] = real.info() if real is not None else {}
        if user is not real and user is not None:
            event["impersonatedUser"] = user.info()
        if attributes.resource:
            reference = {
                "resource": attributes.resource,
                "namespace": attributes.namespace,
                "name": attributes.name,
                "apiGroup": attributes.group,
                "apiVersion": attributes.version,
                "subresource": attributes.subresource,
            }
            event["objectRef"] = {key: value for key, value in reference.items() if value}
        event["responseStatus"] = {"metadata": {}, "code": code}
        event["stageTimestamp"] = rfc3339_micro()
        try:
            self._lines.write(orjson.dumps(event).decode() + "\n")
        except OSError as trouble:
            # What has been done has been done: its answer is not held back for the record's sake.
            log.warning("the audit line of %s %s is lost: %s", request.method, request.path, trouble)

    def close(self) -> None:
        if self._lines is sys.stdout:
            return
        try:
            self._lines.close()
        except OSError as trouble:
            log.warning("the end of the audit log is lost: %s", trouble)
