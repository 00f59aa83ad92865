"""What is said to a question, and to what is none."""

from __future__ import annotations

import itertools
import random
import struct
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.kube.dns.answers import Elsewhere, Octets, Reply, answer
from k8slab.kube.dns.index import Index
from tests.unit.dns.samples import DOMAIN, endpoint_slice, member, service, world

WORLD = world()
WEB = f"web.default.svc.{DOMAIN}"
PETS = f"pets.default.svc.{DOMAIN}"


def said(wire: bytes, *, index: Index = WORLD, stream: bool = False) -> dns.message.Message:
    found = answer(wire, index, stream=stream)
    assert isinstance(found, Reply), found
    return dns.message.from_wire(found.wire())


def ask(name: str, kind: str = "A", **more: Any) -> dns.message.Message:
    return said(dns.message.make_query(name, kind, **more).to_wire())


def lines(section: list[Any]) -> list[str]:
    return sorted(line for rrset in section for line in rrset.to_text().splitlines())


def test_an_answer_has_the_names_address() -> None:
    response = ask(WEB)
    assert lines(response.answer) == [f"{WEB}. 5 IN A 10.0.0.7"]
    assert response.authority == response.additional == []
    assert dns.flags.to_text(response.flags) == "QR AA RD RA"


@pytest.mark.parametrize(
    "name", [WEB, DOMAIN, f"svc.{DOMAIN}", f"default.svc.{DOMAIN}", f"1-2-3-4.default.pod.{DOMAIN}"]
)
@pytest.mark.parametrize("kind", ["AAAA", "MX", "TYPE65", "ANY"])
def test_a_name_without_such_a_record_is_not_called_unknown(name: str, kind: str) -> None:
    response = ask(name, kind)
    assert (response.rcode(), response.answer) == (0, [])
    (line,) = lines(response.authority)
    assert line.startswith(f"{DOMAIN}. 5 IN SOA kube-dns.kube-system.svc.{DOMAIN}. hostmaster.{DOMAIN}. ")
    assert line.endswith(" 5")


def test_a_name_that_is_not_there_is_called_unknown() -> None:
    for kind in ("A", "AAAA", "SRV"):
        response = ask(f"nobody.default.svc.{DOMAIN}", kind)
        assert dns.rcode.to_text(response.rcode()) == "NXDOMAIN"
        assert [rrset.rdtype for rrset in response.authority] == [dns.rdatatype.SOA]
        assert response.flags & dns.flags.AA


def test_the_name_comes_back_as_it_was_written() -> None:
    response = ask("WeB.deFAULT.sVc.LAB.local")
    assert str(response.question[0].name) == str(response.answer[0].name) == "WeB.deFAULT.sVc.LAB.local."


def test_ports_have_their_targets_addresses_with_them() -> None:
    response = ask(f"_HTTP._tcp.{PETS}", "SRV")
    assert [line.partition(" IN ")[2] for line in lines(response.answer)] == [
        f"SRV 0 50 80 10-1-0-3.{PETS}.",
        f"SRV 0 50 80 cat.{PETS}.",
    ]
    assert lines(response.additional) == [f"10-1-0-3.{PETS}. 5 IN A 10.1.0.3", f"cat.{PETS}. 5 IN A 10.1.0.2"]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (f"dns-version.{DOMAIN}", "TXT", ['TXT "1.1.0"']),
        ("7.0.0.10.in-addr.arpa", "PTR", [f"PTR hand.default.svc.{DOMAIN}.", f"PTR {WEB}."]),
        (DOMAIN, "NS", [f"NS kube-dns.kube-system.svc.{DOMAIN}."]),
        (f"web.default.{DOMAIN}", "A", ["A 10.0.0.7"]),
        (f"in.default.svc.{DOMAIN}", "CNAME", [f"CNAME {WEB}."]),
        (f"in.default.svc.{DOMAIN}", "A", ["A 10.0.0.7", f"CNAME {WEB}."]),
        (f"in.default.svc.{DOMAIN}", "AAAA", [f"CNAME {WEB}."]),
    ],
)
def test_other_records(name: str, kind: str, expected: list[str]) -> None:
    response = ask(name, kind)
    assert sorted(line.partition(" IN ")[2] for line in lines(response.answer)) == expected
    assert response.rcode() == 0


def test_an_alias_of_nothing_and_one_of_itself_come_to_an_end() -> None:
    response = ask(f"gone.default.svc.{DOMAIN}")
    assert dns.rcode.to_text(response.rcode()) == "NXDOMAIN"
    assert [rrset.rdtype for rrset in response.answer] == [dns.rdatatype.CNAME]
    assert ask(f"round.default.svc.{DOMAIN}").rcode() == 0


def test_an_alias_of_a_name_elsewhere_says_what_is_missing() -> None:
    found = answer(dns.message.make_query(f"out.default.svc.{DOMAIN}", "A").to_wire(), WORLD, stream=False)
    assert isinstance(found, Reply)
    assert found.missing == "www.example.org"


@pytest.mark.parametrize("name", ["example.org", ".", "1.1.1.1.in-addr.arpa", f"x{DOMAIN}", "local"])
def test_other_names_are_somebody_elses(name: str) -> None:
    found = answer(dns.message.make_query(name, "A").to_wire(), WORLD, stream=False)
    assert isinstance(found, Elsewhere)
    assert dns.rcode.to_text(dns.message.from_wire(found.refused(dns.rcode.REFUSED).wire()).rcode()) == "REFUSED"


def crowd(count: int) -> Index:
    index = Index(DOMAIN, f"ns.{DOMAIN}")
    index.service_changed("ADDED", service("crowd", clusterIP="None"), None)
    index.slice_changed("ADDED", endpoint_slice("crowd", *(member(f"10.1.1.{one}") for one in range(count))), None)
    return index


@pytest.mark.parametrize(
    ("more", "limit"), [({}, 512), ({"use_edns": 0, "payload": 1000}, 1000), ({"use_edns": 0, "payload": 4096}, 1232)]
)
def test_what_does_not_fit_is_cut_and_says_so(more: dict[str, Any], limit: int) -> None:
    index = crowd(200)
    wire = dns.message.make_query(f"crowd.default.svc.{DOMAIN}", "A", **more).to_wire()
    found = answer(wire, index, stream=False)
    assert isinstance(found, Reply)
    cut = found.wire()
    assert limit - 16 < len(cut) <= limit
    assert dns.message.from_wire(cut).flags & dns.flags.TC
    whole = said(wire, index=index, stream=True)
    assert not whole.flags & dns.flags.TC
    assert len(lines(whole.answer)) == 200
    assert set(lines(dns.message.from_wire(cut).answer)) < set(lines(whole.answer))


def test_addresses_that_do_not_fit_beside_the_answer_are_left_out() -> None:
    index = crowd(10)
    wire = dns.message.make_query(f"_http._tcp.crowd.default.svc.{DOMAIN}", "SRV", use_edns=0, payload=700).to_wire()
    response = said(wire, index=index)
    assert len(lines(response.answer)) == 10
    assert len(response.additional) < 10
    assert not response.flags & dns.flags.TC


def test_addresses_take_turns() -> None:
    index, wire = crowd(5), dns.message.make_query(f"crowd.default.svc.{DOMAIN}", "A").to_wire()
    first = {str(said(wire, index=index).answer[0][0]) for _ in range(200)}
    assert first == {f"10.1.1.{one}" for one in range(5)}


def test_edns_is_answered_with_edns() -> None:
    assert ask(WEB).edns == -1
    response = ask(WEB, use_edns=0, payload=4096, options=[dns.edns.GenericOption(65001, b"x")])
    assert (response.edns, response.payload, response.options) == (0, 1232, ())
    assert dns.rcode.to_text(ask(WEB, use_edns=1).rcode()) == "BADVERS"


@pytest.mark.parametrize(
    ("query", "rcode"),
    [
        (dns.message.make_query("version.bind", "TXT", "CH"), "REFUSED"),
        (dns.message.make_query(WEB, "A", "ANY"), "REFUSED"),
        (dns.message.make_query(DOMAIN, "AXFR"), "REFUSED"),
    ],
)
def test_what_is_not_served_is_refused(query: dns.message.Message, rcode: str) -> None:
    assert dns.rcode.to_text(said(query.to_wire()).rcode()) == rcode


def header(number: int, flags: int, *counts: int) -> bytes:
    return struct.pack("!HHHHHH", number, flags, *(counts or (1, 0, 0, 0)))


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        (header(7, 0x2800, 0, 0, 0, 0), "NOTIMP"),
        (header(7, 0x1000), "NOTIMP"),
        (header(7, 0x0100, 0, 0, 0, 0), "FORMERR"),
        (header(7, 0x0100), "FORMERR"),
        (header(7, 0x0100) + b"\xc0\x0c\0\1\0\1", "FORMERR"),
        (header(7, 0x0100) + b"\x3fx", "FORMERR"),
        (header(7, 0x0100, 2, 0, 0, 0) + b"\1a\0\0\1\0\1\1b\0\0\1\0\1", "FORMERR"),
        (header(7, 0x0100) + b"\1a\0\0\1\0\1trailing", "FORMERR"),
        (header(7, 0x0100, 1, 0, 0, 9) + b"\1a\0\0\1\0\1", "FORMERR"),
    ],
)
def test_what_is_no_question_gets_its_id_back(wire: bytes, rcode: str) -> None:
    found = answer(wire, WORLD, stream=False)
    assert isinstance(found, Octets)
    assert (found.wire[:2], found.rcode, len(found.wire)) == (b"\0\7", rcode, 12)
    assert found.wire[2] & 0x80


@pytest.mark.parametrize("wire", [b"", b"\0\7", header(7, 0x0100)[:11], header(7, 0x8100) + b"\1a\0\0\1\0\1"])
def test_what_is_no_message_or_is_an_answer_gets_none(wire: bytes) -> None:
    assert answer(wire, WORLD, stream=False) == Octets(b"")


@given(st.binary(max_size=80), st.booleans(), st.integers(0, 2**32))
def test_nothing_that_is_sent_is_too_much(noise: bytes, stream: bool, seed: int) -> None:
    wire = bytearray(dns.message.make_query(WEB, "A", use_edns=0).to_wire())
    chance = random.Random(seed)
    for one in noise:
        wire[chance.randrange(len(wire))] = one
    for sent in (bytes(wire), noise, bytes(wire[: len(noise)])):
        found = answer(sent, WORLD, stream=stream)
        if isinstance(found, Reply):
            assert found.wire()[:2] == sent[:2]


def test_a_chain_of_aliases_that_fits_no_datagram_is_to_be_asked_for_by_stream() -> None:
    """Where clouds have their services, a name may lead through many long ones; resolvers of pods know no EDNS."""
    query = dns.message.make_query(f"outside.default.svc.{DOMAIN}", "A")
    response = dns.message.make_response(query)
    names = [f"outside.default.svc.{DOMAIN}.", *(f"{'a' * 60}.{number}.{'b' * 40}.example." for number in range(8))]
    for name, target in itertools.pairwise(names):
        response.answer.append(dns.rrset.from_text(name, 5, "IN", "CNAME", target))
    response.answer.append(dns.rrset.from_text(names[-1], 5, "IN", "A", "192.0.2.1"))
    cut = dns.message.from_wire(Reply(response, 512).wire())
    assert cut.flags & dns.flags.TC
    assert (cut.id, cut.question) == (query.id, query.question)
    assert len(cut.answer) < len(names)
