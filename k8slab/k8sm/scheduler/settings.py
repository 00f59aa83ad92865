"""The flags of `km scheduler`, under the original's names, and what they come to."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k8slab.daemon import LAST_PORT, FlagParser, number, whole
from k8slab.k8sm import mapping, static_pods
from k8slab.k8sm.resources import Defaults
from k8slab.k8sm.scheduler.flags import Timing, credentials, declare, etcd_servers, timing
from k8slab.k8sm.scheduler.matching import BINPACK, SPREAD
from k8slab.kube import quantity
from k8slab.kube.durations import flag_seconds
from k8slab.mesos.authentication import Credentials

# About 146 years: a framework that is away stays known, as the original wants it (2^62 nanoseconds).
FAILOVER_TIMEOUT: Final = float(2**62) / 1e9
PORT: Final = 10251
DEFAULT_TIMING: Final = Timing()


@dataclass(frozen=True)
class Settings:
    """``node_monitor_period``, ``reconcile_interval``, ``failover_timeout``: seconds.

    ``pod_roles``: whose resources a pod takes that names no roles, () for all that are offered.
    """

    address: str
    port: int
    advertised_address: str
    master: str
    user: str
    api_servers: str
    framework_name: str
    failover_timeout: float
    checkpoint: bool
    role: str
    hostname: str
    defaults: Defaults
    executor: mapping.Executor
    node_monitor_period: float
    reconcile_interval: float
    verbosity: int
    etcd_servers: tuple[str, ...] = ()
    ha: bool = False
    web_uri: str = ""
    service_address: str = ""
    credentials: Credentials | None = None
    strategy: str = SPREAD
    pod_roles: tuple[str, ...] = ()
    wildcard_ports: bool = False
    task_discovery: bool = False
    timing: Timing = DEFAULT_TIMING


def settings(argv: Sequence[str]) -> Settings:
    """Raises SystemExit(2) with one line for flags that are wrong."""
    parser = _parser()
    flags = parser.parse_args(list(argv))
    try:
        roles = [role for role in flags.mesos_framework_roles.split(",") if role and role != "*"]
        if len(roles) > 1:
            raise ValueError("--mesos-framework-roles takes at most one role beside *")
        port = whole("--port", flags.port, 1, LAST_PORT)
        if flags.advertised_address:
            whole("--advertised-address", flags.advertised_address.rpartition(":")[2], 1, LAST_PORT)
        advertised = flags.advertised_address or _reachable(flags.address, port)
        pod_roles = tuple(role for role in flags.mesos_default_pod_roles.split(",") if role)
        if unknown := [role for role in pod_roles if role not in ("*", *roles)]:
            raise ValueError(f"--mesos-default-pod-roles: {unknown[0]} is not in --mesos-framework-roles")
        if flags.placement_strategy not in (SPREAD, BINPACK):
            raise ValueError(f"--placement-strategy is {SPREAD} or {BINPACK}")
        etcd = etcd_servers(flags.framework_store_uri, flags.etcd_servers)
        if flags.ha and not etcd:
            raise ValueError("--ha needs --etcd-servers, where schedulers find out which of them leads")
        defaults = Defaults(
            _cores("--default-container-cpu-limit", flags.default_container_cpu_limit),
            _megabytes("--default-container-mem-limit", flags.default_container_mem_limit),
        )
        static = static_pods.NONE
        if flags.static_pods_config:
            static = static_pods.read(Path(flags.static_pods_config), defaults)
        return Settings(
            address=flags.address,
            port=port,
            advertised_address=advertised,
            master=flags.mesos_master,
            user=flags.mesos_user,
            api_servers=_urls(flags.api_servers),
            framework_name=flags.framework_name,
            failover_timeout=number("--failover-timeout", flags.failover_timeout),
            checkpoint=flags.checkpoint,
            role=roles[0] if roles else "*",
            hostname=flags.hostname_override or socket.gethostname(),
            defaults=defaults,
            executor=mapping.executor(
                _executor_command(flags),
                round(number(*_executors(flags, "cpus")) + static.cpus, 3),
                round(_megabytes(*_executors(flags, "mem")) + static.mem, 3),
                static.data,
            ),
            node_monitor_period=flag_seconds("--node-monitor-period", flags.node_monitor_period, some=True),
            reconcile_interval=flag_seconds("--reconcile-interval", flags.reconcile_interval),
            verbosity=whole("--v", flags.v),
            etcd_servers=etcd,
            ha=flags.ha,
            web_uri=flags.framework_weburi,
            service_address=flags.service_address,
            credentials=credentials(flags),
            strategy=flags.placement_strategy,
            pod_roles=pod_roles,
            wildcard_ports=flags.host_port_endpoints,
            task_discovery=flags.mesos_generate_task_discovery,
            timing=timing(
                flags.scheduler_config,
                reconcile_cooldown=flag_seconds("--reconcile-cooldown", flags.reconcile_cooldown),
            ),
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))
        raise


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="km scheduler", allow_abbrev=False, description="Places Kubernetes pods on the offers of Mesos."
    )
    parser.flag("address", "the address to serve on", default="0.0.0.0")
    parser.flag("port", "the port to serve on", default=str(PORT))
    parser.flag("advertised-address", "host:port under which others reach this scheduler")
    parser.flag("mesos-master", "zk://host:port,…/path or host:port", default="localhost:5050")
    parser.flag("mesos-user", "the user that executors run as", default="root")
    parser.flag("api-servers", "the API servers, separated by commas", required=True)
    parser.flag("cluster-dns", "the cluster's DNS server, for the pods' resolvers", default="")
    parser.flag("cluster-domain", "the cluster's DNS domain", default="cluster.local")
    parser.flag("framework-name", "the framework's name in Mesos", default="Kubernetes")
    parser.flag(
        "failover-timeout", "seconds for which Mesos keeps a framework that is away", default=str(FAILOVER_TIMEOUT)
    )
    parser.switch("checkpoint", "let agents restart without losing pods", default=True)
    parser.flag("mesos-framework-roles", "the role to register with", default="*")
    parser.flag(
        "mesos-default-pod-roles",
        "whose resources pods take that name no roles, in this order; all that are offered unless set",
        default="",
    )
    parser.flag("placement-strategy", "spread pods over the agents, or binpack them on few", default=SPREAD)
    parser.flag("executor-cpus", "cores for each executor", default=None)
    parser.flag("executor-mem", "MB for each executor", default=None)
    parser.flag("mesos-executor-cpus", "the same as --executor-cpus", default="0.25")
    parser.flag("mesos-executor-mem", "the same as --executor-mem", default="128")
    parser.flag("default-container-cpu-limit", "cores of a container that names none", default="0.25")
    parser.flag("default-container-mem-limit", "MB of a container that names none", default="64")
    parser.flag("hostname-override", "the host name to register with")
    parser.flag("km-path", "the program that agents run as executor")
    parser.flag("executor-path", "an executor that is a program of its own, in place of km's", default="")
    parser.flag("proxy-path", "a service proxy that is a program of its own, in place of km's", default="")
    parser.flag("mesos-launch-grace-period", "a launched pod must be bound within this time", default="5m0s")
    parser.flag("executor-suicide-timeout", "an executor without pods for so long ends; 0 never", default="20m0s")
    parser.flag("kubelet-docker-endpoint", "the engine that executors use", default="")
    parser.flag("kubelet-root-dir", "where executors keep the pods' files", default="")
    parser.flag("kubelet-pod-infra-container-image", "the image of the pause container", default="")
    parser.flag(
        "node-monitor-period",
        "how often the agents' nodes are refreshed, and say themselves that they live",
        default="10s",
    )
    parser.flag("reconcile-interval", "how often all tasks are reconciled", default="300s")
    parser.switch("run-proxy", "run the service proxy beside the executor", default=True)
    parser.flag("proxy-mode", "the service proxy's mode: iptables", default="iptables")
    parser.flag("proxy-logv", "how much the service proxy logs", default="")
    parser.flag("minion-log-dir", "where executors and proxies log; the sandbox by default", default="")
    declare(parser)
    parser.flag("v", "how much to log", default="0")
    return parser


def _executor_command(flags: object) -> list[str]:
    given = vars(flags)
    if given["proxy_mode"] != "iptables":
        raise ValueError(f"--proxy-mode: {given['proxy_mode']!r} is not served; iptables is")
    # Minions are told the same, and none would start.
    flag_seconds("--executor-suicide-timeout", given["executor_suicide_timeout"])
    flag_seconds("--mesos-launch-grace-period", given["mesos_launch_grace_period"])
    whole("--proxy-logv", given["proxy_logv"] or "0")
    program = given["km_path"] or _own_program()
    command = [program, "minion", f"--run-proxy={str(given['run_proxy']).lower()}"]
    command.append(f"--api-servers={_urls(given['api_servers'])}")
    command.append(f"--suicide-timeout={given['executor_suicide_timeout']}")
    command.append(f"--launch-grace-period={given['mesos_launch_grace_period']}")
    command.append(f"--node-status-update-frequency={given['node_monitor_period']}")
    command.append(f"--cluster-domain={given['cluster_domain']}")
    optional = {
        "cluster-dns": given["cluster_dns"],
        "docker-endpoint": given["kubelet_docker_endpoint"],
        "root-dir": given["kubelet_root_dir"],
        "pod-infra-container-image": given["kubelet_pod_infra_container_image"],
        "executor-path": given["executor_path"],
        "proxy-path": given["proxy_path"],
        "proxy-logv": given["proxy_logv"],
        "log-dir": given["minion_log_dir"],
    }
    command += [f"--{name}={text}" for name, text in optional.items() if text]
    return [*command, f"--v={given['v']}"] if given["v"] != "0" else command


def _own_program() -> str:
    own = Path(sys.argv[0])
    if own.name == "km" and own.exists():
        return str(own.resolve())
    return shutil.which("km") or "/usr/local/bin/km"


def _executors(flags: object, what: str) -> tuple[str, str]:
    """The flag that says how much of it executors get, and what it says."""
    given = vars(flags)
    if given[f"executor_{what}"]:
        return f"--executor-{what}", given[f"executor_{what}"]
    return f"--mesos-executor-{what}", given[f"mesos_executor_{what}"]


def _megabytes(flag: str, text: str) -> float:
    return number(flag, text.removesuffix("MB").removesuffix("M"))


def _cores(flag: str, text: str) -> float:
    try:
        found = quantity.cores(text)
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from None
    if found < 0:
        raise ValueError(f"{flag}: {text!r} is less than nothing")
    return found


def _urls(servers: str) -> str:
    return ",".join(one if "://" in one else f"http://{one}" for one in servers.split(",") if one)


def _reachable(address: str, port: int) -> str:
    if address not in ("0.0.0.0", "::", ""):
        return f"{address}:{port}"
    found = socket.getaddrinfo(os.uname().nodename, port, type=socket.SOCK_STREAM, family=socket.AF_INET)
    return f"{found[0][4][0]}:{port}"
