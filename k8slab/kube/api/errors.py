"""The server's errors: each becomes a Status object with the original's words.

ApiFailure                    any of them: code, reason, message, details
  made by the functions below, one per thing that can go wrong
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

REASONS: Final = {
    "Required": "FieldValueRequired",
    "Invalid": "FieldValueInvalid",
    "Forbidden": "FieldValueForbidden",
    "NotSupported": "FieldValueNotSupported",
    "Duplicate": "FieldValueDuplicate",
    "NotFound": "FieldValueNotFound",
    "TooLong": "FieldValueTooLong",
}


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with one field: ``reason`` and ``message`` as in a Status cause, without the path."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ApiFailure(Exception):
    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata = metadata
        self.retry_after = retry_after

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata or {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        details = dict(self.details or {})
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        if self.details is not None or details:
            status["details"] = details
        status["code"] = self.code
        return status


def _about(group: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    details = {"name": name, "group": group, "kind": kind, **more}
    return {key: value for key, value in details.items() if value}


def qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> ApiFailure:
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiFailure(404, "NotFound", message, details=_about(group, plural, name))


def unknown_resource() -> ApiFailure:
    return ApiFailure(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(group: str, plural: str, name: str) -> ApiFailure:
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiFailure(409, "AlreadyExists", message, details=_about(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str) -> ApiFailure:
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiFailure(409, "Conflict", message, details=_about(group, plural, name))


MODIFIED: Final = "the object has been modified; please apply your changes to the latest version and try again"


def forbidden(group: str, plural: str, name: str, why: str, *, causes: Sequence[dict[str, str]] = ()) -> ApiFailure:
    subject = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    message = f"{subject} is forbidden: {why}"
    return ApiFailure(403, "Forbidden", message, details=_about(group, plural, name, causes=list(causes)))


def unauthorized() -> ApiFailure:
    return ApiFailure(401, "Unauthorized", "Unauthorized")


def forbidden_path(path: str, why: str) -> ApiFailure:
    """For what is no resource."""
    return ApiFailure(403, "Forbidden", f"forbidden: {why}", details={})


def invalid(group: str, kind: str, name: str, problems: Iterable[FieldProblem]) -> ApiFailure:
    found = list(problems)
    text = str(found[0]) if len(found) == 1 else "[" + ", ".join(map(str, found)) + "]"
    subject = f"{kind}.{group}" if group else kind
    causes = [{"reason": one.reason, "message": one.message, "field": one.field} for one in found]
    message = f'{subject} "{name}" is invalid: {text}'
    return ApiFailure(422, "Invalid", message, details=_about(group, kind, name, causes=causes))


def bad_request(message: str) -> ApiFailure:
    return ApiFailure(400, "BadRequest", message)


def too_deep() -> ApiFailure:
    return bad_request("the object provided is unrecognized: exceeded max depth")


def method_not_allowed() -> ApiFailure:
    message = "the server does not allow this method on the requested resource"
    return ApiFailure(405, "MethodNotAllowed", message, details={})


def not_acceptable(supported: Sequence[str]) -> ApiFailure:
    message = f"only the following media types are accepted: {', '.join(supported)}"
    return ApiFailure(406, "NotAcceptable", message)


def unsupported_media_type(supported: Sequence[str]) -> ApiFailure:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(supported)}"
    return ApiFailure(415, "UnsupportedMediaType", message)


def expired(message: str, *, fresh_token: str = "") -> ApiFailure:
    return ApiFailure(410, "Expired", message, metadata={"continue": fresh_token} if fresh_token else None)


def too_old(asked: int, oldest: int) -> ApiFailure:
    return expired(f"too old resource version: {asked} ({oldest})")


def too_large_version(asked: int, current: int) -> ApiFailure:
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiFailure(504, "Timeout", message, details={"causes": [cause]}, retry_after=1)


def timeout() -> ApiFailure:
    message = "Timeout: request did not complete within requested timeout - context deadline exceeded"
    return ApiFailure(504, "Timeout", message, details={})


def initializing() -> ApiFailure:
    """For what is answered from the server's own memory, before there is anything in it."""
    return ApiFailure(429, "TooManyRequests", "storage is (re)initializing", details={}, retry_after=1)


def storage_said(words: str) -> ApiFailure:
    """What etcd answered, passed on as the original does: 500 without a reason."""
    return ApiFailure(500, "", words)


def internal(message: str) -> ApiFailure:
    cause = {"message": message}
    text = f"Internal error occurred: {message}"
    return ApiFailure(500, "InternalError", text, details={"causes": [cause]})


def too_large_body(limit: int) -> ApiFailure:
    return ApiFailure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")
