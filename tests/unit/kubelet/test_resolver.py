"""resolv.conf and hosts of pods."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.kubelet.resolver import DnsConfig, Resolver, hosts_of, names_of, parse, resolver_of
from tests.unit.kubelet.pods import a_pod

CLUSTER = DnsConfig(("10.0.0.10",), "lab.local")
NODE = parse("# made by hand\nnameserver 9.9.9.9\nsearch old.example\nsearch example.org\noptions timeout:1 ndots:2\n")
OWN = ("default.svc.lab.local", "svc.lab.local", "lab.local")
ASKED = {
    "nameservers": ["1.1.1.1", "9.9.9.9"],
    "searches": ["more.example"],
    "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}],
}


def test_the_nodes_own_file_is_read_as_the_c_library_does() -> None:
    assert (NODE.servers, NODE.searches, NODE.options) == (("9.9.9.9",), ("example.org",), ("timeout:1", "ndots:2"))
    assert parse(NODE.text()) == NODE


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Resolver(("10.0.0.10",), (*OWN, "example.org"), ("ndots:5",))),
        ({"dnsPolicy": "Default"}, NODE),
        ({"hostNetwork": True}, NODE),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            Resolver(("10.0.0.10",), (*OWN, "example.org"), ("ndots:5",)),
        ),
        (
            {"dnsPolicy": "None", "dnsConfig": ASKED},
            Resolver(("1.1.1.1", "9.9.9.9"), ("more.example",), ("ndots:3", "edns0")),
        ),
        (
            {"dnsPolicy": "Default", "dnsConfig": ASKED},
            Resolver(("9.9.9.9", "1.1.1.1"), ("example.org", "more.example"), ("timeout:1", "ndots:3", "edns0")),
        ),
    ],
)
def test_the_resolver_follows_the_policy(spec: dict[str, Any], expected: Resolver) -> None:
    assert resolver_of(a_pod(**spec), CLUSTER, NODE) == (expected, [])


def test_without_a_cluster_dns_the_nodes_own_serves() -> None:
    assert resolver_of(a_pod(), DnsConfig(), NODE) == (NODE, [])


def test_what_the_c_library_would_not_read_is_cut_off_and_said() -> None:
    asked = {"nameservers": [f"10.0.0.{number}" for number in range(5)], "searches": ["x" * 100, "y" * 1990]}
    made, said = resolver_of(a_pod(dnsPolicy="None", dnsConfig=asked), CLUSTER, NODE)
    assert made == Resolver(("10.0.0.0", "10.0.0.1", "10.0.0.2"), ("x" * 100,), ())
    assert said[0] == (
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
        "10.0.0.0 10.0.0.1 10.0.0.2"
    )
    assert said[1].startswith("Search Line limits were exceeded")


ALIASES = [{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}]


def test_hosts_know_the_pod_and_its_aliases() -> None:
    pod = a_pod(hostAliases=ALIASES, subdomain="web")
    text = hosts_of(pod, "10.1.0.2", *names_of(pod, "lab.local"), "unread")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "\n10.1.0.2\tnginx.web.default.svc.lab.local\tnginx\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n")


def test_hosts_of_the_nodes_network_are_the_nodes() -> None:
    pod = a_pod(hostNetwork=True)
    assert hosts_of(pod, "x", *names_of(pod, "lab.local"), "127.0.0.1 localhost\n") == (
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"
    )


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({}, ("nginx", "")),
        ({"hostname": "a" * 62 + "-b"}, ("a" * 62, "")),
        ({"subdomain": "s"}, ("nginx", "s.default.svc.x")),
    ],
)
def test_names(spec: dict[str, Any], names: tuple[str, str]) -> None:
    assert names_of(a_pod(**spec), "x") == names
