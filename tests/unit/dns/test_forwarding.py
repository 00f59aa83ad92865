"""Whom to ask of other names, and what is taken for an answer."""

from __future__ import annotations

import os
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from k8slab.kube.dns import forwarding
from k8slab.kube.dns.forwarding import Upstreams, is_answer, name_servers

OWN = (("10.9.9.9", 53), ("10.0.0.10", 53))


def test_of_a_resolv_conf_only_addresses_count() -> None:
    text = "# nameserver 1.1.1.1\nnameserver 10.0.0.1 # ours\nnameserver\nnameserver x\nsearch a\nnameserver fd00::1\n"
    assert name_servers(text) == [("10.0.0.1", 53), ("fd00::1", 53)]


def test_it_is_never_asked_by_itself() -> None:
    named = (("10.9.9.9", 53), ("10.9.9.9", 5353), ("10.0.0.10", 53), ("10.9.9.1", 53))
    assert Upstreams(named, None, OWN).servers() == (("10.9.9.9", 5353), ("10.9.9.1", 53))
    # Bound to all addresses, it is at each that the machine has.
    everywhere = (("127.0.0.1", 53), ("127.0.0.53", 53), ("192.0.2.1", 53), ("127.0.0.1", 54))
    assert Upstreams(everywhere, None, [("0.0.0.0", 53)]).servers() == (("192.0.2.1", 53), ("127.0.0.1", 54))


def test_the_file_is_read_again_when_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "resolv.conf"
    upstreams = Upstreams((), file, OWN)
    assert upstreams.servers() == ()
    file.write_text("nameserver 10.9.9.1\nnameserver 10.9.9.9\n")
    assert upstreams.servers() == (), "it was looked at a moment ago"
    monkeypatch.setattr(forwarding, "_LOOK_AGAIN", -1.0)
    assert upstreams.servers() == (("10.9.9.1", 53),)
    file.write_text("nameserver 10.9.9.2\n")
    os.utime(file, ns=(1, 1))
    assert upstreams.servers() == (("10.9.9.2", 53),)
    file.unlink()
    assert upstreams.servers() == ()


def test_named_servers_take_the_place_of_the_files(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 10.9.9.1\n")
    assert Upstreams((("10.9.9.3", 53),), file, OWN).servers() == (("10.9.9.3", 53),)


def test_an_answer_is_one_to_the_same_question_under_the_same_id() -> None:
    query = dns.message.make_query("www.example.org", "A", id=7)
    wire = query.to_wire()
    response = dns.message.make_response(query)
    assert is_answer(wire, response.to_wire())
    shouted = dns.message.make_response(dns.message.make_query("WWW.example.org", "A", id=7))
    assert is_answer(wire, shouted.to_wire())
    for other in (
        dns.message.make_response(dns.message.make_query("www.example.org", "A", id=8)),
        dns.message.make_response(dns.message.make_query("www.example.org", "AAAA", id=7)),
        dns.message.make_response(dns.message.make_query("ww.example.org", "A", id=7)),
        query,
    ):
        assert not is_answer(wire, other.to_wire())
    assert not is_answer(wire, response.to_wire()[:11])
    # One that could not read the question says so without it, and only that.
    assert is_answer(wire, b"\0\7\x80\1" + bytes(8))
    assert not is_answer(wire, b"\0\7\x80\0" + bytes(8))
