"""Of a flag's number that is none, every daemon says what it is and what is expected, in one line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from k8slab import daemon
from k8slab.k8sm import km
from k8slab.kube.durations import duration

API = "http://127.0.0.1:8080"
NEEDED = {
    "apiserver": ["--storage=memory"],
    "controller-manager": [f"--master={API}"],
    "scheduler": [f"--api-servers={API}"],
    "proxy": [f"--master={API}"],
    "dns": [f"--master={API}"],
    "minion": [f"--api-servers={API}"],
    "executor": [f"--api-servers={API}"],
    "monitor": ["--watch=a", f"--webhook-url={API}"],
    "teardown": ["--mesos-master=127.0.0.1:1", "--framework-name=none"],
    "k8slab.mesos.master.main": ["--ip=127.0.0.1"],
    "k8slab.mesos.agent.main": ["--ip=127.0.0.1", "--master=127.0.0.1:1"],
}
SERVERS = ("apiserver", "controller-manager", "scheduler", "executor", "dns")
WHOLE = "is not a whole number from"
DURATION = "is not a duration such as 40s or 5m"
SOME = "is no time at all; it must be greater than 0"
MESOS_DURATION = "not a duration"

WRONG = [
    *((server, f"--v={text}", f"--v: {text!r} {WHOLE} 0 upwards") for server in km.SERVERS for text in ("x", "-1")),
    *(
        (server, f"--port={text}", f"--port: {text!r} {WHOLE} ")
        for server in SERVERS
        for text in ("x", "65536", "-1", "1.5", "1_0", "\u0661", "\u00b2", " 80", "9" * 5000)
    ),
    ("apiserver", "--insecure-port=0", f"--insecure-port: '0' {WHOLE} 1 to 65535"),
    ("apiserver", "--secure-port=65536", f"--secure-port: '65536' {WHOLE} 0 to 65535"),
    *(
        ("apiserver", f"--default-{name}-toleration-seconds={text}", f"-toleration-seconds: {text!r} {WHOLE} 0 upwards")
        for name in ("not-ready", "unreachable")
        for text in ("5s", "-1", "nan")
    ),
    ("controller-manager", "--terminated-pod-gc-threshold=many", f"'many' {WHOLE} -1 upwards"),
    ("controller-manager", "--large-cluster-size-threshold=1e3", f"'1e3' {WHOLE} 0 upwards"),
    ("controller-manager", "--max-endpoints-per-slice=0", f"'0' {WHOLE} 1 to 1000"),
    ("controller-manager", "--node-eviction-rate=nan", "'nan' is not a number from 0 upwards"),
    ("controller-manager", "--node-monitor-period=0", f"--node-monitor-period: '0' {SOME}"),
    ("controller-manager", "--resource-quota-sync-period=0s", f"--resource-quota-sync-period: '0s' {SOME}"),
    *(
        (server, f"{flag}={text}", f"{flag}: {text!r} {DURATION}")
        for server, flags in {
            "controller-manager": (
                "--node-monitor-grace-period",
                "--node-monitor-period",
                "--resource-quota-sync-period",
                "--leader-elect-lease-duration",
                "--leader-elect-renew-deadline",
                "--leader-elect-retry-period",
            ),
            "scheduler": (
                "--executor-suicide-timeout",
                "--mesos-launch-grace-period",
                "--node-monitor-period",
                "--reconcile-cooldown",
                "--reconcile-interval",
            ),
            "proxy": ("--iptables-sync-period", "--iptables-min-sync-period"),
            "executor": ("--suicide-timeout", "--launch-grace-period", "--node-status-update-frequency"),
        }.items()
        for flag in flags
        for text in ("soon", "nan", "inf", "-1", "-5s")
    ),
    ("scheduler", "--node-monitor-period=0s", f"--node-monitor-period: '0s' {SOME}"),
    ("scheduler", "--advertised-address=host", f"--advertised-address: 'host' {WHOLE} 1 to 65535"),
    ("scheduler", "--failover-timeout=inf", "--failover-timeout: 'inf' is not a number from 0 upwards"),
    ("scheduler", "--executor-cpus=nan", "--executor-cpus: 'nan' is not a number from 0 upwards"),
    ("scheduler", "--mesos-executor-cpus=x", "--mesos-executor-cpus: 'x' is not a number from 0 upwards"),
    ("scheduler", "--executor-mem=-1MB", "--executor-mem: '-1' is not a number from 0 upwards"),
    ("scheduler", "--default-container-cpu-limit=many", "--default-container-cpu-limit: 'many' is not a quantity"),
    ("scheduler", "--default-container-cpu-limit=-1", "--default-container-cpu-limit: '-1' is less than nothing"),
    ("scheduler", "--default-container-mem-limit=inf", "--default-container-mem-limit: 'inf' is not a number from 0"),
    ("scheduler", "--proxy-logv=x", f"--proxy-logv: 'x' {WHOLE} 0 upwards"),
    ("proxy", "--iptables-masquerade-bit=32", f"--iptables-masquerade-bit: '32' {WHOLE} 0 to 31"),
    ("proxy", "--iptables-sync-period=0", f"--iptables-sync-period: '0' {SOME}"),
    ("proxy", "--healthz-port=x", f"--healthz-port: 'x' {WHOLE} 0 to 65535"),
    ("proxy", "--metrics-bind-address=127.0.0.1:http", f"--metrics-bind-address: 'http' {WHOLE} 0 to 65535"),
    ("dns", "--dns-port=0", f"--dns-port: '0' {WHOLE} 1 to 65535"),
    ("dns", "--nameservers=10.0.0.1:x", "--nameservers: '10.0.0.1:x' is no address"),
    ("minion", "--max-log-size=0", f"--max-log-size: '0' {WHOLE} 1 upwards"),
    ("minion", "--max-log-backups=x", f"--max-log-backups: 'x' {WHOLE} 0 upwards"),
    ("minion", "--max-log-age=-1", f"--max-log-age: '-1' {WHOLE} 0 upwards"),
    ("minion", "--proxy-logv=x", f"--proxy-logv: 'x' {WHOLE} 0 upwards"),
    ("minion", "--suicide-timeout=nan", f"--suicide-timeout: 'nan' {DURATION}"),
    ("executor", "--node-status-update-frequency=0s", f"--node-status-update-frequency: '0s' {SOME}"),
    *(
        (f"k8slab.mesos.{server}.main", f"--port={text}", f"--port: {text!r} {WHOLE} 1 to 65535")
        for server in ("master", "agent")
        for text in ("x", "0", "65536", "\u00b2")
    ),
    ("k8slab.mesos.master.main", "--max_agent_ping_timeouts=0", f"--max_agent_ping_timeouts: '0' {WHOLE} 1 upwards"),
    ("k8slab.mesos.master.main", "--registry_max_agent_count=-1", f"'-1' {WHOLE} 0 upwards"),
    *(
        ("k8slab.mesos.master.main", f"--allocation_interval={text}", MESOS_DURATION)
        for text in ("1", "nan", "infsecs", "-1secs", "9" * 400 + "secs")
    ),
]


def main_of(server: str) -> Callable[[Sequence[str]], int]:
    if server in km.SERVERS:
        return lambda argv: km.main([server, *argv])
    main: Callable[[Sequence[str]], int] = importlib.import_module(server).main
    return main


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "run", lambda serve: 0)
    monkeypatch.setattr(daemon, "configure_logging", lambda verbosity=0: None)


@pytest.mark.parametrize(("server", "flag", "said"), WRONG, ids=lambda text: text[:60])
def test_what_is_no_number_is_one_line(
    server: str, flag: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [f"--work_dir={tmp_path}"] if "." in server else []
    with pytest.raises(SystemExit) as ended:
        main_of(server)([*NEEDED[server], *own, flag])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("server", sorted(set(NEEDED) - {"teardown"}))
def test_without_wrong_ones_it_runs(server: str, tmp_path: Path) -> None:
    own = [f"--work_dir={tmp_path}"] if "." in server else ["--v=2"]
    assert main_of(server)([*NEEDED[server], *own]) == 0


def test_a_setting_of_the_schedulers_file_is_a_duration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scheduler.ini"
    path.write_text("[scheduler]\noffer-ttl = nan\n")
    with pytest.raises(SystemExit) as ended:
        km.main(["scheduler", f"--api-servers={API}", f"--scheduler-config={path}"])
    assert ended.value.code == 2
    assert f"--scheduler-config: offer-ttl: 'nan' {DURATION}" in capsys.readouterr().err


def test_a_whole_number_may_have_bounds() -> None:
    assert [daemon.whole("--a", text) for text in ("0", "007", "12500")] == [0, 7, 12500]
    assert daemon.whole("--a", "-1", -1) == -1
    assert daemon.whole("--a", "31", 0, 31) == 31


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("40", 40.0),
        ("1.5h", 5400.0),
        ("20m0s", 1200.0),
        ("250ms", 0.25),
        (".5s", 0.5),
        ("5.", 5.0),
        ("1\u00b5s", 1e-6),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "nan", "-nan", "inf", "1e999", "-1", "9" * 400 + "h", "5 m", "\u0661s", "1_0", "1_0s", "."]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)
