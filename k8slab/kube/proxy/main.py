"""`km proxy` (and `kube-proxy`): makes this node forward what is sent to services, by rules of its packet filter."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

import yaml
from aiohttp import web

from k8slab import daemon
from k8slab.daemon import LAST_PORT, FlagParser, whole
from k8slab.kube.client import KubeClient
from k8slab.kube.durations import flag_seconds
from k8slab.kube.proxy import iptables, rules
from k8slab.kube.proxy.health import health_application, metrics_application
from k8slab.kube.proxy.metrics import Metrics
from k8slab.kube.proxy.programs import ProgramFailed
from k8slab.kube.proxy.proxier import Proxier
from k8slab.kube.proxy.rules import LocalTraffic

log = logging.getLogger(__name__)

LOCALHOST_SWITCH: Final = Path("/proc/sys/net/ipv4/conf/all/route_localnet")
BRIDGE_SWITCH: Final = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


@dataclass(frozen=True)
class Endpoint:
    """Where to serve; ``port`` 0 for nowhere."""

    address: str
    port: int


@dataclass(frozen=True)
class Settings:
    """``sync_period``, ``min_sync_period``: seconds. ``pod_bridge``: the interface behind which this node's pods are,
    empty when that is not known."""

    master: str
    node: str
    healthz: Endpoint
    metrics: Endpoint
    sync_period: float
    min_sync_period: float
    pod_bridge: str
    rules: rules.Settings
    cleanup: bool
    verbosity: int


def run(argv: Sequence[str]) -> int:
    flags = settings(argv)
    daemon.configure_logging(flags.verbosity - 1)
    return daemon.run(lambda stop: _cleanup() if flags.cleanup else serve(flags, stop))


def settings(argv: Sequence[str]) -> Settings:
    """Raises SystemExit(2) with one line for flags that are wrong."""
    parser = _parser()
    flags = parser.parse_args(list(argv))
    try:
        if flags.proxy_mode not in ("", "iptables"):
            raise ValueError(f"--proxy-mode: {flags.proxy_mode!r} is not served; iptables is")
        master = _servers(flags.master) or (_kubeconfig(Path(flags.kubeconfig)) if flags.kubeconfig else "")
        if not master and not flags.cleanup:
            raise ValueError("the API servers are not known: give --master or --kubeconfig")
        networks = tuple(str(IPv4Network(one)) for one in flags.nodeport_addresses.split(",") if one)
        return Settings(
            master=master,
            node=flags.hostname_override or socket.gethostname().lower(),
            healthz=_endpoint("healthz", flags.healthz_bind_address, flags.healthz_port, "10256"),
            metrics=_endpoint("metrics", flags.metrics_bind_address, flags.metrics_port, "10249"),
            sync_period=flag_seconds("--iptables-sync-period", flags.iptables_sync_period, some=True),
            min_sync_period=flag_seconds("--iptables-min-sync-period", flags.iptables_min_sync_period),
            pod_bridge=flags.pod_bridge_interface,
            rules=rules.Settings(
                mark=1 << whole("--iptables-masquerade-bit", flags.iptables_masquerade_bit, 0, 31),
                masquerade_all=flags.masquerade_all,
                local=_local(flags.detect_local_mode, flags.cluster_cidr, flags.pod_bridge_interface, flags),
                node_port_addresses=networks,
                localhost_node_ports=flags.iptables_localhost_nodeports,
            ),
            cleanup=flags.cleanup,
            verbosity=whole("--v", flags.v),
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
        raise


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="km proxy", allow_abbrev=False, description="Forwards what is sent to Kubernetes services."
    )
    parser.flag("master", "the API servers, separated by commas", default="")
    parser.flag("kubeconfig", "a file that says where the API server is", default="")
    parser.flag("hostname-override", "this node's name; the host's by default", default="")
    parser.flag("bind-address", "the address to serve on where nothing else says so", default="0.0.0.0")
    parser.flag("proxy-mode", "iptables", default="iptables")
    parser.flag("cluster-cidr", "the pods' range: what comes from elsewhere takes the node's address", default="")
    parser.flag(
        "detect-local-mode",
        "how pods' packets are known: ClusterCIDR, BridgeInterface, InterfaceNamePrefix",
        default="",
    )
    parser.flag("pod-bridge-interface", "the bridge of this node's pods", default="")
    parser.flag("pod-interface-name-prefix", "how the interfaces of this node's pods begin", default="")
    parser.switch("masquerade-all", "let all that is sent to services take the node's address")
    parser.flag("iptables-masquerade-bit", "the bit of the mark that says so", default="14")
    parser.flag("iptables-sync-period", "how often all rules are looked at", default="30s")
    parser.flag("iptables-min-sync-period", "the least time between two changes", default="1s")
    parser.switch("iptables-localhost-nodeports", "serve node ports at localhost too", default=True)
    parser.flag("nodeport-addresses", "networks in which node ports are served; all by default", default="")
    parser.flag("healthz-bind-address", "host:port or host of /healthz", default="")
    parser.flag("healthz-port", "the port of /healthz; 0 for none", default=None)
    parser.flag("metrics-bind-address", "host:port or host of /metrics", default="127.0.0.1")
    parser.flag("metrics-port", "the port of /metrics; 0 for none", default=None)
    parser.switch("cleanup", "take all rules of the proxy away and end")
    parser.flag("v", "how much to log", default="0")
    return parser


def _local(mode: str, cluster: str, bridge: str, flags: object) -> LocalTraffic | None:
    prefix = vars(flags)["pod_interface_name_prefix"]
    network = str(IPv4Network(cluster)) if cluster else ""
    known = {
        "ClusterCIDR": ("--cluster-cidr", network, "-s {}"),
        "BridgeInterface": ("--pod-bridge-interface", bridge, "-i {}"),
        "InterfaceNamePrefix": ("--pod-interface-name-prefix", prefix, "-i {}+"),
    }
    if mode and mode not in known:
        raise ValueError(f"--detect-local-mode: {mode!r} is not served; {', '.join(known)} are")
    flag, value, match = known[mode or "ClusterCIDR"]
    if not value:
        if mode:
            raise ValueError(f"--detect-local-mode={mode} needs {flag}")
        return None
    return LocalTraffic(match.format(value), f"! {match.format(value)}")


def _endpoint(what: str, address: str, port: str | None, default: str) -> Endpoint:
    host, colon, own = address.rpartition(":")
    flag, text = f"--{what}-port", port
    if text is None:
        flag, text = (f"--{what}-bind-address", own) if colon else (flag, default)
    return Endpoint((host if colon else address) or "0.0.0.0", whole(flag, text, 0, LAST_PORT))


def _servers(master: str) -> str:
    return ",".join(one if "://" in one else f"http://{one}" for one in master.split(",") if one)


def _kubeconfig(path: Path) -> str:
    """The server of the file's current context."""
    try:
        config = yaml.safe_load(path.read_text())
        contexts = {one["name"]: one["context"] for one in config["contexts"]}
        clusters = {one["name"]: one["cluster"] for one in config["clusters"]}
        return str(clusters[contexts[config["current-context"]]["cluster"]]["server"])
    except (yaml.YAMLError, KeyError, TypeError) as trouble:
        raise ValueError(f"--kubeconfig: {path} names no server in its current context ({trouble})") from None


async def _cleanup() -> int:
    try:
        if text := rules.cleanup(await iptables.present()):
            await iptables.restore(text)
    except ProgramFailed as failure:
        log.error("the rules were not taken away: %s", failure)
        return 1
    return 0


async def serve(flags: Settings, stop: asyncio.Event) -> int:
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(KubeClient(flags.master))
        proxier = Proxier(
            client,
            _fitting(flags),
            metrics,
            node=flags.node,
            sync_period=flags.sync_period,
            min_sync_period=flags.min_sync_period,
            pod_bridge=flags.pod_bridge,
            on_synced=daemon.notify_ready,
        )
        for where, application in (
            (flags.healthz, health_application(proxier, 2 * flags.sync_period)),
            (flags.metrics, metrics_application(metrics)),
        ):
            if where.port:
                runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, where.address, where.port, reuse_address=True).start()
        await daemon.work_until(stop, proxier.run())
    return 0


def _fitting(flags: Settings) -> rules.Settings:
    """The rules' settings as far as this node's kernel allows them."""
    wanted = flags.rules
    if wanted.localhost_node_ports and not _switched_on(LOCALHOST_SWITCH):
        log.warning("node ports are not served at localhost: %s cannot be set", LOCALHOST_SWITCH)
        wanted = replace(wanted, localhost_node_ports=False)
    if BRIDGE_SWITCH.exists() and BRIDGE_SWITCH.read_text().strip() == "1":
        return wanted
    if flags.pod_bridge:
        log.info("what pods of %s send one another by a service takes the node's address", flags.pod_bridge)
        return replace(wanted, unfiltered_bridge=flags.pod_bridge)
    log.warning("Missing br-netfilter module or unset sysctl br-nf-call-iptables; proxy may not work as intended")
    return wanted


def _switched_on(switch: Path) -> bool:
    try:
        if switch.read_text().strip() != "1":
            switch.write_text("1")
    except OSError:
        return False
    return True
