"""The flags of `km proxy`."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8slab.kube.proxy.main import Endpoint, settings
from k8slab.kube.proxy.rules import LocalTraffic


def test_what_is_meant_where_nothing_is_said() -> None:
    found = settings(["--master=api:8080"])
    assert found.master == "http://api:8080"
    assert (found.healthz, found.metrics) == (Endpoint("0.0.0.0", 10256), Endpoint("127.0.0.1", 10249))
    assert (found.sync_period, found.min_sync_period) == (30.0, 1.0)
    assert (found.rules.mark, found.rules.masquerade_all, found.rules.local) == (0x4000, False, None)


def test_addresses_with_and_without_ports() -> None:
    found = settings(
        ["--master=x", "--healthz-bind-address=127.0.0.1:0", "--metrics-bind-address=0.0.0.0", "--metrics-port=77"]
    )
    assert (found.healthz, found.metrics) == (Endpoint("127.0.0.1", 0), Endpoint("0.0.0.0", 77))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--cluster-cidr=10.1.0.0/16"], LocalTraffic("-s 10.1.0.0/16", "! -s 10.1.0.0/16")),
        (
            ["--detect-local-mode=BridgeInterface", "--pod-bridge-interface=docker0"],
            LocalTraffic("-i docker0", "! -i docker0"),
        ),
        (
            ["--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth"],
            LocalTraffic("-i veth+", "! -i veth+"),
        ),
        (["--pod-bridge-interface=docker0"], None),
    ],
)
def test_how_pods_are_known(words: list[str], expected: LocalTraffic | None) -> None:
    assert settings(["--master=x", *words]).rules.local == expected


def test_a_kubeconfig_names_the_server(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "current-context: lab\n"
        "contexts: [{name: lab, context: {cluster: one}}]\n"
        "clusters: [{name: two, cluster: {server: http://2}}, {name: one, cluster: {server: http://1}}]\n"
    )
    assert settings([f"--kubeconfig={config}"]).master == "http://1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the API servers are not known"),
        (["--master=x", "--proxy-mode=ipvs"], "'ipvs' is not served; iptables is"),
        (["--master=x", "--iptables-masquerade-bit=32"], "'32' is not a whole number from 0 to 31"),
        (["--master=x", "--cluster-cidr=10.1.0.1/16"], "host bits set"),
        (["--master=x", "--detect-local-mode=NodeCIDR"], "'NodeCIDR' is not served"),
        (["--master=x", "--detect-local-mode=ClusterCIDR"], "needs --cluster-cidr"),
        (["--master=x", "--iptables-sync-period=0"], "no time at all"),
        (["--kubeconfig=/nowhere"], "No such file"),
    ],
)
def test_flags_that_cannot_be_meant(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(words)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
