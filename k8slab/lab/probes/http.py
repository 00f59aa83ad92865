"""One small question over HTTP, with a short patience: a status must not hang on a node that is cut off."""

from __future__ import annotations

import http.client
import json
from typing import Any

PATIENCE = 0.8


class NoAnswer(Exception):
    """Nobody answered, or not with what was asked for."""


def ask(address: str, port: int, path: str, *, method: str = "GET", body: Any = None) -> tuple[int, bytes]:
    """Status and body of one request. Raises NoAnswer."""
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(str(error)) from error
    finally:
        connection.close()


def ask_json(address: str, port: int, path: str, *, method: str = "GET", body: Any = None) -> dict[str, Any]:
    """The JSON object of a 200 answer. Raises NoAnswer for anything else."""
    status, content = ask(address, port, path, method=method, body=body)
    if status != http.client.OK:
        raise NoAnswer(f"{path} answered {status}")
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise NoAnswer(f"{path} answered no JSON") from error
    if not isinstance(answer, dict):
        raise NoAnswer(f"{path} answered no object")
    return answer
