"""Which name servers a node is given, and that giving them never leads out of its file system."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8slab.lab.switch import resolver


def file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_servers_on_the_hosts_loopback_are_left_out(tmp_path: Path) -> None:
    text = "search lab\nnameserver 127.0.0.1\nnameserver ::1\nnameserver 10.0.0.53\noptions edns0\n"
    own = file(tmp_path / "own", text)
    assert resolver.of_host(own) == "search lab\nnameserver 10.0.0.53\noptions edns0\n"


def test_behind_a_stub_are_the_servers_that_it_asks(tmp_path: Path) -> None:
    stub = file(tmp_path / "stub", "nameserver 127.0.0.53\n")
    behind = file(tmp_path / "behind", "nameserver fe80::1%eth0\n")
    assert resolver.of_host(stub, tmp_path / "missing", behind) == "nameserver fe80::1%eth0\n"


def test_a_comment_in_another_encoding_is_no_trouble(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_bytes(b"# b\xfcro\nnameserver 10.0.0.53\n")
    assert resolver.of_host(own).splitlines()[1:] == ["nameserver 10.0.0.53"]


def test_a_host_without_a_server_for_nodes_gives_none(tmp_path: Path) -> None:
    assert resolver.of_host(file(tmp_path / "a", "nameserver 127.0.0.53\n"), file(tmp_path / "b", "search x\n")) == ""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "node").mkdir()
    opened = os.open(tmp_path / "node", os.O_PATH | os.O_DIRECTORY)
    yield opened
    os.close(opened)


def test_the_file_is_placed_whole_and_again(tmp_path: Path, root: int) -> None:
    (tmp_path / "node" / "etc").mkdir()
    for text in ("nameserver 10.0.0.1\nnameserver 10.0.0.2\n", "nameserver 10.0.0.3\n"):
        resolver.place(root, text)
        assert (tmp_path / "node/etc/resolv.conf").read_text() == text
    assert [path.name for path in (tmp_path / "node/etc").iterdir()] == ["resolv.conf"]


def test_a_link_in_the_node_leads_nowhere(tmp_path: Path, root: int) -> None:
    ours = file(tmp_path / "ours", "nameserver 10.9.9.9\n")
    etc = tmp_path / "node" / "etc"
    etc.mkdir()
    (etc / "resolv.conf").symlink_to(ours)
    resolver.place(root, "nameserver 10.0.0.1\n")
    assert ours.read_text() == "nameserver 10.9.9.9\n"
    assert (etc / "resolv.conf").read_text() == "nameserver 10.0.0.1\n"
    (etc / ".resolv.conf.k8slab").symlink_to(ours)
    resolver.place(root, "nameserver 10.0.0.2\n")
    assert (etc / "resolv.conf").read_text() == "nameserver 10.0.0.2\n"
    etc.rename(tmp_path / "elsewhere")
    etc.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        resolver.place(root, "nameserver 10.0.0.2\n")
    assert ours.read_text() == "nameserver 10.9.9.9\n"


def test_a_pipe_in_the_node_keeps_nobody_waiting(tmp_path: Path, root: int) -> None:
    etc = tmp_path / "node" / "etc"
    etc.mkdir()
    for name in (".resolv.conf.k8slab", "resolv.conf"):
        os.mkfifo(etc / name)
    resolver.place(root, "nameserver 10.0.0.1\n")
    assert [(path.name, path.read_text()) for path in etc.iterdir()] == [("resolv.conf", "nameserver 10.0.0.1\n")]


def test_what_cannot_be_placed_leaves_nothing_behind(tmp_path: Path, root: int) -> None:
    (tmp_path / "node/etc/resolv.conf").mkdir(parents=True)
    with pytest.raises(OSError):
        resolver.place(root, "nameserver 10.0.0.1\n")
    assert [path.name for path in (tmp_path / "node/etc").iterdir()] == ["resolv.conf"]


def test_a_file_that_is_mounted_in_the_node_stays(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    file(etc / "resolv.conf", "below\n")
    own = file(tmp_path / "own", "of the engine\n")
    script = 'mount --bind "$0" "$1" && echo mounted && cat'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(own), f"{etc}/resolv.conf"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout and node.stdin
        if node.stdout.readline() != "mounted\n":
            pytest.skip("no mount namespaces for users here")
        inside = Path(f"/proc/{node.pid}/root{etc}/resolv.conf")
        root = os.open(f"/proc/{node.pid}/root{tmp_path}", os.O_PATH | os.O_DIRECTORY)
        try:
            resolver.place(root, "nameserver 10.0.0.1\n")
        finally:
            os.close(root)
        assert inside.read_text() == "of the engine\n"
        node.stdin.close()
    assert (etc / "resolv.conf").read_text() == "below\n"
