"""Addresses in what a proxied server says, made to lead back through the proxy."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

# The attributes of HTML 5 that hold an address.
_ADDRESSES: Final = (
    "action|archive|background|cite|classid|codebase|data|formaction|href|icon|longdesc|manifest|poster|profile|src"
)
_TAG: Final = re.compile(rb"<[a-zA-Z][^<>]*>")
_ATTRIBUTE: Final = re.compile(
    rb"""(\s(?:%s)\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""" % _ADDRESSES.encode(), re.IGNORECASE
)
_CODINGS: Final = ("", "identity", "gzip")
LARGEST_PLAIN: Final = 16 << 20


@dataclass(frozen=True)
class Rewriter:
    """``scheme`` and ``netloc``: the proxied server's own; ``prefix``: the path at which the proxy serves it."""

    scheme: str
    netloc: str
    prefix: str

    def location(self, address: str) -> str:
        """An address on another server stays as it is, a relative one too."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return address
        own = not parts.netloc or (parts.scheme in ("", self.scheme) and parts.netloc == self.netloc)
        if not own or not (parts.netloc or parts.path.startswith("/")) or parts.path.startswith(f"{self.prefix}/"):
            return address
        return urlunsplit(("", "", self.prefix + (parts.path or "/"), parts.query, parts.fragment))

    def wants(self, headers: Mapping[str, str]) -> bool:
        """Whether it is a page with links."""
        media = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return media == "text/html" and headers.get("Content-Encoding", "").lower() in _CODINGS

    def page(self, content: bytes, coding: str) -> bytes:
        """The page with its addresses changed; unchanged when it is not in the coding that it says."""
        if coding.lower() != "gzip":
            return _TAG.sub(self._tag, content)
        try:
            inflate = zlib.decompressobj(wbits=31)
            plain = inflate.decompress(content, LARGEST_PLAIN)
        except zlib.error:
            return content
        if inflate.unconsumed_tail or inflate.unused_data or not inflate.eof:
            return content
        return gzip.compress(_TAG.sub(self._tag, plain), 1)

    def _tag(self, found: re.Match[bytes]) -> bytes:
        return _ATTRIBUTE.sub(self._attribute, found[0])

    def _attribute(self, found: re.Match[bytes]) -> bytes:
        value = found[2]
        quote = value[:1] if value[:1] in (b'"', b"'") else b""
        address = value[len(quote) : len(value) - len(quote)].decode("utf-8", "surrogateescape")
        return found[1] + quote + self.location(address).encode("utf-8", "surrogateescape") + quote
