"""The flags of `km dns`: kube-dns's names where it has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, Final

from k8slab.daemon import LAST_PORT, FlagParser, whole
from k8slab.kube.dns.forwarding import PORT, Server

HEALTHZ_PORT: Final = 8081
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Settings:
    """``cluster_ip``: the address of the service to be found under, "" for none. ``advertised``: where this server is
    reached from other nodes. ``name_servers``: whom to ask of other names, instead of those in ``resolv_conf``.
    ``port`` 0: no /healthz."""

    master: str
    domain: str
    dns_address: str
    dns_port: int
    advertised: str
    cluster_ip: str
    name_servers: tuple[Server, ...]
    resolv_conf: Path | None
    address: str
    port: int
    verbosity: int


def settings(argv: Sequence[str]) -> Settings:
    """Raises SystemExit(2) with one line for flags that are wrong."""
    parser = _parser()
    flags = parser.parse_args(list(argv))
    try:
        return _settings(flags)
    except ValueError as error:
        parser.error(str(error))
        raise


def _parser() -> FlagParser:
    parser = FlagParser(prog="km dns", allow_abbrev=False, description="Answers for the names of Kubernetes services.")
    parser.flag("master", "the API servers, separated by commas", default="")
    parser.flag("kube-master-url", "the same as --master", default="")
    parser.flag("cluster-domain", "the cluster's domain", default="cluster.local")
    parser.flag("domain", "the same as --cluster-domain", default="")
    parser.flag("dns-bind-address", "the address to answer on", default="0.0.0.0")
    parser.flag("dns-port", "the port to answer on, by UDP and TCP", default=str(PORT))
    parser.flag("cluster-dns", "the service address to be found under; without it no service is made", default="")
    parser.flag("advertise-address", "the address behind that service; the bind address by default", default="")
    parser.flag("nameservers", "whom to ask of other names: address or address:port, separated by commas", default="")
    parser.flag(
        "resolv-conf", 'the file whose name servers are asked otherwise; "" for none', default="/etc/resolv.conf"
    )
    parser.flag("address", "the address of /healthz and /metrics", default="0.0.0.0")
    parser.flag("port", "their port; 0 for none", default=str(HEALTHZ_PORT))
    parser.flag("healthz-port", "the same as --port", default="")
    parser.flag("v", "how much to log", default="0")
    return parser


def _settings(flags: Any) -> Settings:
    master = flags.kube_master_url or flags.master
    if not master:
        raise ValueError("the API servers are not known: give --master")
    address = _ipv4("--dns-bind-address", flags.dns_bind_address)
    advertised = _ipv4("--advertise-address", flags.advertise_address) if flags.advertise_address else address
    cluster_ip = _ipv4("--cluster-dns", flags.cluster_dns) if flags.cluster_dns else ""
    if cluster_ip and advertised == "0.0.0.0":
        raise ValueError("--cluster-dns needs --advertise-address: where is this server to be reached?")
    return Settings(
        master=",".join(one if "://" in one else f"http://{one}" for one in master.split(",") if one),
        domain=_domain(flags.domain or flags.cluster_domain),
        dns_address=address,
        dns_port=whole("--dns-port", flags.dns_port, 1, LAST_PORT),
        advertised=advertised,
        cluster_ip=cluster_ip,
        name_servers=tuple(_server(one) for one in flags.nameservers.split(",") if one),
        resolv_conf=Path(flags.resolv_conf) if flags.resolv_conf else None,
        address=flags.address,
        port=whole(
            "--healthz-port" if flags.healthz_port else "--port", flags.healthz_port or flags.port, 0, LAST_PORT
        ),
        verbosity=whole("--v", flags.v),
    )


def _domain(text: str) -> str:
    domain = text.lower().removesuffix(".")
    if len(domain) > 200 or not all(_LABEL.fullmatch(one) for one in domain.split(".")):
        raise ValueError(f"--cluster-domain: {text!r} is no domain such as cluster.local")
    return domain


def _ipv4(flag: str, text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ValueError(f"{flag}: {text!r} is no address such as 10.0.0.10") from None


def _server(text: str) -> Server:
    host, port = text, str(PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        return str(ip_address(host)), whole("--nameservers", port, 1, LAST_PORT)
    except ValueError:
        raise ValueError(f"--nameservers: {text!r} is no address such as 10.0.0.53 or 10.0.0.53:53") from None
