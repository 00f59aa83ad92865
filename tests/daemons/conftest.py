"""Fixtures every daemon's tests share. Session-wide parts are kept apart by path or prefix, never by order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons.k8sm import images
from tests.daemons.processes import Etcd, Supervisor, ZooKeeper, start_etcd, start_zookeeper

REPORTS = pytest.StashKey[dict[str, pytest.TestReport]]()
# The behaviours of Mesos that any client can see are numbered; a test that shows one carries its number.
BEHAVIOURS = 31
BEHAVIOUR = re.compile(r"row_(\d+)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    item.stash.setdefault(REPORTS, {})[report.when] = report
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each numbered behaviour with what its tests said, whichever of them ran."""
    words: dict[int, set[str]] = {}
    for word in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(word, ()):
            if found := BEHAVIOUR.search(report.nodeid):
                words.setdefault(int(found[1]), set()).add(word)
    if not words:
        return
    passed = [number for number, said in words.items() if said == {"passed"}]
    terminalreporter.write_sep("-", f"behaviours of Mesos: {len(passed)} of {BEHAVIOURS} pass")
    shown = [
        f"{number} {'passed' if number in passed else '/'.join(sorted(words[number]))}" for number in sorted(words)
    ]
    terminalreporter.write_line(" · ".join(shown))


@pytest.fixture
def supervisor(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Supervisor]:
    """Starts daemons for this test, ends them after it, and shows their logs when it failed."""
    owned = Supervisor(tmp_path)
    yield owned
    owned.close()
    if any(report.failed for report in request.node.stash.get(REPORTS, {}).values()):
        print(owned.logs())


@pytest.fixture(scope="session")
def session_supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    owned = Supervisor(tmp_path_factory.mktemp("session"))
    yield owned
    owned.close()


@pytest.fixture(scope="session")
def pod_images() -> Iterator[None]:
    """One process' tests share them: whoever took them away by itself would take them from the others too."""
    images.build()
    yield
    images.remove()


@pytest.fixture(scope="session")
def etcd(session_supervisor: Supervisor) -> Etcd:
    """One real etcd for the whole session: use keys of your own in it."""
    return start_etcd(session_supervisor)


@pytest.fixture
def etcd_cluster(supervisor: Supervisor) -> Callable[[int], Etcd]:
    """``etcd_cluster(members)``: a fresh real cluster that belongs to this test alone."""
    return lambda members=1: start_etcd(supervisor, members=members)


@pytest.fixture(scope="session")
def zookeeper(session_supervisor: Supervisor) -> ZooKeeper:
    """One real ZooKeeper for the whole session: use a path of your own in it."""
    return start_zookeeper(session_supervisor)


@pytest.fixture
def zookeeper_ensemble(supervisor: Supervisor) -> Callable[[int], ZooKeeper]:
    """``zookeeper_ensemble(members)``: a fresh real ensemble that belongs to this test alone."""
    return lambda members=1: start_zookeeper(supervisor, members=members)
