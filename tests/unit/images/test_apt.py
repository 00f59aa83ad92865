"""What a build takes over from the machine's own way of fetching packages, and what it makes of apt's progress."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8slab.lab.images import apt

DUMP = """\
APT "";
APT::Update::Post-Invoke-Success:: "run something of the host's";
Acquire "";
Acquire::http::Proxy "http://127.0.0.1:3142";
Acquire::http::Proxy-Auto-Detect "/usr/bin/something-of-the-host's";
Acquire::https::CaInfo "/etc/ssl/own.pem";
Acquire::IndexTargets::deb::DEP-11::MetaKey "Components-$(NATIVE_ARCHITECTURE).yml";
Acquire::Languages:: "none";
Acquire::Check-Date "false";
DPkg::Post-Invoke:: "needrestart";
"""


def test_only_what_says_how_packages_are_fetched_is_taken_over() -> None:
    assert apt.acquire_settings(DUMP) == {
        "Acquire::http::Proxy": "http://127.0.0.1:3142",
        "Acquire::https::CaInfo": "/etc/ssl/own.pem",
        "Acquire::Check-Date": "false",
    }


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("dlstatus:1:50.0:Retrieving file 2 of 4", (0.25, "Retrieving file 2 of 4")),
        ("pmstatus:dpkg-exec:0.0000:Running dpkg", (0.5, "Running dpkg")),
        ("pmstatus:etcd-server:100.0000:Installed etcd-server (amd64)", (1.0, "Installed etcd-server (amd64)")),
        ("Setting up etcd-server (3.4.23-4+b4) ...", None),
    ],
)
def test_progress(line: str, seen: tuple[float, str] | None) -> None:
    assert apt.progress(line) == seen


def test_sources_are_the_files_that_name_some(tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (tmp_path / "sources.list").write_text("# nothing here\n")
    (folder / "debian.sources").write_text("Types: deb\nURIs: http://example.org/debian\n")
    (folder / "only-source.sources").write_text("Types: deb-src\nURIs: http://example.org/debian\n")
    (folder / "extra.list").write_text("# comment\ndeb http://example.org/extra stable main\n")
    (folder / "gone.list.disabled").write_text("deb http://example.org/gone stable main\n")
    assert [path.name for path in apt.host_sources(tmp_path)] == ["debian.sources", "extra.list"]


def test_a_machine_without_apt_has_no_sources(tmp_path: Path) -> None:
    assert apt.host_sources(tmp_path / "nowhere") == []
