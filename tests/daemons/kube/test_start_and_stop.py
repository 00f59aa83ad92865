"""How the server starts, what it says when it cannot, and how it stops."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request
from pathlib import Path

import aiohttp
import pytest

from k8slab.kube.api.main import GRACE
from tests.daemons.kube.conftest import MODULE
from tests.daemons.processes import Supervisor, eventually, free_port


async def test_what_is_not_known_yet_is_not_told_to_be_nothing(supervisor: Supervisor) -> None:
    """A server that cannot reach etcd yet: an empty list would have clients clean up after a whole cluster."""
    port = free_port()
    daemon = supervisor.module("apiserver", MODULE, f"--port={port}", f"--etcd-servers=http://127.0.0.1:{free_port()}")
    daemon.start(wait=False)
    pods = f"http://127.0.0.1:{port}/api/v1/pods?resourceVersion=0"
    initial = "&watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    async with aiohttp.ClientSession() as session:

        async def told(url: str) -> tuple[int, str, str]:
            async with session.get(url) as answer:
                line = await answer.content.readline()
                return answer.status, json.loads(line).get("message", ""), answer.headers.get("Retry-After", "")

        async def lives() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{port}/livez/ping"):
                    return True
            except aiohttp.ClientError:
                return False

        await eventually(lives, what="the server listens")
        for answer in await asyncio.gather(told(pods), told(f"{pods}&watch=1"), told(pods + initial)):
            assert answer == (429, "storage is (re)initializing", "1")


def test_a_connection_that_is_only_kept_open_does_not_hold_up_the_end(supervisor: Supervisor) -> None:
    port = free_port()
    daemon = supervisor.module("apiserver", MODULE, f"--port={port}", "--storage=memory").start()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as idle:
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(1024).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        daemon.stop()
    assert time.monotonic() - began < GRACE
    assert daemon.returncode == 0


@pytest.mark.parametrize(
    ("flags", "said", "code"),
    [
        (("--port=99999",), "--port: '99999' is not a whole number from 1 to 65535", 2),
        (("--port=-5",), "--port: '-5' is not a whole number from 1 to 65535", 2),
        (("--secure-port=70000",), "--secure-port: '70000' is not a whole number from 0 to 65535", 2),
        (("--address=192.0.2.77",), "cannot listen on 192.0.2.77:", 1),
        (("--token-auth-file={junk}",), "{junk}: 'utf-8' codec can't decode", 2),
        (("--service-account-signing-key-file={junk}",), "{junk} holds no key that can be used", 2),
        (("--service-account-key-file={junk}",), "{junk} holds no key that can be used", 2),
    ],
)
def test_what_cannot_be_meant_or_had_is_said_in_one_line(
    supervisor: Supervisor, tmp_path: Path, flags: tuple[str, ...], said: str, code: int
) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"\xff\xfe,b,c\n")
    own = (f"--port={free_port()}", *(flag.format(junk=junk) for flag in flags))
    daemon = supervisor.module("apiserver", MODULE, "--storage=memory", *own)
    daemon.start(wait=False)
    assert daemon.process is not None
    assert daemon.process.wait(20) == code
    assert said.format(junk=junk) in daemon.tail()
    assert "Traceback" not in daemon.tail()


def test_an_audit_log_that_takes_nothing_keeps_no_answer_back(supervisor: Supervisor) -> None:
    port = free_port()
    daemon = supervisor.module(
        "apiserver", MODULE, f"--port={port}", "--storage=memory", "--audit-log-path=/dev/full"
    ).start()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/version", timeout=5) as answer:
        assert answer.status == 200
    daemon.stop()
    assert daemon.returncode == 0
    assert "the audit line of GET /version is lost: [Errno 28] No space left on device" in daemon.tail()
    assert "Traceback" not in daemon.tail()
