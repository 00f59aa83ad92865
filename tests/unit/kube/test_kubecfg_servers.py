"""`kubecfg` with a server that is none: a sentence, never a traceback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from k8slab.kube import kubecfg


@pytest.fixture(params=[b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", b""])
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """Who listens and does not speak what is expected."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(request.param)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("master", ["http://[", "nonsense:xx", "http://a b", "127.0.0.1:1", "gopher://x"])
def test_an_address_that_is_none_is_told_so(master: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kubecfg.main(["-h", master, "list", "pods"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kubecfg: ")
    assert f"{master}/api/v1beta1: " in said


def test_who_answers_something_else_is_told_of(stranger: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kubecfg.main(["-h", stranger, "list", "pods"]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"kubecfg: {stranger}/api/v1beta1: ")
    assert not said.endswith(": ")
