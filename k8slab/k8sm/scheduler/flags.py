"""The rarer flags of `km scheduler`: where it keeps what outlives it, whom it is to Mesos, and its clockwork.

Some flags of the original have nothing left to do here. They are taken, so that its command lines work, and their help
says why they change nothing.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from k8slab.daemon import FlagParser
from k8slab.kube.durations import flag_seconds
from k8slab.mesos.authentication import Credentials

IDLE: Final[Mapping[str, str]] = {
    "kube-api-qps": "requests are not held back here",
    "kube-api-burst": "requests are not held back here",
    "contain-pod-resources": "pods run in the minion's engine, where their own limits hold them",
    "conntrack-max": "the proxy leaves the kernel's table as it is",
    "kubelet-sync-frequency": "the kubelet follows events",
    "graceful": "a standby of --ha takes over without being asked to",
    "mesos-authentication-provider": "only basic authentication is spoken",
    "executor-logv": "executors log as much as --v says",
    "auth-path": "the API's open port asks nobody",
}


@dataclass(frozen=True)
class Timing:
    """What the scheduler's configuration file may set; seconds."""

    offer_ttl: float = 5.0
    offer_linger_ttl: float = 120.0
    initial_implicit_reconciliation_delay: float = 15.0
    explicit_reconciliation_max_backoff: float = 120.0
    initial_pod_backoff: float = 1.0
    max_pod_backoff: float = 60.0
    reconcile_cooldown: float = 5.0


# Taken from a configuration file and without a meaning here.
_IDLE_SETTINGS: Final = frozenset(
    {
        "info-name",
        "listener-delay",
        "updates-backlog",
        "framework-id-refresh-interval",
        "explicit-reconciliation-abort-timeout",
        "http-handler-timeout",
        "http-bind-interval",
    }
)


def declare(parser: FlagParser) -> None:
    parser.flag(
        "etcd-servers",
        "the members of etcd, where the framework id is kept; without any it is an annotation of k8sm-scheduler",
        default="",
    )
    parser.flag("framework-store-uri", "etcd:// for --etcd-servers, or etcd://host:port,…", default="etcd://")
    parser.switch("ha", "stand by while another scheduler of this framework name leads", default=False)
    parser.flag("framework-weburi", "the address that Mesos shows people; this scheduler's own by default", default="")
    parser.flag("service-address", "the service address of k8sm-scheduler; any by default", default="")
    parser.flag("mesos-authentication-principal", "who this framework is to the master", default="")
    parser.flag("mesos-authentication-secret-file", "the file that has the principal's secret", default="")
    parser.switch("host-port-endpoints", "give every container port a port of the node (wildcard)", default=False)
    parser.switch("mesos-generate-task-discovery", "tell Mesos the pods' discovery labels and ports", default=False)
    parser.flag("static-pods-config", "a directory of pods that run on every minion", default="")
    parser.flag("reconcile-cooldown", "how long an unconfirmed launch is waited for before asking", default="5s")
    parser.flag("scheduler-config", "a file whose [scheduler] section sets delays", default="")
    for name, why in IDLE.items():
        parser.add_argument(f"--{name}", f"-{name}", nargs="?", metavar="VALUE", help=f"changes nothing: {why}")


def etcd_servers(uri: str, servers: str) -> tuple[str, ...]:
    """None named: (). Raises ValueError for a store that there is not."""
    where = urlsplit(uri)
    if where.scheme != "etcd":
        raise ValueError(f"--framework-store-uri={uri}: only etcd:// can keep the framework id")
    found = tuple(filter(None, (where.netloc or servers).split(",")))
    return tuple(one if "://" in one else f"http://{one}" for one in found)


def credentials(flags: Any) -> Credentials | None:
    """Raises ValueError when the secret is missing and OSError when it cannot be read."""
    principal, path = flags.mesos_authentication_principal, flags.mesos_authentication_secret_file
    if not principal:
        if path:
            raise ValueError("--mesos-authentication-secret-file needs --mesos-authentication-principal")
        return None
    if not path:
        raise ValueError("--mesos-authentication-principal needs --mesos-authentication-secret-file")
    return Credentials(principal, Path(path).read_text().strip())


def timing(path: str, *, reconcile_cooldown: float) -> Timing:
    """``path``: of an ini file, "" for none. Raises ValueError for what it cannot mean and OSError."""
    if not path:
        return Timing(reconcile_cooldown=reconcile_cooldown)
    parser = configparser.ConfigParser()
    try:
        parser.read_string(Path(path).read_text(), path)
        section = dict(parser["scheduler"]) if parser.has_section("scheduler") else {}
    except configparser.Error as error:
        raise ValueError(f"--scheduler-config: {' '.join(str(error).split())}") from error
    known = {field.name.replace("_", "-"): field.name for field in fields(Timing)}
    values: dict[str, float] = {"reconcile_cooldown": reconcile_cooldown}
    for name, text in section.items():
        if name in known:
            values[known[name]] = flag_seconds(f"--scheduler-config: {name}", text)
        elif name not in _IDLE_SETTINGS:
            raise ValueError(f"--scheduler-config: {name} is not known; known: {', '.join(known)}")
    return Timing(**values)
