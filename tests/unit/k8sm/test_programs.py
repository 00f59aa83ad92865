"""`km` under its own name and under those of the first versions."""

from __future__ import annotations

import pytest

from k8slab.k8sm import km
from k8slab.k8sm.executor.settings import settings as executor_settings
from k8slab.k8sm.scheduler.settings import settings as scheduler_settings


@pytest.mark.parametrize(
    ("program", "usage"),
    [
        ("kube-apiserver", "km apiserver"),
        ("k8sm-controller-manager", "km controller-manager"),
        ("k8sm-scheduler", "km scheduler"),
        ("k8sm-executor", "km executor"),
        ("kube-proxy", "km proxy"),
        ("kube-dns", "km dns"),
    ],
)
def test_a_program_of_the_first_versions_is_its_server(
    program: str, usage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [f"/usr/local/bin/{program}", "--help"])
    with pytest.raises(SystemExit) as ended:
        km.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {usage} ")


def test_under_its_own_name_it_is_told_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/local/bin/km", "version"])
    assert km.main() == 0
    assert capsys.readouterr().out.startswith("km ")
    monkeypatch.setattr("sys.argv", ["/usr/local/bin/km", "--help"])
    assert km.main() == 0
    assert "usage: km SERVER" in capsys.readouterr().out


def test_executors_are_told_how_often_their_nodes_say_that_they_live() -> None:
    told = scheduler_settings(["--api-servers=http://127.0.0.1:8080", "--node-monitor-period=3s"]).executor.command
    (flag,) = (one for one in told if one.startswith("--node-status-update-frequency"))
    assert executor_settings(["--api-servers=http://127.0.0.1:8080", flag]).node_status_update_frequency == 3.0
