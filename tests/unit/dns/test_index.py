"""Names and their records, by the specification and beside it."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.dns.index import Index
from tests.unit.dns.samples import DOMAIN, HTTP, endpoint_slice, endpoints, member, namespace, service, world

NONE: dict[str, list[str]] = {}
WEB = "web.default.svc.lab.local"
PETS = "pets.default.svc.lab.local"


def found(index: Index, name: str) -> dict[str, list[str]] | None:
    records = index.find(name)
    return None if records is None else {kind: list(data) for kind, data in records.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # A service with an address.
        (WEB, {"A": ["10.0.0.7"]}),
        (f"_http._tcp.{WEB}", {"SRV": [f"80 {WEB}"]}),
        (f"_tcp.{WEB}", NONE),
        (f"_http._udp.{WEB}", None),
        (f"10-1-0-1.{WEB}", {"A": ["10.1.0.1"]}),
        (f"9-9-9-9.{WEB}", None),
        # Without an address: one record for each endpoint that is ready.
        (PETS, {"A": ["10.1.0.2", "10.1.0.3"]}),
        (f"cat.{PETS}", {"A": ["10.1.0.2"]}),
        (f"10-1-0-2.{PETS}", None),
        (f"10-1-0-3.{PETS}", {"A": ["10.1.0.3"]}),
        (f"dog.{PETS}", None),
        (f"_http._tcp.{PETS}", {"SRV": [f"80 cat.{PETS}", f"80 10-1-0-3.{PETS}"]}),
        (f"idle.default.svc.{DOMAIN}", None),
        (f"all.default.svc.{DOMAIN}", {"A": ["10.1.0.6"]}),
        # By Endpoints alone.
        (f"10-1-0-7.hand.default.svc.{DOMAIN}", {"A": ["10.1.0.7"]}),
        (f"10-1-0-8.hand.default.svc.{DOMAIN}", None),
        # Aliases.
        (f"out.default.svc.{DOMAIN}", {"CNAME": ["www.example.org"]}),
        (f"wrong.default.svc.{DOMAIN}", None),
        # IPv6 is left out.
        (f"six.default.svc.{DOMAIN}", None),
        # The names of the first releases, which "svc" and "pod" cannot have.
        (f"web.default.{DOMAIN}", {"A": ["10.0.0.7"]}),
        (f"pets.default.{DOMAIN}", {"A": ["10.1.0.2", "10.1.0.3"]}),
        (f"out.default.{DOMAIN}", {"CNAME": ["www.example.org"]}),
        (f"cat.pets.default.{DOMAIN}", None),
        (f"svc.default.{DOMAIN}", {"A": ["10.0.0.6"]}),
        (f"x.svc.svc.{DOMAIN}", {"A": ["10.0.0.8"]}),
        (f"x.svc.{DOMAIN}", None),
        (f"y.pod.svc.{DOMAIN}", {"A": ["10.0.0.9"]}),
        (f"y.pod.{DOMAIN}", None),
        # What has nothing itself, but something below.
        (DOMAIN, {"NS": [f"kube-dns.kube-system.svc.{DOMAIN}"]}),
        (f"svc.{DOMAIN}", NONE),
        (f"pod.{DOMAIN}", NONE),
        (f"default.svc.{DOMAIN}", NONE),
        (f"default.pod.{DOMAIN}", NONE),
        (f"default.{DOMAIN}", NONE),
        (f"empty.svc.{DOMAIN}", NONE),
        (f"nobody.svc.{DOMAIN}", None),
        (f"empty.{DOMAIN}", None),
        (f"web.{DOMAIN}", None),
        # Pods, by their addresses.
        (f"10-1-0-9.default.pod.{DOMAIN}", {"A": ["10.1.0.9"]}),
        (f"10-1-0-9.nobody.pod.{DOMAIN}", None),
        (f"10-1-0-256.default.pod.{DOMAIN}", None),
        (f"10-1-0.default.pod.{DOMAIN}", None),
        (f"a.10-1-0-9.default.pod.{DOMAIN}", None),
        # Backwards.
        ("7.0.0.10.in-addr.arpa", {"PTR": [WEB, f"hand.default.svc.{DOMAIN}"]}),
        ("2.0.1.10.in-addr.arpa", {"PTR": [f"cat.{PETS}"]}),
        ("1.0.1.10.in-addr.arpa", None),
        ("0.1.10.in-addr.arpa", None),
        (f"dns-version.{DOMAIN}", {"TXT": ["1.1.0"]}),
        ("example.org", None),
    ],
)
def test_what_a_name_has(name: str, expected: Any) -> None:
    assert found(world(), name) == expected


def test_a_name_goes_with_its_last_owner_and_its_parents_with_it() -> None:
    index = Index(DOMAIN, "ns")
    web = service("web", namespace="new")
    index.service_changed("ADDED", web, None)
    assert found(index, f"new.{DOMAIN}") == found(index, f"new.svc.{DOMAIN}") == NONE
    index.service_changed("DELETED", web, web)
    for name in (f"web.new.svc.{DOMAIN}", f"new.svc.{DOMAIN}", f"new.{DOMAIN}", "7.0.0.10.in-addr.arpa"):
        assert found(index, name) is None, name
    assert found(index, f"svc.{DOMAIN}") == NONE
    assert len(index) == 2, "its own two names are left"


def test_a_namespace_that_goes_takes_the_names_of_its_pods() -> None:
    index, there = Index(DOMAIN, "ns"), namespace("new")
    index.namespace_changed("ADDED", there, None)
    index.namespace_changed("MODIFIED", there, there)
    assert found(index, f"1-2-3-4.new.pod.{DOMAIN}") == {"A": ["1.2.3.4"]}
    index.namespace_changed("DELETED", there, there)
    assert found(index, f"1-2-3-4.new.pod.{DOMAIN}") is None
    assert found(index, f"new.pod.{DOMAIN}") is found(index, f"new.svc.{DOMAIN}") is None


def test_an_address_that_changes_is_another_name_backwards() -> None:
    index = Index(DOMAIN, "ns")
    before, after = service("web"), service("web", clusterIP="10.0.0.8")
    index.service_changed("ADDED", before, None)
    assert found(index, WEB) == {"A": ["10.0.0.7"]}
    index.service_changed("MODIFIED", after, before)
    assert found(index, WEB) == {"A": ["10.0.0.8"]}
    assert found(index, "7.0.0.10.in-addr.arpa") is None
    assert found(index, "8.0.0.10.in-addr.arpa") == {"PTR": [WEB]}


def test_endpoints_may_be_known_before_their_service() -> None:
    index = Index(DOMAIN, "ns")
    index.slice_changed("ADDED", endpoint_slice("pets", member("10.1.0.2")), None)
    assert found(index, PETS) is None
    index.service_changed("ADDED", service("pets", clusterIP="None"), None)
    assert found(index, PETS) == {"A": ["10.1.0.2"]}


def test_a_slice_that_is_given_to_another_service_leaves_the_first() -> None:
    index = Index(DOMAIN, "ns")
    for name in ("pets", "zoo"):
        index.service_changed("ADDED", service(name, clusterIP="None"), None)
    before = endpoint_slice("pets", member("10.1.0.2"))
    after = {**before, "metadata": {**before["metadata"], "labels": {"kubernetes.io/service-name": "zoo"}}}
    index.slice_changed("ADDED", before, None)
    index.slice_changed("MODIFIED", after, before)
    assert found(index, PETS) is None
    assert found(index, f"zoo.default.svc.{DOMAIN}") == {"A": ["10.1.0.2"]}


def test_without_its_last_slice_a_service_is_served_from_its_endpoints_again() -> None:
    index, one = Index(DOMAIN, "ns"), endpoint_slice("pets", member("10.1.0.2"))
    index.service_changed("ADDED", service("pets", clusterIP="None"), None)
    index.endpoints_changed("ADDED", endpoints("pets", "10.1.0.3"), None)
    index.slice_changed("ADDED", one, None)
    assert found(index, PETS) == {"A": ["10.1.0.2"]}
    index.slice_changed("DELETED", one, one)
    assert found(index, PETS) == {"A": ["10.1.0.3"]}


def test_an_object_that_nobody_understands_costs_nobody_else_a_name() -> None:
    index = Index(DOMAIN, "ns")
    index.service_changed("ADDED", service("odd", ports=[{"name": 7}], clusterIP=["10.0.0.1"]), None)
    index.service_changed("ADDED", service("web"), None)
    assert found(index, WEB) == {"A": ["10.0.0.7"]}
    assert found(index, f"odd.default.svc.{DOMAIN}") is None


def test_the_serial_grows_with_every_change() -> None:
    index = Index(DOMAIN, "ns")
    serials = []
    for address in ("10.0.0.7", "10.0.0.8", "10.0.0.7"):
        index.service_changed("MODIFIED", service("web", clusterIP=address, ports=[HTTP]), None)
        index.find(WEB)
        serials.append(index.serial)
    assert serials == sorted(set(serials))
