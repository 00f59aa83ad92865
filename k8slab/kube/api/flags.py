"""The flags of ``km apiserver``, read and judged."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from k8slab import daemon
from k8slab.daemon import LAST_PORT, whole
from k8slab.kube.api.admission import PLUGINS
from k8slab.kube.api.admission.pods import EVICTING

DESCRIPTION: Final = "Serves the Kubernetes API from objects kept in etcd."
DEFAULT_RANGE: Final = "10.0.0.0/24"
ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
MODES: Final = ("AlwaysAllow", "RBAC")


def parse_flags(argv: Sequence[str]) -> argparse.Namespace:
    """Exits with 2 and one line for what cannot be meant."""
    parser = daemon.FlagParser(prog="km apiserver", description=DESCRIPTION, allow_abbrev=False)
    _declare(parser)
    flags = parser.parse_args(list(argv))
    flags.host = flags.address or flags.insecure_bind_address or "127.0.0.1"
    tolerations = {
        "--default-not-ready-toleration-seconds": flags.default_not_ready_toleration_seconds,
        "--default-unreachable-toleration-seconds": flags.default_unreachable_toleration_seconds,
    }
    try:
        port, text = ("--port", flags.port) if flags.port else ("--insecure-port", flags.insecure_port or "8080")
        flags.bound = whole(port, text, 1, LAST_PORT)
        flags.secure_bound = whole("--secure-port", flags.secure_port, 0, LAST_PORT)
        flags.network = _network(flags.service_cluster_ip_range or flags.portal_net or DEFAULT_RANGE)
        seconds = [whole(name, text) for name, text in tolerations.items()]
        flags.verbosity = whole("--v", flags.v)
    except ValueError as trouble:
        parser.error(str(trouble))
    flags.toleration_seconds = dict(zip(EVICTING, seconds, strict=True))
    _judge(parser, flags)
    return flags


def _declare(parser: daemon.FlagParser) -> None:
    for name in ("address", "insecure-bind-address"):
        parser.flag(name, "the address to listen on (default 127.0.0.1)")
    for name in ("port", "insecure-port"):
        parser.flag(name, "the port to listen on without asking who it is (default 8080)")
    parser.flag("etcd-servers", "etcd's client addresses: http://host:port, separated by commas")
    for name in ("service-cluster-ip-range", "portal-net"):
        parser.flag(name, "the addresses that services get (default 10.0.0.0/24)")
    parser.flag("advertise-address", "the address at which pods reach this server")
    parser.flag("cloud-provider", "the cloud that the cluster runs on", default="")
    parser.flag(
        "mesos-master", "as the first versions took it: the framework tells this server of its nodes", default=""
    )
    parser.switch("health-check-minions", "not done here: the controller manager minds the nodes' health")
    parser.flag("storage", "where objects are kept: etcd or memory", default="etcd")
    parser.flag("v", "how much to log: 0, or more for debugging", default="0")
    parser.flag("secure-port", "the port to listen on with TLS (default 0: none)", default="0")
    parser.flag("bind-address", "the address to listen on with TLS", default="0.0.0.0")
    parser.flag("tls-cert-file", "the server's certificate, PEM; made in --cert-dir when it is missing")
    parser.flag("tls-private-key-file", "the key of the server's certificate, PEM")
    parser.flag("cert-dir", "where a certificate is made", default="/var/run/kubernetes")
    parser.flag("client-ca-file", "the authority whose certificates are users: CN is the name, O are the groups")
    parser.flag("token-auth-file", 'tokens of users, lines of token,user,uid,"groups"')
    parser.switch("anonymous-auth", "let who brings no credentials in as system:anonymous", default=True)
    parser.flag("authorization-mode", "who may do what: AlwaysAllow or RBAC", default="AlwaysAllow")
    parser.flag("service-account-key-file", "keys that service accounts' tokens are checked with, separated by commas")
    parser.flag("service-account-signing-key-file", "the key that signs them; shared through etcd when not given")
    parser.flag("service-account-issuer", "who issues them", default=ISSUER)
    parser.flag("api-audiences", "for whom they are, separated by commas (default: the issuer)", default="")
    for name, state in (("not-ready", "is not ready"), ("unreachable", "cannot be reached")):
        stays = f"how long a pod that does not say so stays on a node that {state}, in seconds"
        parser.flag(f"default-{name}-toleration-seconds", stays, default="300")
    parser.flag("disable-admission-plugins", "judges of new objects that do not judge, separated by commas")
    parser.flag("audit-log-path", "a file that gets a line for each request; - is standard output")


def _judge(parser: daemon.FlagParser, flags: argparse.Namespace) -> None:
    if flags.network.num_addresses < 8:
        parser.error(f"the service range {flags.network} is too small: it needs eight addresses")
    if flags.health_check_minions:
        parser.error(
            "--health-check-minions: nodes' health is the controller manager's to mind; false is what there is"
        )
    if flags.storage not in ("etcd", "memory"):
        parser.error(f"--storage is etcd or memory, not {flags.storage!r}")
    servers = _words(flags.etcd_servers)
    if flags.storage == "etcd" and not servers:
        parser.error("--etcd-servers is required")
    if any(one.startswith("https://") for one in servers):
        parser.error("--etcd-servers: only http:// is spoken")
    flags.servers = servers
    if flags.authorization_mode not in MODES:
        parser.error(f"--authorization-mode is {' or '.join(MODES)}, not {flags.authorization_mode!r}")
    if bool(flags.tls_cert_file) is not bool(flags.tls_private_key_file):
        parser.error("--tls-cert-file and --tls-private-key-file go together")
    flags.disabled_plugins = _words(flags.disable_admission_plugins)
    for plugin in flags.disabled_plugins:
        if plugin not in PLUGINS:
            parser.error(f"--disable-admission-plugins: {plugin!r} is none of {', '.join(PLUGINS)}")
    flags.audiences = _words(flags.api_audiences)
    flags.account_keys = [Path(one) for one in _words(flags.service_account_key_file)]
    flags.signing_key = Path(flags.service_account_signing_key_file) if flags.service_account_signing_key_file else None
    files = {
        "--tls-cert-file": flags.tls_cert_file,
        "--tls-private-key-file": flags.tls_private_key_file,
        "--client-ca-file": flags.client_ca_file,
        "--token-auth-file": flags.token_auth_file,
        "--service-account-signing-key-file": flags.signing_key,
        **{f"--service-account-key-file ({path})": path for path in flags.account_keys},
    }
    for name, path in files.items():
        if path and not Path(path).is_file():
            parser.error(f"{name}: {path} is no file")


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as trouble:
        raise ValueError(f"--service-cluster-ip-range: {trouble}") from None


def _words(text: str | None) -> list[str]:
    return [one.strip() for one in (text or "").split(",") if one.strip()]
