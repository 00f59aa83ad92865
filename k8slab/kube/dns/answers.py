"""What is said to a question: a function of the message and the index, without I/O.

Questions of the cluster's domain, and for the names of its addresses, are answered here; all others are somebody
else's to answer (``Elsewhere``). The flags are CoreDNS's but for "recursion available", without which the tools of BIND
turn away from a server.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from k8slab.kube.dns.index import Index, Records

# CoreDNS's: what is killed on purpose should be missed soon, and resolvers of pods keep nothing anyway.
TTL: Final = 5
# Of the DNS flag day: what no network cuts into pieces.
LARGEST_DATAGRAM: Final = 1232
SMALLEST_DATAGRAM: Final = 512
LARGEST_STREAM_MESSAGE: Final = 65535
HEADER: Final = 12
_LONGEST_CHAIN: Final = 8
_RESPONSE: Final = 0x8000
_RECURSION_DESIRED: Final = 0x0100
_OPCODE: Final = 0x7800
# In the third octet of a message.
_TRUNCATED: Final = 0x02


@dataclass(frozen=True)
class Reply:
    """``missing``: the name outside of the cluster whose records ``message`` still lacks, "" for none."""

    message: dns.message.Message
    limit: int
    missing: str = ""

    @property
    def rcode(self) -> str:
        return dns.rcode.to_text(self.message.rcode())

    def wire(self) -> bytes:
        wire = self.message.to_wire(max_size=self.limit, prefer_truncation=True)
        return self._cut() if wire[2] & _TRUNCATED and self.message.answer else wire

    def _cut(self) -> bytes:
        """As many of the last records as fit, any of them: there are resolvers that make do with what they get."""
        self.message.flags |= dns.flags.TC
        self.message.additional, self.message.authority = [], []
        *before, last = self.message.answer
        records = list(last)
        random.shuffle(records)
        fits, least, most = b"", 0, len(records) - 1
        while least <= most:
            count = (least + most) // 2
            some = [dns.rrset.from_rdata_list(last.name, TTL, records[:count])] if count else []
            self.message.answer = [*before, *some]
            try:
                fits, least = self.message.to_wire(max_size=self.limit), count + 1
            except dns.exception.TooBig:
                most = count - 1
        return fits or self._said_to_be_cut()

    def _said_to_be_cut(self) -> bytes:
        """Where the names on the way to the records are too many already."""
        self.message.answer = []
        return self.message.to_wire(max_size=self.limit)


@dataclass(frozen=True)
class Elsewhere:
    """A question of a name that is not the cluster's."""

    query: dns.message.QueryMessage
    limit: int

    def refused(self, rcode: dns.rcode.Rcode) -> Reply:
        return Reply(_response(self.query, rcode), self.limit)


@dataclass(frozen=True)
class Octets:
    """An answer that goes out as it is: to what is no message, or one of another server's. Empty for silence."""

    wire: bytes
    rcode: str = ""


def answer(wire: bytes, index: Index, *, stream: bool) -> Reply | Elsewhere | Octets:
    """``stream``: whether it came over TCP, where nothing is cut."""
    if len(wire) < HEADER:
        return Octets(b"")
    flags = struct.unpack_from("!H", wire, 2)[0]
    if flags & _RESPONSE:
        # Answering answers is how two servers keep each other busy.
        return Octets(b"")
    if flags & _OPCODE:
        return _bare(wire, dns.rcode.NOTIMP)
    try:
        query = dns.message.from_wire(wire)
    except Exception:
        # A parser of what anybody may send: whatever it raises, the message is at fault.
        return _bare(wire, dns.rcode.FORMERR)
    if not isinstance(query, dns.message.QueryMessage) or len(query.question) != 1:
        return _bare(wire, dns.rcode.FORMERR)
    limit = LARGEST_STREAM_MESSAGE if stream else _datagram(query)
    if query.edns > 0:
        return Reply(_response(query, dns.rcode.BADVERS), limit)
    (question,) = query.question
    if question.rdclass != dns.rdataclass.IN or question.rdtype in (dns.rdatatype.AXFR, dns.rdatatype.IXFR):
        return Reply(_response(query, dns.rcode.REFUSED), limit)
    name = question.name.to_text(omit_final_dot=True).lower()
    found = index.find(name)
    if found is None and not index.has(name):
        return Elsewhere(query, limit)
    return _authoritative(query, name, found, index, limit)


def question_of(query: dns.message.Message) -> tuple[str, str]:
    """Name and type, as they were written."""
    (question,) = query.question
    return question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)


def _authoritative(
    query: dns.message.QueryMessage, name: str, found: Records | None, index: Index, limit: int
) -> Reply:
    (question,) = query.question
    response = _response(query, dns.rcode.NOERROR if found is not None else dns.rcode.NXDOMAIN)
    response.flags |= dns.flags.AA
    asked = dns.rdatatype.to_text(question.rdtype)
    owner, missing = question.name, ""
    for _ in range(_LONGEST_CHAIN):
        aliases = (found or {}).get("CNAME")
        if not aliases or asked == "CNAME":
            break
        response.answer.append(_rrset(owner, "CNAME", [f"{aliases[0]}."]))
        name, owner = aliases[0], _name(aliases[0])
        if not index.has(name):
            return Reply(response, limit, missing=name)
        found = index.find(name)
    if records := _records(index, name, asked, found or {}):
        response.answer.append(_rrset(owner, asked, records))
        response.additional += _addresses(index, asked, records)
    elif not missing:
        if found is None:
            # The last name of a chain decides, as RFC 6604 has it.
            response.set_rcode(dns.rcode.NXDOMAIN)
        if (not response.answer or found is None) and index.has(name):
            response.authority.append(_rrset(_name(index.domain), "SOA", [_authority(index)]))
    return Reply(response, limit)


def _records(index: Index, name: str, asked: str, found: Records) -> list[str]:
    if asked == "SOA" and name == index.domain:
        return [_authority(index)]
    records = list(found.get(asked) or ())
    if asked == "SRV" and records:
        weight = max(1, 100 // len(records))
        return [f"0 {weight} {one}." for one in records]
    return [f"{one}." for one in records] if asked in ("CNAME", "NS", "PTR") else records


def _addresses(index: Index, asked: str, records: list[str]) -> list[dns.rrset.RRset]:
    """What whoever asks next would ask: the addresses of the names in the answer."""
    if asked not in ("SRV", "NS"):
        return []
    names = dict.fromkeys(one.rpartition(" ")[2].rstrip(".") for one in records)
    with_addresses = {name: (index.find(name) or {}).get("A") for name in names}
    return [_rrset(_name(name), "A", found) for name, found in with_addresses.items() if found]


def _authority(index: Index) -> str:
    return f"{index.name_server}. hostmaster.{index.domain}. {index.serial} 7200 1800 86400 {TTL}"


def _rrset(owner: dns.name.Name, kind: str, records: Iterable[str]) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(owner, TTL, [_rdata(kind, one) for one in records])


@lru_cache(maxsize=65536)
def _rdata(kind: str, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, kind, f'"{text}"' if kind == "TXT" else text)


@lru_cache(maxsize=65536)
def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


def _response(query: dns.message.QueryMessage, rcode: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True, our_payload=LARGEST_DATAGRAM)
    response.set_rcode(rcode)
    return response


def _datagram(query: dns.message.QueryMessage) -> int:
    if query.edns < 0:
        return SMALLEST_DATAGRAM
    return max(SMALLEST_DATAGRAM, min(query.payload, LARGEST_DATAGRAM))


def _bare(wire: bytes, rcode: dns.rcode.Rcode) -> Octets:
    """A header alone: the message's own id and operation, and what is wrong."""
    number, flags = struct.unpack_from("!HH", wire)
    flags = _RESPONSE | (flags & (_OPCODE | _RECURSION_DESIRED)) | int(rcode)
    return Octets(struct.pack("!HHHHHH", number, flags, 0, 0, 0, 0), dns.rcode.to_text(rcode))
