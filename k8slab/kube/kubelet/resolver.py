"""How names are resolved inside a pod: its resolv.conf, by its policy, and its hosts file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_MOST_SERVERS: Final = 3
_MOST_SEARCHES: Final = 32
_MOST_SEARCH_CHARACTERS: Final = 2048
_LOCALHOST: Final = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class DnsConfig:
    """``servers``: the cluster's DNS, empty when there is none; ``domain``: "cluster.local"; ``node``: the node's own
    resolv.conf, for pods that do not ask the cluster."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"
    node: Path = Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Resolver:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        lines = [f"nameserver {server}" for server in self.servers]
        lines += [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Resolver:
    """Of a resolv.conf; as in the C library the last "search" or "options" counts."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        match line.split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *names]:
                searches = tuple(names)
            case ["options", *given]:
                options = tuple(given)
    return Resolver(tuple(servers), searches, options)


def resolver_of(pod: Pod, cluster: DnsConfig, node: Resolver) -> tuple[Resolver, list[str]]:
    """The pod's resolver, and a sentence for each of the C library's limits that it would break and was cut to."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    wants_cluster = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.get("hostNetwork"))
    if policy == "None":
        base = Resolver()
    elif wants_cluster and cluster.servers:
        namespace = pod["metadata"]["namespace"]
        own = (f"{namespace}.svc.{cluster.domain}", f"svc.{cluster.domain}", cluster.domain)
        # The node's options are for the node's servers.
        base = Resolver(cluster.servers, _once([*own, *node.searches]), ("ndots:5",))
    else:
        base = node
    asked = spec.get("dnsConfig") or {}
    options = [
        f"{one['name']}:{one['value']}" if one.get("value") else one["name"] for one in asked.get("options") or ()
    ]
    whole = Resolver(
        _once([*base.servers, *(asked.get("nameservers") or ())]),
        _once([*base.searches, *(asked.get("searches") or ())]),
        _merged(base.options, options),
    )
    return _limited(whole)


def hosts_of(pod: Pod, address: str, hostname: str, domain: str, node_hosts: str) -> str:
    """The pod's hosts file. ``domain``: its own in the cluster, may be empty; ``node_hosts``: the node's own file."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        text = f"# Kubernetes-managed hosts file (host network).\n{node_hosts}"
    else:
        names = f"{hostname}.{domain}\t{hostname}" if domain else hostname
        text = f"# Kubernetes-managed hosts file.\n{_LOCALHOST}{address}\t{names}\n"
    if aliases := spec.get("hostAliases"):
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join([one["ip"], *(one.get("hostnames") or ())]) + "\n" for one in aliases)
    return text


def names_of(pod: Pod, cluster_domain: str) -> tuple[str, str]:
    """The pod's host name and its domain, which is empty unless it has a subdomain."""
    spec, meta = pod["spec"], pod["metadata"]
    hostname = (spec.get("hostname") or meta["name"])[:63].rstrip("-.")
    domain = f"{spec['subdomain']}.{meta['namespace']}.svc.{cluster_domain}" if spec.get("subdomain") else ""
    return hostname, domain


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _merged(before: Iterable[str], after: Iterable[str]) -> tuple[str, ...]:
    """Options by their names: later ones take the place of earlier ones."""
    return tuple({option.partition(":")[0]: option for option in [*before, *after]}.values())


def _limited(wanted: Resolver) -> tuple[Resolver, list[str]]:
    said = []
    servers, searches = wanted.servers[:_MOST_SERVERS], wanted.searches[:_MOST_SEARCHES]
    while len(" ".join(searches)) > _MOST_SEARCH_CHARACTERS:
        searches = searches[:-1]
    if servers != wanted.servers:
        why = "Nameserver limits were exceeded, some nameservers have been omitted"
        said.append(f"{why}, the applied nameserver line is: {' '.join(servers)}")
    if searches != wanted.searches:
        why = "Search Line limits were exceeded, some search paths have been omitted"
        said.append(f"{why}, the applied search line is: {' '.join(searches)}")
    return Resolver(servers, searches, wanted.options), said
