"""What probes, hooks and restart policies of containers must be like, with the original's sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem

PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "sleep")
_COUNTS: Final = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_HEADER: Final = re.compile(r"[-A-Za-z0-9]+\Z")
_HEADER_RULE: Final = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for "
    "validation is '[-A-Za-z0-9]+')"
)
_NOT_FOR_INIT: Final = "may not be set for init containers without restartPolicy=Always"


def lifecycle_problems(container: Mapping[str, Any], path: str, *, initial: bool, grace: int) -> list[FieldProblem]:
    """``initial``: whether it is an init container; ``grace``: the seconds that its pod has to end."""
    found: list[FieldProblem] = []
    policy = container.get("restartPolicy")
    if policy is not None and not initial:
        found.append(validation.forbidden(f"{path}.restartPolicy", "may not be set for non-init containers"))
    elif policy is not None:
        found += validation.one_of(f"{path}.restartPolicy", policy, ("Always",))
    if initial and policy != "Always":
        fields = [field for field in ("lifecycle", *PROBES) if container.get(field) is not None]
        return found + [validation.forbidden(f"{path}.{field}", _NOT_FOR_INIT) for field in fields]
    for field in PROBES:
        if container.get(field) is not None:
            found += _probe(container[field], f"{path}.{field}", field)
    for hook in ("postStart", "preStop"):
        if (handler := (container.get("lifecycle") or {}).get(hook)) is not None:
            found += _handler(handler, f"{path}.lifecycle.{hook}", _HOOK_HANDLERS)
            found += _sleep(handler, f"{path}.lifecycle.{hook}.sleep", grace)
    return found


def _probe(probe: Mapping[str, Any], path: str, kind: str) -> list[FieldProblem]:
    found = _handler(probe, path, _PROBE_HANDLERS)
    for field in _COUNTS:
        if probe.get(field, 0) < 0:
            found.append(validation.invalid(f"{path}.{field}", probe[field], "must be greater than or equal to 0"))
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        found.append(validation.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    if (grace := probe.get("terminationGracePeriodSeconds")) is not None:
        where = f"{path}.terminationGracePeriodSeconds"
        if kind == "readinessProbe":
            found.append(validation.invalid(where, grace, "must not be set for readinessProbes"))
        elif grace <= 0:
            found.append(validation.invalid(where, grace, "must be greater than 0"))
    return found


def _sleep(handler: Mapping[str, Any], path: str, grace: int) -> list[FieldProblem]:
    if handler.get("sleep") is None:
        return []
    seconds = handler["sleep"].get("seconds") or 0
    if 0 < seconds <= grace:
        return []
    why = f"must be greater than 0 and less than terminationGracePeriodSeconds ({grace})"
    return [validation.invalid(path, seconds, why)]


def _handler(handler: Mapping[str, Any], path: str, kinds: Sequence[str]) -> list[FieldProblem]:
    given = [name for name in kinds if handler.get(name) is not None]
    found = [] if given else [validation.required(path, "must specify a handler type")]
    for extra in given[1:]:
        found.append(validation.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type"))
    if handler.get("exec") is not None and not handler["exec"].get("command"):
        found.append(validation.required(f"{path}.exec.command"))
    for name in ("httpGet", "tcpSocket", "grpc"):
        if handler.get(name) is not None:
            port, where = handler[name].get("port", 0), f"{path}.{name}.port"
            found += validation.port(where, port) if isinstance(port, int) else validation.port_name(where, port)
    if (http := handler.get("httpGet")) is not None:
        found += validation.one_of(f"{path}.httpGet.scheme", http.get("scheme"), ("HTTP", "HTTPS"))
        for header in http.get("httpHeaders") or ():
            name = header.get("name") or ""
            if not _HEADER.match(name):
                found.append(validation.invalid(f"{path}.httpGet.httpHeaders", name, _HEADER_RULE))
    return found
