"""Flags as Mesos' programs take them: from the command line, else from ``MESOS_<FLAG>``, else the default."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

from k8slab.daemon import LAST_PORT, FlagParser, number, whole
from k8slab.mesos.authentication import OPEN, Authentication, Realm, read_credentials
from k8slab.mesos.durations import parse_duration

T = TypeVar("T")


class Flags:
    """Parsed flags as text. The typed getters end the program with one sentence when the text is no such value."""

    def __init__(self, parser: FlagParser, values: Mapping[str, str | None]) -> None:
        self._parser = parser
        self._values = values

    @classmethod
    def parse(
        cls,
        program: str,
        names: Mapping[str, tuple[str | None, str]],
        argv: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
        paths: Collection[str] = (),
    ) -> Flags:
        """``names``: flag → (default, help). ``aliases``: older spelling → flag. ``paths``: those that name a file
        whose content is not to be shown, so that ``file://`` is only a way to write its path."""
        environ = os.environ if environ is None else environ
        parser = FlagParser(prog=program, allow_abbrev=False)
        for name, (_, help) in names.items():
            parser.flag(name, help)
        for alias, name in (aliases or {}).items():
            parser.flag(alias, f"older name of {name}")
        given = vars(parser.parse_args(_without_bare_switches(argv)))
        values = {}
        for name, (default, _) in names.items():
            spellings = [name, *(alias for alias, flag in (aliases or {}).items() if flag == name)]
            found = next((given[spelling] for spelling in spellings if given[spelling] is not None), None)
            if found is None:
                found = next((environ[key] for key in map(_variable, spellings) if key in environ), default)
            values[name] = found and found.removeprefix("file://") if name in paths else _from_file(parser, found)
        return cls(parser, values)

    def text(self, name: str) -> str | None:
        return self._values[name]

    def required(self, name: str) -> str:
        value = self._values[name]
        if not value:
            self._parser.error(f"Missing required option --{name}")
            raise AssertionError("error() exits")
        return value

    def read(self, name: str, reader: Callable[[str], T]) -> T:
        """``reader`` turns the text into the value; its ValueError is shown."""
        try:
            return reader(self.required(name))
        except ValueError as error:
            self._parser.error(f"Failed to load flag '{name}': {error}")
            raise AssertionError("error() exits") from error

    def seconds(self, name: str) -> float:
        return self.read(name, parse_duration)

    def interval(self, name: str) -> float:
        """Seconds, more than none: what happens again and again."""
        return self.read(name, _positive_duration)

    def whole(self, name: str, least: int = 0, most: float = math.inf) -> int:
        return self._judged(name, lambda flag, text: whole(flag, text, least, most))

    def port(self, name: str) -> int:
        return self.whole(name, 1, LAST_PORT)

    def share(self, name: str) -> float:
        """A number from 0 to 1."""
        return self._judged(name, lambda flag, text: number(flag, text, 1))

    def boolean(self, name: str) -> bool:
        return self.read(name, _boolean)

    def _judged(self, name: str, reader: Callable[[str, str], T]) -> T:
        """As ``read``; ``reader`` names the flag itself."""
        try:
            return reader(f"--{name}", self.required(name))
        except ValueError as error:
            self._parser.error(str(error))
            raise AssertionError("error() exits") from error

    def refuse_when_true(self, *names: str) -> None:
        """These are known and not served: better to say so than to run without what was asked for."""
        for name in names:
            if self._values[name] is not None and self.boolean(name):
                self._parser.error(f"--{name} is not supported, only --no-{name}")

    def refuse(self, reason: str) -> None:
        """End the program with one sentence."""
        self._parser.error(reason)

    def shown(self) -> dict[str, str]:
        """As ``/flags`` shows them: those that have a value."""
        return {name: value for name, value in self._values.items() if value is not None}


AUTHENTICATION = {
    Realm.SCHEDULER: ("authenticate_http_frameworks", "http_framework_authenticators"),
    Realm.READONLY: ("authenticate_http_readonly", "http_authenticators"),
    Realm.READWRITE: ("authenticate_http_readwrite", "http_authenticators"),
}


def http_authentication(flags: Flags, owner: str, *, credentials: str, realms: Iterable[Realm]) -> Authentication:
    """What the flags ask for. ``credentials``: the flag that names the file."""
    known = flags.read(credentials, read_credentials) if flags.text(credentials) else None
    guarded = [realm for realm in realms if flags.boolean(AUTHENTICATION[realm][0])]
    for realm in guarded:
        asked, authenticators = AUTHENTICATION[realm]
        if not flags.text(authenticators):
            flags.refuse(f"Missing --{authenticators}=basic, which --{asked} needs")
        flags.read(authenticators, _basic)
        if known is None:
            flags.refuse(f"No credentials for --{asked}: name a file of principals and secrets with --{credentials}")
    return Authentication(owner, realms=guarded, credentials=known or {}) if guarded else OPEN


def _basic(authenticator: str) -> str:
    if authenticator != "basic":
        raise ValueError(f"expected basic, got {authenticator!r}")
    return authenticator


def host_address(flags: Flags) -> str:
    """The address to listen on and to be known by: that of ``--ip``, else what this host's name resolves to."""
    if flags.text("ip"):
        return flags.read("ip", _ip)
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"


def _variable(name: str) -> str:
    return f"MESOS_{name.upper()}"


def _from_file(parser: FlagParser, value: str | None) -> str | None:
    if value is None or not value.startswith("file://"):
        return value
    try:
        return Path(value.removeprefix("file://")).read_text().strip()
    except OSError as error:
        parser.error(f"cannot read {value}: {error.strerror}")
        raise AssertionError("error() exits") from error


def _without_bare_switches(argv: Sequence[str]) -> list[str]:
    """``--no-checkpoint`` is ``--checkpoint=false``."""
    return [f"--{word[5:]}=false" if word.startswith("--no-") and "=" not in word else word for word in argv]


def _positive_duration(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"must be more than nothing, got {text!r}")
    return seconds


def _ip(text: str) -> str:
    return str(IPv4Address(text))


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
    raise ValueError(f"expected true or false, got {text!r}")
