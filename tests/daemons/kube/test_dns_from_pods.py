"""Names as a pod asks for them: the C library, a resolv.conf of the kubelet's, the service's rules, the name server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from k8slab.kube.kubelet.resolver import DnsConfig, Resolver, resolver_of
from tests.daemons.kube.network import BRIDGE, NODE, PODS, SERVICES, Network
from tests.daemons.processes import Supervisor, eventually

KM = [sys.executable, "-c", "import sys; from k8slab.k8sm.km import main; sys.exit(main())"]
DOMAIN = "kubernetes.local"
SERVER = "10.0.0.10"
API = "http://127.0.0.1:8080"


def name_server(address: str) -> list[str]:
    flags = [f"--master={API}", f"--dns-bind-address={address}", f"--address={address}", f"--cluster-domain={DOMAIN}"]
    return [*flags, f"--cluster-dns={SERVER}", "--resolv-conf="]


@dataclass
class Pod:
    network: Network
    resolv_conf: Path

    def getent(self, database: str, name: str) -> list[str]:
        """Addresses (or names) that the C library finds; none for a name that it does not."""
        script = f"mount --bind {self.resolv_conf} /etc/resolv.conf && getent {database} {name}"
        said = self.network.run("pod-a", "unshare", "--mount", "sh", "-c", script, check=False)
        return sorted({line.split()[0 if database.startswith("ahosts") else 1] for line in said.splitlines()})


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    supervisor = Supervisor(tmp_path_factory.mktemp("names"))
    folder = supervisor.directory
    try:
        network = Network(supervisor)
        etcd = network.daemon("node", "etcd", ["etcd", f"--data-dir={folder / 'etcd'}", "--logger=zap"])
        etcd.ready = lambda: '"true"' in network.run("node", "curl", "-s", "http://127.0.0.1:2379/health", check=False)
        etcd.start()
        api = ["--address=127.0.0.1", "--port=8080", f"--cert-dir={folder / 'certificates'}"]
        api += [f"--advertise-address={NODE}", "--etcd-servers=http://127.0.0.1:2379"]
        network.daemon("node", "apiserver", [*KM, "apiserver", *api, f"--service-cluster-ip-range={SERVICES}"]).start()
        proxy = [f"--master={API}", "--hostname-override=node", f"--cluster-cidr={PODS}"]
        proxy += ["--pod-bridge-interface=pods0", "--iptables-min-sync-period=0s"]
        for command, flags in (("proxy", proxy), ("dns", name_server(NODE))):
            # Rules of a network of its own need a lock of their own.
            env = {"XTABLES_LOCKFILE": str(folder / "lock")}
            network.daemon("node", command, [*KM, command, *flags], env=env).start()
        asked = {"metadata": {"namespace": "default"}, "spec": {}}
        resolver, _ = resolver_of(asked, DnsConfig((SERVER,), DOMAIN), Resolver())
        file = folder / "resolv.conf"
        file.write_text(resolver.text())
        yield Pod(network, file)
    finally:
        supervisor.close()


async def test_the_c_library_finds_services(pod: Pod) -> None:
    body = {"metadata": {"name": "frontend"}, "spec": {"ports": [{"port": 80}]}}
    address = pod.network.api("POST", "/api/v1/namespaces/default/services", body)["spec"]["clusterIP"]

    async def found() -> bool:
        return pod.getent("ahosts", "frontend") == [address]

    await eventually(found, what="the rules lead to the name server, and it knows the service")
    for name in ("frontend.default", "frontend.default.svc", f"frontend.default.svc.{DOMAIN}"):
        assert pod.getent("ahosts", name) == [address], name
    assert pod.getent("ahosts", f"frontend.default.{DOMAIN}") == [address], "the name of the first releases"
    assert pod.getent("hosts", address) == [f"frontend.default.svc.{DOMAIN}"]
    # Of the other family there is none, which is no reason to say that there is no such name.
    assert pod.getent("ahostsv6", f"frontend.default.svc.{DOMAIN}") == [f"::ffff:{address}"]
    assert pod.getent("ahosts", f"nobody.default.svc.{DOMAIN}") == []


async def test_what_a_datagram_does_not_hold_comes_over_tcp(pod: Pod) -> None:
    pod.network.api(
        "POST",
        "/api/v1/namespaces/default/services",
        {"metadata": {"name": "crowd"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}},
    )
    addresses = sorted(f"10.99.0.{number}" for number in range(1, 101))
    pod.network.api(
        "POST",
        "/api/v1/namespaces/default/endpoints",
        {
            "metadata": {"name": "crowd"},
            "subsets": [{"addresses": [{"ip": one} for one in addresses], "ports": [{"port": 80}]}],
        },
    )

    async def found() -> bool:
        return pod.getent("ahosts", "crowd") == addresses

    await eventually(found, what="all hundred are found")


async def test_several_servers_share_the_service_while_they_answer(pod: Pod) -> None:
    def endpoints() -> list[str]:
        found = pod.network.api("GET", "/api/v1/namespaces/kube-system/endpoints/kube-dns")["subsets"]
        return sorted(one["ip"] for subset in found for one in subset["addresses"])

    async def both() -> bool:
        return endpoints() == sorted([NODE, BRIDGE])

    async def first() -> bool:
        return endpoints() == [NODE]

    assert await first()
    second = pod.network.daemon("node", "dns", [*KM, "dns", *name_server(BRIDGE)]).start()
    await eventually(both, what="both are asked")
    for _ in range(20):
        assert pod.getent("ahosts", "kubernetes") == ["10.0.0.1"]
    assert await both(), "neither drives the other out"
    second.kill()
    await eventually(first, what="the one that is left is asked alone")

    async def found() -> bool:
        return pod.getent("ahosts", "kubernetes") == ["10.0.0.1"]

    await eventually(found, what="the rules have followed")
    for _ in range(20):
        assert pod.getent("ahosts", "kubernetes") == ["10.0.0.1"]
