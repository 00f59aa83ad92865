"""The lab's rules where Docker uses nftables by itself (Docker Engine 29 on, when told to) or no firewall at all.

Docker wants its table ``ip docker-bridges`` to itself, and lets pass what is not for its own bridges. Only when its
forward chain's policy is to drop does the lab put accepts there, for what one table drops no other can save; the
engine makes the table anew when it starts, and the switch puts them in again. Address translation adds up across
tables, so it gets a table of the lab's own, which goes as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from k8slab.lab.switch import names

_FORWARD = ("ip", "docker-bridges", "filter-FORWARD")
_OWN = "k8slab-"


class Nftables:
    """``run`` runs nft and raises ``refused`` when it fails, FileNotFoundError when it is not installed."""

    def __init__(
        self,
        mark: str,
        *,
        run: Callable[[Sequence[str], str], str],
        refused: type[Exception],
        ours: Callable[[str], bool],
    ) -> None:
        self._mark, self._run, self._refused, self._ours = mark, run, refused, ours

    def drops(self) -> bool:
        return any(each.get("chain", {}).get("policy") == "drop" for each in self._listed("chain", *_FORWARD))

    def accept(self, rules: Sequence[str]) -> None:
        """Put rules (nft's words, without their comment) into Docker's chain, unless they are there."""
        if not self._accepts():
            place = " ".join(_FORWARD)
            self._apply([f'insert rule {place} {rule} comment "{self._mark}"' for rule in rules])

    def translate(self, lab: str, rule: str) -> bool:
        """Make the lab's table with one rule of translation, or make it anew; false when nft is not installed."""
        table = f"ip {_OWN}{names.short(lab)}"
        lines = [
            f"add table {table}",
            f"delete table {table}",
            f"add table {table}",
            f"add chain {table} postrouting {{ type nat hook postrouting priority 100; policy accept; }}",
            f'add rule {table} postrouting {rule} comment "{self._mark}"',
        ]
        try:
            self._apply(lines)
        except FileNotFoundError:
            return False
        return True

    def found(self) -> list[tuple[str, str]]:
        """(lab, rule) of each of the lab's, or of any lab's."""
        place = " ".join(_FORWARD)
        accepts = [(lab, f"nft rule {place} handle {handle}") for handle, lab in self._accepts()]
        return accepts + [(lab, f"nft table ip {table}") for table, lab in self._tables()]

    def remove(self) -> list[str]:
        removed = [text for _, text in self.found()]
        if removed:
            self._apply([f"delete {text.removeprefix('nft ')}" for text in removed])
        return removed

    def _accepts(self) -> list[tuple[int, str]]:
        """(handle, lab) of each rule of a lab in Docker's chain."""
        rules = (each["rule"] for each in self._listed("chain", *_FORWARD) if "rule" in each)
        return [(r["handle"], names.lab_of_comment(r["comment"])) for r in rules if self._ours(r.get("comment", ""))]

    def _tables(self) -> list[tuple[str, str]]:
        """(table, lab) of each table that is a lab's own: its rule says whose."""
        tables = (each["table"]["name"] for each in self._listed("tables", "ip") if "table" in each)
        found = []
        for table in (name for name in tables if name.startswith(_OWN)):
            rules = (each.get("rule", {}) for each in self._listed("table", "ip", table))
            comments = (rule.get("comment", "") for rule in rules)
            found += [(table, names.lab_of_comment(comment)) for comment in comments if self._ours(comment)]
        return found

    def _listed(self, *what: str) -> list[dict[str, Any]]:
        try:
            listing = self._run(["nft", "--json", "--handle", "list", *what], "")
        except (FileNotFoundError, self._refused):
            # Refused is what it does when there is no such table.
            return []
        found: list[dict[str, Any]] = json.loads(listing)["nftables"]
        return found

    def _apply(self, lines: Sequence[str]) -> None:
        self._run(["nft", "-f", "-"], "\n".join(lines) + "\n")
