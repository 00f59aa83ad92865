"""The lab's rules in the host's firewall, where the engine keeps its own.

Docker sets the policy of FORWARD to DROP, and bridged packets pass through it (br_netfilter). An accept in another
table cannot override that drop, so the lab's rules go into every iptables (nft or legacy) in which Docker's chains are;
where Docker speaks nftables itself, ``nftables.py`` does. Every rule carries the lab's comment and is found by it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from k8slab.lab.switch import names
from k8slab.lab.switch.config import Config
from k8slab.lab.switch.nftables import Nftables
from k8slab.lab.switch.wire import Bridge

_ROOT = Path("/proc")
_BACKENDS = ("nft", "legacy")
_LOCK = "XTABLES_LOCKFILE"
_DEFAULT_LOCK = "/host/run/xtables.lock"


class FirewallError(Exception):
    """One sentence: which program refused what."""


class Commands(Protocol):
    def __call__(self, argv: Sequence[str], stdin: str = "") -> str:
        """The program's output. Raises FirewallError when it fails, FileNotFoundError when it is not installed."""


def run_command(argv: Sequence[str], stdin: str = "") -> str:
    environ = {_LOCK: _DEFAULT_LOCK, **os.environ} if Path(_DEFAULT_LOCK).parent.is_dir() else dict(os.environ)
    done = subprocess.run(argv, input=stdin, text=True, capture_output=True, env=environ, timeout=20, check=False)
    if done.returncode:
        raise FirewallError(f"{' '.join(argv)} failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


@dataclass(frozen=True)
class Rule:
    table: str
    chain: str
    match: tuple[str, ...]
    target: str

    def line(self, mark: str) -> str:
        """As iptables-restore reads it; it knows double quotes alone."""
        return " ".join((self.chain, *self.match, "-m", "comment", "--comment", f'"{mark}"', "-j", self.target))

    def nft(self) -> str:
        """The same in nft's words, as far as the lab's rules use them."""
        words, negation = [], ""
        for word, value in zip(self.match, (*self.match[1:], ""), strict=True):
            match word:
                case "!":
                    negation = "!= "
                case "-i" | "-o":
                    words.append(f'{word[1]}ifname {negation}"{value}"')
                case "-s":
                    words.append(f"ip saddr {value}")
                case "--ctstate":
                    words.append(f"ct state {value.lower()}")
        return " ".join((*words, self.target.lower()))


def rules_for(config: Config, bridge: Bridge) -> tuple[Rule, ...]:
    """What the lab needs; nothing on a bridge that is not its own, whose owner has its rules already."""
    if not bridge.own:
        return ()
    name, subnet = bridge.name, str(config.subnet)
    rules = [Rule("filter", "FORWARD", ("-i", name, "-o", name), "ACCEPT")]
    if config.egress:
        answers = ("-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
        rules += [
            Rule("filter", "FORWARD", ("-i", name, "!", "-o", name), "ACCEPT"),
            Rule("filter", "FORWARD", ("-o", name, *answers), "ACCEPT"),
            Rule("nat", "POSTROUTING", ("-s", subnet, "!", "-o", name), "MASQUERADE"),
        ]
    return tuple(rules)


class Firewall:
    def __init__(self, lab: str, *, run: Commands = run_command, proc: Path = _ROOT) -> None:
        """The rules of ``lab``; "" stands for every lab's, to look for and to remove."""
        self.mark = names.comment(lab)
        self._run, self._proc = run, proc
        self._nft = Nftables(self.mark, run=run, refused=FirewallError, ours=self._is_ours)

    async def ensure(self, config: Config, bridge: Bridge) -> None:
        """Put in what is missing of the lab's rules. Raises FirewallError."""
        await asyncio.to_thread(self._ensure, config, bridge)

    async def remove(self) -> list[str]:
        """Take out every rule with the lab's comment, from all tables of all backends, and say which they were."""
        return await asyncio.to_thread(self._remove)

    async def leftovers(self) -> list[tuple[str, str]]:
        """(lab, rule) of each rule that is there."""
        return await asyncio.to_thread(self._leftovers)

    async def diagnose(self, bridge: Bridge) -> str:
        """Why packets between two ports of the bridge may be dropped, in a sentence; "" when nothing tells."""
        return await asyncio.to_thread(self._diagnose, bridge)

    def forwarding(self) -> bool:
        return self._sysctl("net/ipv4/ip_forward") != "0"

    # -- iptables -----------------------------------------------------------------------------------------------

    def _ensure(self, config: Config, bridge: Bridge) -> None:
        wanted = rules_for(config, bridge)
        if not wanted:
            return
        backends = self._dropping()
        for backend in backends:
            self._put(backend, wanted)
        if self._nft.drops():
            self._nft.accept([rule.nft() for rule in wanted if rule.table == "filter"])
        translations = [rule for rule in wanted if rule.table == "nat"]
        if translations and not backends and not self._nft.translate(config.lab, translations[0].nft()):
            self._put("nft", translations)

    def _put(self, backend: str, wanted: Sequence[Rule]) -> None:
        present = {(table, _canonical(tokens)) for table, tokens in self._rules(backend)}
        for table in ("filter", "nat"):
            lines = [
                f"-I {rule.line(self.mark)}"
                for rule in wanted
                if rule.table == table
                and (table, _canonical(["-A", *shlex.split(rule.line(self.mark))])) not in present
            ]
            if lines:
                self._restore(backend, table, lines)

    def _dropping(self) -> list[str]:
        """The iptables backends that the engine uses, or that drop what is forwarded."""
        signs = ([":DOCKER"], [":DOCKER-USER"], [":FORWARD", "DROP"])
        return [
            backend
            for backend in _BACKENDS
            if any(tokens[: len(sign)] == sign for _, tokens in self._saved(backend) for sign in signs)
        ]

    def _saved(self, backend: str) -> list[tuple[str, list[str]]]:
        """(table, tokens) of each line of a backend's rules; chains are ``:NAME POLICY …``."""
        if backend == "legacy" and not self._legacy_tables():
            # iptables-legacy would load its tables into a kernel that has none, just by being asked.
            return []
        try:
            text = self._run([f"iptables-{backend}-save"])
        except FileNotFoundError:
            return []
        table, found = "", []
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:].strip()
            elif line.startswith((":", "-A")):
                found.append((table, shlex.split(line)))
        return found

    def _rules(self, backend: str) -> list[tuple[str, list[str]]]:
        """The lab's own rules in a backend."""
        return [
            (table, tokens)
            for table, tokens in self._saved(backend)
            if tokens[0] == "-A" and any(map(self._is_ours, _following(tokens, "--comment")))
        ]

    def _is_ours(self, comment: str) -> bool:
        return names.lab_of_comment(comment) != "" and self.mark in (comment, names.comment(""))

    def _legacy_tables(self) -> list[str]:
        return self._read("net/ip_tables_names").split()

    def _restore(self, backend: str, table: str, lines: Sequence[str]) -> None:
        text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
        self._run([f"iptables-{backend}-restore", "--noflush", "--wait", "5"], text)

    def _remove(self) -> list[str]:
        removed: list[str] = []
        for backend in _BACKENDS:
            for table in ("filter", "nat", "mangle", "raw", "security"):
                mine = [tokens for where, tokens in self._rules(backend) if where == table]
                if mine:
                    self._restore(backend, table, [_delete(tokens) for tokens in mine])
                    removed += [f"iptables-{backend} -t {table} {_text(tokens)}" for tokens in mine]
        return removed + self._nft.remove()

    def _leftovers(self) -> list[tuple[str, str]]:
        found = []
        for backend in _BACKENDS:
            for table, tokens in self._rules(backend):
                comment = next(filter(self._is_ours, _following(tokens, "--comment")))
                found.append((names.lab_of_comment(comment), f"iptables-{backend} -t {table} {_text(tokens)}"))
        return found + self._nft.found()

    # -- why not ------------------------------------------------------------------------------------------------

    def _diagnose(self, bridge: Bridge) -> str:
        if self._sysctl("net/bridge/bridge-nf-call-iptables") != "1":
            return ""
        for backend in _BACKENDS:
            for table, tokens in self._saved(backend):
                if table == "filter" and tokens[:2] == [":FORWARD", "DROP"]:
                    return (
                        f"the host's firewall (iptables-{backend}) drops forwarded packets unless a rule accepts them; "
                        f"look for a rule on {bridge.name} that does not"
                    )
        return "some firewall of the host may drop packets that cross bridges (net.bridge.bridge-nf-call-iptables is 1)"

    def _sysctl(self, name: str) -> str:
        return self._read(f"sys/{name}").strip()

    def _read(self, name: str) -> str:
        try:
            return (self._proc / name).read_text()
        except OSError:
            return ""


def _delete(tokens: Sequence[str]) -> str:
    """The line that takes a saved rule out."""
    return _text(["-D", *tokens[1:]])


def _text(tokens: Sequence[str]) -> str:
    return " ".join(token if re.fullmatch(r"[\w!.:/,@%+=-]+", token) else f'"{token}"' for token in tokens)


def _following(tokens: Sequence[str], flag: str) -> list[str]:
    return [tokens[i + 1] for i, token in enumerate(tokens[:-1]) if token == flag]


def _canonical(tokens: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """A rule as the set of its options: the save programs print them in an order of their own."""
    options: list[list[str]] = []
    negated = False
    for token in tokens:
        if token == "!":
            negated = True
        elif token.startswith("-"):
            options.append((["!"] if negated else []) + [token])
            negated = False
        elif options:
            options[-1].append(token)
    return frozenset(tuple(option) for option in options if option[0] != "-m")
