"""Which name servers a node is given, and that giving them never leads out of its file system."""

from __future__ import annotations

import os
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
    with pytest.raises(OSError):
        resolver.place(root, "nameserver 10.0.0.2\n")
    etc.rename(tmp_path / "elsewhere")
    etc.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        resolver.place(root, "nameserver 10.0.0.2\n")
    assert ours.read_text() == "nameserver 10.9.9.9\n"
