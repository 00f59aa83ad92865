"""What clients put into headers, and into what the server puts into headers: told on legibly, never a failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.kube.conftest import MODULE, WITHOUT_ACCOUNTS
from tests.daemons.processes import Supervisor, free_port

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.log"


@pytest.fixture(scope="module")
def port(session_supervisor: Supervisor, audit: Path) -> Iterator[int]:
    port = free_port()
    own = (f"--port={port}", "--storage=memory", f"--audit-log-path={audit}", WITHOUT_ACCOUNTS)
    daemon = session_supervisor.module("audited", MODULE, *own).start()
    yield port
    daemon.stop()
    assert "Traceback" not in daemon.log.read_text()


async def ask(
    port: int, method: str, path: str, body: Any = None, *headers: bytes, media: str = "application/json"
) -> tuple[int, Any, list[str]]:
    """The code, the body and the warnings of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = b"" if body is None else json.dumps(body).encode()
    first = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {media}\r\n"
    rest = b"".join(header + b"\r\n" for header in headers)
    writer.write(first.encode() + rest + f"Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    async with asyncio.timeout(10):
        head, _, said = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    lines = head.decode().split("\r\n")
    told = [line.removeprefix("Warning: ") for line in lines if line.startswith("Warning: ")]
    return int(lines[0].split()[1]), json.loads(said), told


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


async def test_headers_that_are_no_text(port: int, audit: Path) -> None:
    path = f"{MAPS}/agent"
    made = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "agent"}, "data": {"c": "d"}}
    apply, headers = f"{path}?fieldManager=m", (b"User-Agent: k\xff/1", b"Audit-ID: \xfe")
    code, said, _ = await ask(port, "PATCH", apply, made, *headers, media="application/apply-patch+yaml")
    assert code == 201, said
    change = {"metadata": {"name": "agent"}, "data": {"a": "b"}}
    code, said, _ = await ask(port, "PUT", path, change, b"User-Agent: k\xff/1")
    assert code == 200
    assert "k\ufffd" in [entry["manager"] for entry in said["metadata"]["managedFields"]]
    code, said, _ = await ask(port, "GET", path, None, b"Impersonate-User: j\xff", b"Impersonate-Group: g\xff")
    assert code == 200
    lines = lines_of(audit)
    assert any(line["userAgent"] == "k\ufffd/1" and line["auditID"] == "\ufffd" for line in lines)
    assert any(line.get("impersonatedUser", {}).get("username") == "j\ufffd" for line in lines)


async def test_warnings_that_no_header_can_hold(port: int) -> None:
    body = {"metadata": {"name": "w1"}, "a\r\nX-Evil: 1": 1, "b\x00": 1, "c": 1}
    code, _, warnings = await ask(port, "POST", MAPS, body)
    assert (code, warnings) == (201, ['299 - "unknown field \\"c\\""'])
    many = {"metadata": {"name": "w2"}, **{f"field-{index}": 1 for index in range(5000)}}
    code, _, warnings = await ask(port, "POST", MAPS, many)
    assert code == 201
    assert 50 < len(warnings) < 300


@pytest.mark.parametrize(
    "options",
    [
        {"preconditions": "x"},
        {"preconditions": {"uid": {"a": 1}}},
        {"propagationPolicy": {"a": 1}},
        {"gracePeriodSeconds": 1e30},
        {"gracePeriodSeconds": [1]},
        [],
    ],
)
async def test_options_of_a_deletion_that_are_none(port: int, options: Any) -> None:
    await ask(port, "POST", MAPS, {"metadata": {"name": "d"}})
    code, said, _ = await ask(port, "DELETE", f"{MAPS}/d", options)
    assert (code, said["reason"]) == (400, "BadRequest")


async def test_a_grace_beyond_all_time(port: int) -> None:
    pods = "/api/v1/namespaces/default/pods"
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    code, said, _ = await ask(port, "POST", pods, {"metadata": {"name": "p"}, "spec": spec})
    assert code == 201, said
    code, said, _ = await ask(port, "DELETE", f"{pods}/p", {"gracePeriodSeconds": (1 << 63) - 1})
    assert (code, said["metadata"]["deletionTimestamp"]) == (200, "9999-12-31T23:59:59Z")
    code, said, _ = await ask(port, "DELETE", f"{pods}/p?gracePeriodSeconds={1 << 63}")
    assert (code, said["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    "body", [{"metadata": [1], "podID": "p"}, {"target": "x", "podID": "p"}, {"host": {"a": 1}, "podID": "p"}]
)
async def test_bindings_of_old_that_are_none(port: int, body: Any) -> None:
    code, said, _ = await ask(port, "POST", "/api/v1beta1/bindings", body)
    assert 400 <= code < 500, said
