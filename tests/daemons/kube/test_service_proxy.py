"""`km proxy` on a node of its own: real rules, real connections, with either backend of iptables."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.kube.network import BRIDGE, NODE, OUTSIDE, POD_A, POD_B, PODS, SERVICES, Network, legacy_programs
from tests.daemons.processes import Daemon, Supervisor, eventually

KM = [sys.executable, "-c", "import sys; from k8slab.k8sm.km import main; sys.exit(main())"]
TABLES = ("filter", "nat")


@dataclass
class Node:
    network: Network
    proxy: Daemon
    env: dict[str, str]

    def chains(self) -> list[str]:
        """Every chain of the proxy's, and every rule of others that names one."""
        saved = [self.network.run("node", "iptables-save", "-t", table, env=self.env) for table in TABLES]
        return [line for line in "".join(saved).splitlines() if "KUBE-" in line]

    def iptables(self, *words: str) -> None:
        self.network.run("node", "iptables", "-w", "5", *words, env=self.env)

    def get(self, url: str) -> tuple[int, str]:
        """Status and body of what the node itself is told."""
        said = self.network.run("node", "curl", "-sS", "-w", "\n%{http_code}", url, check=False)
        body, _, code = said.rpartition("\n")
        return int(code or 0), body


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The node with etcd and an API server on it, two pods that serve, and somebody outside who does too."""
    supervisor = Supervisor(tmp_path_factory.mktemp("network"))
    try:
        made = Network(supervisor)
        folder = supervisor.directory
        etcd = made.daemon("node", "etcd", ["etcd", f"--data-dir={folder / 'etcd'}", "--logger=zap"])
        etcd.ready = lambda: '"true"' in made.run("node", "curl", "-s", "http://127.0.0.1:2379/health", check=False)
        etcd.start()
        made.daemon(
            "node",
            "apiserver",
            [
                *KM,
                "apiserver",
                "--address=127.0.0.1",
                "--port=8080",
                "--secure-port=6443",
                f"--cert-dir={folder / 'certificates'}",
                f"--advertise-address={NODE}",
                "--etcd-servers=http://127.0.0.1:2379",
                f"--service-cluster-ip-range={SERVICES}",
            ],
        ).start()
        for name in ("pod-a", "pod-b", "outside"):
            made.serve(name, 8080, 5353)
        yield made
    finally:
        supervisor.close()


def start_proxy(network: Network, env: dict[str, str], *more: str) -> Daemon:
    argv = [
        *KM,
        "proxy",
        "--master=http://127.0.0.1:8080",
        "--hostname-override=node",
        f"--cluster-cidr={PODS}",
        "--pod-bridge-interface=pods0",
        "--iptables-sync-period=1s",
        "--iptables-min-sync-period=0s",
        "--v=2",
        *more,
    ]
    return network.daemon("node", "proxy", argv, env=env).start()


@pytest.fixture(scope="module", params=["nft", "legacy"])
def node(request: pytest.FixtureRequest, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp(request.param)
    path = os.environ["PATH"] if request.param == "nft" else legacy_programs(folder / "bin")
    if not path:
        pytest.skip("this machine has no legacy iptables")
    env = {"PATH": path, "XTABLES_LOCKFILE": str(folder / "lock")}
    one = Node(network, start_proxy(network, env), env)
    yield one
    one.proxy.stop()
    network.run("node", *KM, "proxy", "--cleanup", env=env)
    assert one.chains() == []


@pytest.fixture(autouse=True)
def nothing_left(network: Network) -> Iterator[None]:
    yield
    for name in ("web", "other"):
        for kind in ("/api/v1/namespaces/default/services", "/api/v1/namespaces/default/endpoints"):
            network.run("node", "curl", "-s", "-X", "DELETE", f"http://127.0.0.1:8080{kind}/{name}")
    network.api("DELETE", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")


def service(network: Network, name: str = "web", *, protocol: str = "TCP", **spec: Any) -> tuple[str, int]:
    """Its cluster address and node port (0 for none)."""
    port = {"port": 80, "targetPort": 8080, "protocol": protocol}
    body = {"metadata": {"name": name}, "spec": {"ports": [port], **spec}}
    made = network.api("POST", "/api/v1/namespaces/default/services", body)
    return made["spec"]["clusterIP"], made["spec"]["ports"][0].get("nodePort", 0)


def endpoints(
    network: Network, *addresses: str, name: str = "web", protocol: str = "TCP", local: tuple[str, ...] = ()
) -> None:
    """The service's endpoints, made or changed; ``local``: those that are on the node."""
    members = [{"ip": one, "nodeName": "node" if one in local else "elsewhere"} for one in addresses]
    subsets = [{"addresses": members, "ports": [{"port": 8080, "protocol": protocol}]}] if members else []
    body = {"metadata": {"name": name}, "subsets": subsets}
    there = network.api("GET", "/api/v1/namespaces/default/endpoints")["items"]
    path = "/api/v1/namespaces/default/endpoints"
    known = name in [one["metadata"]["name"] for one in there]
    network.api("PUT" if known else "POST", f"{path}/{name}" if known else path, body)


async def answers(
    network: Network, where: str, host: str, port: int, *expected: str, kind: str = "tcp", times: int = 12
) -> None:
    """Wait until so many connections in a row meet exactly the ``expected`` answers, each at least once."""
    deadline = asyncio.get_running_loop().time() + 15
    seen: set[str] = set()
    while seen != set(expected):
        left = deadline - asyncio.get_running_loop().time()
        assert left > 0, f"{where} at {host}:{port} hears {seen}, not {expected}"
        seen = set(await asyncio.to_thread(network.ask, where, host, port, times=times, kind=kind, seconds=1.0))


async def fails(network: Network, where: str, host: str, port: int, error: str) -> None:
    """Once: the kernel says no more than one "unreachable" a second to the same client."""
    await answers(network, where, host, port, error, times=1)


async def test_pods_and_the_node_reach_a_service(node: Node, network: Network) -> None:
    address, _ = service(network)
    endpoints(network, POD_A, POD_B, local=(POD_A, POD_B))
    await answers(network, "node", address, 80, f"pod-a {BRIDGE}", f"pod-b {BRIDGE}")
    # One that reaches itself is answered all the same; any other is seen with the address that it has.
    await answers(network, "pod-a", address, 80, f"pod-a {BRIDGE}", f"pod-b {POD_A}")
    # From beyond the pods' range, this node among it, the answer has to come back this way: the node asks in its name.
    network.shell("outside", f"ip route replace {SERVICES} via {NODE}")
    await answers(network, "outside", address, 80, f"pod-a {BRIDGE}", f"pod-b {BRIDGE}")


async def test_an_endpoint_elsewhere(node: Node, network: Network) -> None:
    address, _ = service(network)
    endpoints(network, OUTSIDE)
    await answers(network, "pod-a", address, 80, f"outside {POD_A}")


async def test_a_service_without_endpoints_refuses(node: Node, network: Network) -> None:
    address, port = service(network, type="NodePort", externalIPs=["192.168.77.9"])
    network.shell("outside", f"ip route replace 192.168.77.9/32 via {NODE}")
    for where, host, number in (
        ("node", address, 80),
        ("pod-a", address, 80),
        ("outside", NODE, port),
        ("outside", "192.168.77.9", 80),
    ):
        await fails(network, where, host, number, "ConnectionRefusedError")
    endpoints(network, POD_A)
    await answers(network, "pod-b", address, 80, f"pod-a {POD_B}")
    await answers(network, "outside", "192.168.77.9", 80, f"pod-a {BRIDGE}")
    endpoints(network)
    await fails(network, "pod-b", address, 80, "ConnectionRefusedError")


async def test_node_ports(node: Node, network: Network) -> None:
    _, port = service(network, type="NodePort")
    endpoints(network, POD_A)
    await answers(network, "outside", NODE, port, f"pod-a {BRIDGE}")
    await answers(network, "pod-b", NODE, port, f"pod-a {BRIDGE}")
    await answers(network, "node", NODE, port, f"pod-a {BRIDGE}")
    await answers(network, "node", "127.0.0.1", port, f"pod-a {BRIDGE}")


async def test_node_ports_of_local_endpoints_show_the_client(node: Node, network: Network) -> None:
    _, port = service(network, type="NodePort", externalTrafficPolicy="Local")
    endpoints(network, POD_A, OUTSIDE, local=(POD_A,))
    await answers(network, "outside", NODE, port, f"pod-a {OUTSIDE}")
    await answers(network, "pod-b", NODE, port, f"pod-a {POD_B}", f"outside {POD_B}")
    endpoints(network, OUTSIDE)
    await fails(network, "outside", NODE, port, "TimeoutError")


async def test_a_client_keeps_its_endpoint(node: Node, network: Network) -> None:
    config = {"clientIP": {"timeoutSeconds": 60}}
    address, _ = service(network, sessionAffinity="ClientIP", sessionAffinityConfig=config)
    endpoints(network, POD_A, POD_B)

    async def one_answer() -> bool:
        seen = {one.split()[0] for one in await asyncio.to_thread(network.ask, "outside", address, 80, times=30)}
        return len(seen) == 1 and seen < {"pod-a", "pod-b"}

    network.shell("outside", f"ip route replace {SERVICES} via {NODE}")
    await eventually(one_answer, what="thirty connections meet one endpoint")
    (before,) = {one.split()[0] for one in network.ask("outside", address, 80, times=30)}
    # The one that it was kept at goes: the client is given to another.
    endpoints(network, POD_B if before == "pod-a" else POD_A)
    await answers(network, "outside", address, 80, f"{'pod-b' if before == 'pod-a' else 'pod-a'} {BRIDGE}")


async def test_datagrams(node: Node, network: Network) -> None:
    address, _ = service(network, protocol="UDP")
    endpoints(network, POD_A, POD_B, protocol="UDP")
    await answers(network, "node", address, 80, f"pod-a {BRIDGE}", f"pod-b {BRIDGE}", kind="udp")


async def test_datagrams_of_one_flow_follow_the_endpoints(node: Node, network: Network) -> None:
    address, _ = service(network, protocol="UDP")

    async def until(*expected: str) -> None:
        async def probe() -> bool:
            seen = await asyncio.to_thread(network.ask, "pod-b", address, 80, kind="udp", seconds=0.3, source=40000)
            return seen == list(expected)

        await eventually(probe, timeout=15, what=f"the flow hears {expected}")

    endpoints(network, POD_A, protocol="UDP")
    await until(f"pod-a {POD_B}")
    endpoints(network, OUTSIDE, protocol="UDP")
    await until(f"outside {POD_B}")


async def test_slices_go_before_endpoints(node: Node, network: Network) -> None:
    address, _ = service(network)
    endpoints(network, POD_A)
    await answers(network, "node", address, 80, f"pod-a {BRIDGE}")
    members = [
        {"addresses": [POD_B], "conditions": {"ready": True}},
        {"addresses": [OUTSIDE], "conditions": {"ready": False}},
    ]
    body = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": members,
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
    }
    network.api("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", body)
    await answers(network, "node", address, 80, f"pod-b {BRIDGE}")


async def test_the_api_itself_is_a_service(node: Node, network: Network) -> None:
    async def version() -> bool:
        words = ("curl", "-sk", "--max-time", "3", "https://10.0.0.1/version")
        return "gitVersion" in await asyncio.to_thread(network.run, "pod-a", *words, check=False)

    await eventually(version, what="a pod asks the API for its version")


async def test_what_others_have_is_theirs_and_what_is_lost_comes_back(node: Node, network: Network) -> None:
    address, _ = service(network)
    endpoints(network, POD_A)
    await answers(network, "node", address, 80, f"pod-a {BRIDGE}")
    node.iptables("-t", "nat", "-N", "KUBE-OF-ANOTHER")
    node.iptables("-t", "nat", "-A", "PREROUTING", "-j", "KUBE-OF-ANOTHER")
    node.iptables("-t", "nat", "-F", "OUTPUT")
    node.iptables("-t", "nat", "-F", "KUBE-SERVICES")
    await answers(network, "node", address, 80, f"pod-a {BRIDGE}")
    try:
        assert len([line for line in node.chains() if line.endswith("-j KUBE-SERVICES") and "OUTPUT" in line]) == 2
        assert [line for line in node.chains() if "KUBE-OF-ANOTHER" in line] == [
            ":KUBE-OF-ANOTHER - [0:0]",
            "-A PREROUTING -j KUBE-OF-ANOTHER",
        ]
    finally:
        node.iptables("-t", "nat", "-D", "PREROUTING", "-j", "KUBE-OF-ANOTHER")
        node.iptables("-t", "nat", "-X", "KUBE-OF-ANOTHER")


async def test_a_service_that_is_gone_leaves_no_chain(node: Node, network: Network) -> None:
    service(network, type="NodePort", sessionAffinity="ClientIP")
    endpoints(network, POD_A, POD_B)

    async def written() -> bool:
        return any("default/web" in line for line in node.chains())

    async def gone() -> bool:
        return not any("default/web" in line or "KUBE-EXT-" in line for line in node.chains())

    await eventually(written, what="the service has rules")
    network.api("DELETE", "/api/v1/namespaces/default/services/web")
    await eventually(gone, what="none of its rules is left")


async def test_it_says_how_it_is(node: Node, network: Network) -> None:
    code, body = node.get("http://127.0.0.1:10256/healthz")
    assert (code, sorted(json.loads(body))) == (200, ["currentTime", "lastUpdated", "nodeEligible"])
    assert node.get("http://127.0.0.1:10249/proxyMode") == (200, "iptables")
    service(network)

    async def counted() -> bool:
        return 'kubeproxy_sync_proxy_rules_iptables_total{table="nat"}' in node.get("http://127.0.0.1:10249/metrics")[1]

    await eventually(counted, what="its rules are counted")


async def test_services_outlive_the_proxy(node: Node, network: Network) -> None:
    address, _ = service(network)
    endpoints(network, POD_A)
    await answers(network, "pod-b", address, 80, f"pod-a {POD_B}")
    node.proxy.kill()
    assert network.ask("pod-b", address, 80, times=3) == [f"pod-a {POD_B}"] * 3
    endpoints(network, POD_B)
    node.proxy = start_proxy(network, node.env)
    await answers(network, "pod-a", address, 80, f"pod-b {POD_A}")


async def test_a_bridge_whose_packets_meet_no_rules(node: Node, network: Network) -> None:
    """Pods on it would answer one another directly, with addresses that nobody asked."""
    switch = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    node.proxy.stop()
    network.shell("node", f"echo 0 > {switch}")
    try:
        node.proxy = start_proxy(network, node.env)
        address, _ = service(network)
        endpoints(network, POD_A, POD_B, local=(POD_A, POD_B))
        await answers(network, "pod-a", address, 80, f"pod-a {BRIDGE}", f"pod-b {BRIDGE}")
        node.proxy.stop()
    finally:
        network.shell("node", f"echo 1 > {switch}")
    node.proxy = start_proxy(network, node.env)


async def test_rules_that_are_refused_are_told(node: Node, network: Network, tmp_path: Path) -> None:
    """A second proxy whose iptables-restore fails: it is not healthy, and says why."""
    broken = tmp_path / "iptables-restore"
    broken.write_text("#!/bin/sh\necho no such table >&2\nexit 3\n")
    broken.chmod(0o755)
    env = {**node.env, "PATH": f"{tmp_path}:{node.env['PATH']}"}
    argv = [*KM, "proxy", "--master=http://127.0.0.1:8080", "--healthz-port=10356", "--metrics-port=0"]
    second = network.daemon("node", "broken-proxy", argv, env=env).start(wait=False)

    async def told() -> bool:
        return "no such table" in second.log.read_text()

    try:
        await eventually(told, what="it says what iptables said")
        assert node.get("http://127.0.0.1:10356/healthz")[0] == 503
    finally:
        second.stop()
