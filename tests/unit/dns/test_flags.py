"""The flags of `km dns`."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8slab.kube.dns.flags import settings

MASTER = "--master=10.9.9.9:8080"


def test_what_is_not_said_is_as_pods_expect_it() -> None:
    found = settings([MASTER])
    assert (found.master, found.domain) == ("http://10.9.9.9:8080", "cluster.local")
    assert (found.dns_address, found.dns_port, found.address, found.port) == ("0.0.0.0", 53, "0.0.0.0", 8081)
    assert (found.cluster_ip, found.name_servers, found.resolv_conf) == ("", (), Path("/etc/resolv.conf"))


def test_kube_dns_names_of_flags_mean_the_same() -> None:
    flags = ["--kube-master-url=http://a:1", "--domain=Lab.Local.", "--healthz-port=1", "--dns-port=2", "--v=3"]
    found = settings(flags)
    assert (found.master, found.domain, found.port, found.dns_port, found.verbosity) == (
        "http://a:1",
        "lab.local",
        1,
        2,
        3,
    )


def test_name_servers_may_have_ports() -> None:
    found = settings([MASTER, "--nameservers=10.0.0.1,10.0.0.2:5353,[fd00::1]:54,fd00::2"])
    assert found.name_servers == (("10.0.0.1", 53), ("10.0.0.2", 5353), ("fd00::1", 54), ("fd00::2", 53))


def test_it_is_reached_where_it_answers_unless_something_else_is_said() -> None:
    bound = ["--dns-bind-address=10.9.9.9", "--cluster-dns=10.0.0.10"]
    assert settings([MASTER, *bound]).advertised == "10.9.9.9"
    assert settings([MASTER, *bound, "--advertise-address=10.9.9.8"]).advertised == "10.9.9.8"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "the API servers are not known: give --master"),
        ([MASTER, "--dns-port=0"], "--dns-port: '0' is not a whole number from 1 to 65535"),
        ([MASTER, "--healthz-port=x"], "--healthz-port: 'x' is not a whole number from 0 to 65535"),
        ([MASTER, "--domain=a..b"], "--cluster-domain: 'a..b' is no domain such as cluster.local"),
        ([MASTER, "--cluster-dns=none"], "--cluster-dns: 'none' is no address such as 10.0.0.10"),
        ([MASTER, "--cluster-dns=10.0.0.10"], "--cluster-dns needs --advertise-address"),
        ([MASTER, "--nameservers=dns.example.org"], "'dns.example.org' is no address such as 10.0.0.53"),
        ([MASTER, "--nameservers=10.0.0.1:0"], "'10.0.0.1:0' is no address such as 10.0.0.53"),
        ([MASTER, "--v=much"], "--v: 'much' is not a whole number"),
    ],
)
def test_what_is_wrong_is_one_line(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(flags)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
