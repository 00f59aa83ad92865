"""The package ``kubernetes``: the framework in one machine, supervised, with or without an etcd of its own."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

import k8slab
from k8slab.topology.packages.package import Options, Package

# Of each option that is a port.
PORTS = (
    "apiserver-port",
    "apiserver-secure-port",
    "controller-manager-port",
    "scheduler-port",
    "etcd-server-port",
    "etcd-server-peer-port",
    "dns-healthz-port",
)
# Resolvers ask nowhere else.
DNS_PORT = 53


# Both go into a shell's line, and the name must be one that can be asked for.
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = rf"{LABEL}(\.{LABEL})*\.?"
DOMAIN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
# With the names of a service and of its pods before it, it is still a name.
LONGEST_DOMAIN = 63
NEVER_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f'\"\\]")


def _checked_url(url: str) -> str:
    wrong = ValueError(f"{url!r} is no address such as http://host:port")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "http" or port == 0 or not re.fullmatch(HOST, host) or NEVER_IN_A_URL.search(url):
        raise wrong
    return url


def _webhook(url: str) -> str:
    return _checked_url(url) if url else url


def _server(url: str) -> str:
    parts = urlsplit(_checked_url(url))
    if url != f"http://{parts.netloc}" or "@" in parts.netloc or parts.port is None:
        raise ValueError(f"{url!r} is no address such as http://host:port")
    return url


def _servers(text: str) -> str:
    return ",".join(_server(one.strip().rstrip("/")) for one in text.split(",")) if text.strip() else ""


def _domain(text: str) -> str:
    if len(text) > LONGEST_DOMAIN or not re.fullmatch(DOMAIN, text):
        raise ValueError(f"{text!r} is no domain such as cluster.local")
    return text


Port = Annotated[int, Field(ge=1, le=65535)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63)]


class KubernetesOptions(Options):
    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"))

    framework_name: Word = Field("kubernetes", description="The framework's name in Mesos.")
    apiserver_port: Port = Field(25502, description="Where the API server listens without asking who it is.")
    apiserver_secure_port: int = Field(6443, ge=0, le=65535, description="Where it listens with TLS; 0 for nowhere.")
    controller_manager_port: Port = Field(10252, description="Where the controller manager listens.")
    scheduler_port: Port = Field(10251, description="Where the scheduler listens.")
    etcd_servers: Annotated[str, AfterValidator(_servers)] = Field(
        "",
        description="An etcd that is deployed elsewhere: http://host:port, separated by commas. Without it one runs in "
        "the package's own machine, and dies with it.",
    )
    etcd_server_port: Port = Field(4001, description="Where that etcd of its own serves clients.")
    etcd_server_peer_port: Port = Field(4002, description="Where that etcd of its own would serve peers.")
    enable_dns: bool = Field(
        False, description="The kube-dns add-on: pods find services by their names, at the tenth service address."
    )
    dns_domain: Annotated[str, AfterValidator(_domain)] = Field(
        "kubernetes.local", description="The cluster's domain, in which services and pods have their names."
    )
    dns_healthz_port: Port = Field(8081, description="Where the DNS server says how it fares.")
    executor_cpus: float = Field(0.25, gt=0, le=1024, description="Cores of each executor.")
    executor_mem: float = Field(128, ge=32, le=1e6, description="MB of each executor.")
    failover_timeout: float = Field(
        604800, ge=0, le=1e9, description="Seconds for which Mesos keeps the framework's pods while it is away."
    )
    log_level: int = Field(1, ge=0, le=10, description="How much the daemons log.")
    webhook_url: Annotated[str, AfterValidator(_webhook)] = Field(
        "", description="Where to POST when the package starts, when it is ready, and when one of its daemons fails."
    )
    webhook_content_type: str = Field(
        "application/x-www-form-urlencoded",
        pattern=r"^[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+$",
        description="The content type of those calls; their bodies are name=value&name=value.",
    )

    def clashes(self) -> list[tuple[str, str]]:
        given = self.model_dump(by_alias=True)
        unused = {"etcd-server-port", "etcd-server-peer-port"} if self.etcd_servers else set()
        unused |= set() if self.enable_dns else {"dns-healthz-port"}
        used: dict[int, str] = {DNS_PORT: "enable-dns"} if self.enable_dns else {}
        found = []
        for name in PORTS:
            port = given[name]
            if port == 0 or name in unused:
                continue
            first = used.setdefault(port, name)
            if first != name:
                found.append((name, f"{port} is {first}'s already."))
        return found

    def daemons_left_out(self) -> set[str]:
        out = set() if self.webhook_url else {"monitor"}
        out |= {"etcd-server"} if self.etcd_servers else set()
        return out | (set() if self.enable_dns else {"dns"})

    def notes(self) -> list[str]:
        notes = []
        if not self.etcd_servers:
            notes.append("etcd runs in the package's own machine: what it keeps is gone when that machine is.")
        return notes


KUBERNETES = Package(
    name="kubernetes",
    version=k8slab.__version__,
    description="Kubernetes as a framework on Mesos: API server, controller manager and scheduler in one machine.",
    options=KubernetesOptions,
    file="kubernetes.yaml",
)
