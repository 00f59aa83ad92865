"""Every name of the cluster with its records, kept as services and endpoints change; asking it is one look-up.

What changed is worked in when the next question comes, so that a hundred changes at once are one.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, Final

from k8slab.kube.dns.records import PODS, SCHEMA_VERSION, SERVICES, Row, endpoints_of, rows_of
from k8slab.kube.informer import key_of

log = logging.getLogger(__name__)

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
_POD: Final = re.compile(r"(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})")

Object = dict[str, Any]
# What a name has: data by type. Empty for one that exists and has none itself.
Records = Mapping[str, Sequence[str]]


class Index:
    """``domain``: the cluster's, in small letters and without the last dot. Its callbacks are an informer's."""

    def __init__(self, domain: str, name_server: str) -> None:
        """``name_server``: the name that the domain gives for its own server."""
        self.domain = domain
        self.name_server = name_server
        self.serial = int(time.time())
        self._services: dict[str, Object] = {}
        self._endpoints: dict[str, Object] = {}
        self._slices: dict[str, dict[str, Object]] = defaultdict(dict)
        self._namespaces: set[str] = set()
        self._changed: dict[str, None] = {}
        # Of each name: the records that each service gives it.
        self._names: dict[str, dict[str, list[Row]]] = defaultdict(dict)
        self._rows: dict[str, list[Row]] = {}
        # How many names are at or below each name of the domain.
        self._inhabited: Counter[str] = Counter([domain, f"{SERVICES}.{domain}", f"{PODS}.{domain}"])
        self._own(Row(f"dns-version.{domain}", "TXT", SCHEMA_VERSION))
        self._own(Row(domain, "NS", name_server))

    def service_changed(self, kind: str, service: Object, old: Object | None) -> None:
        self._keep(self._services, kind, service)
        self._changed[key_of(service)] = None

    def endpoints_changed(self, kind: str, endpoints: Object, old: Object | None) -> None:
        self._keep(self._endpoints, kind, endpoints)
        self._changed[key_of(endpoints)] = None

    def slice_changed(self, kind: str, found: Object, old: Object | None) -> None:
        """A slice may be given to another service, so the one that had it is looked at too."""
        if old is not None and (before := _owner(old)):
            self._slices[before].pop(key_of(old), None)
            self._changed[before] = None
        if owner := _owner(found):
            self._keep(self._slices[owner], kind, found)
            self._changed[owner] = None

    def namespace_changed(self, kind: str, namespace: Object, old: Object | None) -> None:
        name = namespace["metadata"]["name"].lower()
        step = 1 if kind == "ADDED" else -1 if kind == "DELETED" else 0
        self._count(f"{name}.{SERVICES}.{self.domain}", step)
        self._count(f"{name}.{PODS}.{self.domain}", step)
        (self._namespaces.discard if kind == "DELETED" else self._namespaces.add)(name)

    def has(self, name: str) -> bool:
        """Whether the name lies in the cluster's domain."""
        return name == self.domain or name.endswith(f".{self.domain}")

    def find(self, name: str) -> Records | None:
        """What a name (in small letters, without the last dot) has; None when there is no such name."""
        if self._changed:
            self._refresh()
        if given := self._names.get(name):
            found: dict[str, list[str]] = defaultdict(list)
            for rows in given.values():
                for row in rows:
                    found[row.type].append(row.data)
            return found
        if self._inhabited[name] > 0:
            return {}
        return self._pod(name)

    def __len__(self) -> int:
        return len(self._names)

    def _pod(self, name: str) -> Records | None:
        """Any address has a name in any namespace; deprecated by the specification, and required by it."""
        label, _, rest = name.partition(".")
        namespace, _, parent = rest.partition(".")
        match = _POD.fullmatch(label)
        if not match or parent != f"{PODS}.{self.domain}" or namespace not in self._namespaces:
            return None
        try:
            return {"A": (str(IPv4Address(".".join(match.groups()))),)}
        except ValueError:
            return None

    def _refresh(self) -> None:
        for key in self._changed:
            for row in self._rows.pop(key, ()):
                self._forget(key, row)
            service = self._services.get(key)
            slices = self._slices.get(key) or {}
            if service is None:
                if not slices:
                    self._slices.pop(key, None)
                continue
            self._rows[key] = self._made(key, service, [slices[one] for one in sorted(slices)])
            for row in self._rows[key]:
                self._names[row.name].setdefault(key, []).append(row)
                self._count(row.name, 1)
        self._changed.clear()
        # Secondary servers would tell by it what is new; it never goes back.
        self.serial = max(self.serial + 1, int(time.time()))

    def _made(self, key: str, service: Object, slices: Sequence[Object]) -> list[Row]:
        try:
            return rows_of(service, endpoints_of(service, slices, self._endpoints.get(key)), self.domain)
        except (AttributeError, KeyError, TypeError, ValueError):
            # An object of a form that nobody foresaw must not cost the others their names.
            log.exception("service %s has no names", key)
            return []

    def _forget(self, key: str, row: Row) -> None:
        self._count(row.name, -1)
        given = self._names[row.name]
        given.pop(key, None)
        if not given:
            del self._names[row.name]

    def _own(self, row: Row) -> None:
        self._names[row.name][""] = [row]

    def _count(self, name: str, step: int) -> None:
        """A name exists for as long as one below it does, even if it has no record itself."""
        while step and self.has(name) and name != self.domain:
            self._inhabited[name] += step
            if not self._inhabited[name]:
                del self._inhabited[name]
            name = name.partition(".")[2]

    @staticmethod
    def _keep(where: dict[str, Object], kind: str, obj: Object) -> None:
        if kind == "DELETED":
            where.pop(key_of(obj), None)
        else:
            where[key_of(obj)] = obj


def _owner(found: Object) -> str:
    name = (found["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
    return f"{found['metadata']['namespace']}/{name}" if name else ""
