"""What clients send that is no HTTP, or no text.

Requests that are no HTTP the server's library answers with 400 by itself, and they are no failure of ours.
"""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError


def legible(header: str) -> str:
    """A header's text with what is no UTF-8 in it replaced: it may have to be told on, and JSON holds no such bytes."""
    return header if header.isascii() else header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_told(record: logging.LogRecord) -> bool:
    """Whether a record of the library's log is worth a line: anyone can send nonsense, as often as they like."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def keep_quiet() -> None:
    logging.getLogger("aiohttp.server").addFilter(is_told)
