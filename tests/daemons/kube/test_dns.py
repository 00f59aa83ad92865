"""`km dns` beside a real API server, asked over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

import dns.asyncquery
import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import pytest

from k8slab.kube.client import KubeClient, Object
from tests.daemons.kube.conftest import Api
from tests.daemons.kube.dns_server import (
    DOMAIN,
    NODE,
    SERVICE_IP,
    SOON,
    Server,
    becomes,
    endpoint_slice,
    service,
    start,
)
from tests.daemons.processes import Etcd, Supervisor, eventually, free_port

LABELS = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "KubeDNS"}


@pytest.fixture(scope="module")
def server(session_supervisor: Supervisor, api: Api) -> Iterator[Server]:
    """One that publishes itself, and knows nobody to pass questions on to."""
    one = start(
        session_supervisor, api.url, "--resolv-conf=", f"--cluster-dns={SERVICE_IP}", f"--advertise-address={NODE}"
    )
    yield one
    assert one.daemon.stop() == 0


async def test_the_api_is_found_as_soon_as_the_server_is_ready(server: Server, api: Api) -> None:
    for tcp in (False, True):
        assert await server.records(f"kubernetes.default.svc.{DOMAIN}", tcp=tcp) == ["10.0.0.1"]
        assert await server.records(f"kubernetes.default.svc.{DOMAIN}", "AAAA", tcp=tcp) == ["NOERROR"]
        assert await server.records(f"nobody.default.svc.{DOMAIN}", tcp=tcp) == ["NXDOMAIN"]
    assert await server.records("1.0.0.10.in-addr.arpa", "PTR") == [f"kubernetes.default.svc.{DOMAIN}."]
    assert await server.records(f"_https._tcp.kubernetes.default.svc.{DOMAIN}", "SRV") == [
        f"0 100 443 kubernetes.default.svc.{DOMAIN}."
    ]


async def test_the_old_name_is_that_of_the_first_releases(server: Server) -> None:
    assert await server.records(f"kubernetes.default.{DOMAIN}") == ["10.0.0.1"]


async def test_a_service_that_comes_changes_and_goes_is_told_within_a_second(
    server: Server, client: KubeClient, namespace: str
) -> None:
    name = f"web.{namespace}.svc.{DOMAIN}"
    assert await server.records(name) == ["NXDOMAIN"]
    made = await client.create("services", service("web"), namespace)
    await becomes(server, name, [made["spec"]["clusterIP"]])
    external = {"spec": {"type": "ExternalName", "externalName": f"kubernetes.default.svc.{DOMAIN}", "clusterIP": None}}
    await client.patch("services", "web", external, namespace)
    await becomes(server, name, sorted(["10.0.0.1", f"kubernetes.default.svc.{DOMAIN}."]))
    await client.delete("services", "web", namespace)
    await becomes(server, name, ["NXDOMAIN"])


async def test_endpoints_of_a_headless_service_come_and_go(server: Server, client: KubeClient, namespace: str) -> None:
    own = f"pets.{namespace}.svc.{DOMAIN}"
    await client.create("services", service("pets", clusterIP="None"), namespace)
    cat: Object = {"addresses": ["10.1.0.2"], "hostname": "cat", "conditions": {"ready": True}}
    late: Object = {"addresses": ["10.1.0.3"], "conditions": {"ready": False}}
    await client.create("endpointslices", endpoint_slice("pets", cat, late), namespace)
    await becomes(server, own, ["10.1.0.2"])
    assert await server.records(f"cat.{own}") == ["10.1.0.2"]
    assert await server.records(f"_http._tcp.{own}", "SRV") == [f"0 100 8080 cat.{own}."]
    assert await server.records("2.0.1.10.in-addr.arpa", "PTR") == [f"cat.{own}."]
    both = {"endpoints": [cat, {**late, "conditions": {"ready": True}}]}
    await client.patch("endpointslices", "pets-1", both, namespace)
    await becomes(server, own, ["10.1.0.2", "10.1.0.3"])
    assert await server.records(f"10-1-0-3.{own}") == ["10.1.0.3"]
    await client.delete("endpointslices", "pets-1", namespace)
    await becomes(server, own, ["NXDOMAIN"])


async def test_a_resolver_goes_the_way_of_a_pods(server: Server, client: KubeClient, namespace: str) -> None:
    """As resolv.conf of a pod has it: short names through the list, and more than a datagram holds over TCP."""
    await client.create("services", service("crowd", clusterIP="None"), namespace)
    members = [{"addresses": [f"10.1.2.{one}"]} for one in range(1, 101)]
    await client.create("endpointslices", endpoint_slice("crowd", *members), namespace)
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], server.port
    resolver.search = [dns.name.from_text(one) for one in (f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN)]
    resolver.ndots = 5

    async def found(name: str) -> int:
        # At last the name is asked for by itself, and that is not the cluster's.
        with contextlib.suppress(dns.resolver.NXDOMAIN, dns.resolver.NoNameservers):
            return len(await resolver.resolve(name, "A", search=True))
        return 0

    async def there() -> bool:
        return await found("crowd") == 100

    await eventually(there, timeout=SOON, what="all are known by the short name")
    for name in (f"crowd.{namespace}", f"crowd.{namespace}.svc", f"crowd.{namespace}.svc.{DOMAIN}"):
        assert await found(name) == 100, name
    assert await found("nobody") == 0
    cut = await server.ask(f"crowd.{namespace}.svc.{DOMAIN}")
    assert cut.flags & dns.flags.TC


async def test_other_names_are_refused_when_nobody_else_is_known(server: Server) -> None:
    for tcp in (False, True):
        assert await server.records("example.org", tcp=tcp) == ["REFUSED"]


async def test_whatever_is_sent_it_goes_on(server: Server) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anybody:
        for wire in (b"", b"x", bytes(12), b"\xff" * 600, b"\0\1\1\0\0\1" + b"\xc0\x0c" * 20):
            anybody.sendto(wire, ("127.0.0.1", server.port))
    for said in (b"\0", struct.pack("!H", 3) + b"abc", struct.pack("!H", 65535) + bytes(100)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as stream:
            stream.sendall(said)
    assert await server.records(f"kubernetes.default.svc.{DOMAIN}") == ["10.0.0.1"]


async def test_one_stream_carries_many_questions(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for kind in ("A", "AAAA"):
        wire = dns.message.make_query(f"kubernetes.default.svc.{DOMAIN}", kind).to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
    counts = []
    for _ in range(2):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        counts.append(len(dns.message.from_wire(await reader.readexactly(length)).answer))
    writer.close()
    assert counts == [1, 0]


async def test_it_is_found_at_its_service(server: Server, client: KubeClient) -> None:
    made = await client.get("services", "kube-dns", "kube-system")
    assert made["spec"]["clusterIP"] == SERVICE_IP
    assert not made["spec"].get("selector")
    ports = [(one["name"], one["port"], one["protocol"], one["targetPort"]) for one in made["spec"]["ports"]]
    assert ports == [("dns", 53, "UDP", server.port), ("dns-tcp", 53, "TCP", server.port)]
    assert made["metadata"]["labels"] == LABELS
    (subset,) = (await client.get("endpoints", "kube-dns", "kube-system"))["subsets"]
    assert [one["ip"] for one in subset["addresses"]] == [NODE]
    assert {(one["port"], one["protocol"]) for one in subset["ports"]} == {(server.port, "UDP"), (server.port, "TCP")}
    assert await server.records(f"kube-dns.kube-system.svc.{DOMAIN}") == [SERVICE_IP]
    assert await server.records(DOMAIN, "NS") == [f"kube-dns.kube-system.svc.{DOMAIN}."]


async def test_its_service_is_mended(server: Server, client: KubeClient) -> None:
    async def is_right() -> bool:
        with contextlib.suppress(Exception):
            made = await client.get("services", "kube-dns", "kube-system")
            (subset,) = (await client.get("endpoints", "kube-dns", "kube-system"))["subsets"]
            right = made["spec"]["clusterIP"] == SERVICE_IP and not made["spec"].get("selector")
            labelled = made["metadata"]["labels"].get("kubernetes.io/name") == "KubeDNS"
            ports = [one["targetPort"] for one in made["spec"]["ports"]] == [server.port, server.port]
            return right and labelled and ports and [one["ip"] for one in subset["addresses"]] == [NODE]
        return False

    wrong_port = {"spec": {"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}}
    wrong_labels = {"metadata": {"labels": {"kubernetes.io/name": None}}}
    wrong_place = {"subsets": [{"addresses": [{"ip": "10.9.9.8"}], "ports": [{"port": 53}]}]}

    async def moved() -> None:
        await client.delete("services", "kube-dns", "kube-system")
        # The server may be quicker; then it is the one that stays.
        with contextlib.suppress(Exception):
            moved = {**service("kube-dns"), "metadata": {"name": "kube-dns", "labels": LABELS}}
            await client.create("services", moved, "kube-system")

    async def patched(resource: str, patch: Object) -> None:
        await client.patch(resource, "kube-dns", patch, "kube-system")

    for harm in (
        patched("services", wrong_port),
        patched("services", wrong_labels),
        patched("endpoints", wrong_place),
        client.delete("endpoints", "kube-dns", "kube-system"),
        client.delete("services", "kube-dns", "kube-system"),
        moved(),
    ):
        await harm
        await eventually(is_right, timeout=5, what="the service is as it should be")


@pytest.mark.parametrize(
    "claim",
    [
        {"spec": {"selector": {"k8s-app": "coredns"}}},
        {"metadata": {"labels": {"kubernetes.io/cluster-service": None}}},
    ],
)
async def test_a_service_that_is_somebody_elses_is_left_alone_until_it_goes(
    server: Server, client: KubeClient, claim: Object
) -> None:
    async def is_published() -> bool:
        return await client.find("endpoints", "kube-dns", "kube-system") is not None

    async def is_said() -> bool:
        return "delete it, or start without --cluster-dns" in server.daemon.log.read_text()[before:]

    await eventually(is_published, timeout=5, what="the service is there, and its endpoints are")
    before = len(server.daemon.log.read_text())
    theirs = await client.patch("services", "kube-dns", claim, "kube-system")
    await eventually(is_said, timeout=5, what="it is said to be somebody else's")
    await client.delete("endpoints", "kube-dns", "kube-system")
    await asyncio.sleep(1)
    assert await client.get("services", "kube-dns", "kube-system") == theirs
    assert not await is_published()
    await client.delete("services", "kube-dns", "kube-system")
    await eventually(is_published, timeout=5, what="it is its own again")
    made = await client.get("services", "kube-dns", "kube-system")
    assert made["metadata"]["labels"] == LABELS
    assert not made["spec"].get("selector")


async def test_it_says_how_it_fares(server: Server) -> None:
    for path in ("/healthz", "/health", "/readiness", "/ready"):
        assert server.get(path) == (200, "OK")
    await server.ask(f"kubernetes.default.svc.{DOMAIN}", "TYPE4711")
    status, text = server.get("/metrics")
    assert status == 200
    assert 'coredns_dns_requests_total{proto="udp",type="A"}' in text
    assert 'coredns_dns_responses_total{proto="tcp",rcode="NXDOMAIN"}' in text
    assert "TYPE4711" not in text


async def test_names_outlive_the_api(supervisor: Supervisor, kube_etcd: Etcd, apis: Callable[..., Api]) -> None:
    api = apis(kube_etcd)
    one = start(supervisor, api.url, "--resolv-conf=")
    async with KubeClient(api.url) as client:
        created = await client.create("namespaces", {"metadata": {"generateName": "test-"}})
        namespace = created["metadata"]["name"]
        made = await client.create("services", service("web"), namespace)
        await becomes(one, f"web.{namespace}.svc.{DOMAIN}", [made["spec"]["clusterIP"]])
        api.daemon.kill()
        assert await one.records(f"web.{namespace}.svc.{DOMAIN}") == [made["spec"]["clusterIP"]]
        assert one.get("/healthz")[0] == 200
        await api.daemon.start_async()
        await client.delete("services", "web", namespace)
        await client.create("services", service("other", clusterIP="None"), namespace)
        await client.create("endpointslices", endpoint_slice("other", {"addresses": ["10.1.0.9"]}), namespace)

        async def caught_up() -> bool:
            return (await one.records(f"web.{namespace}.svc.{DOMAIN}")) == ["NXDOMAIN"] and (
                await one.records(f"other.{namespace}.svc.{DOMAIN}")
            ) == ["10.1.0.9"]

        await eventually(caught_up, what="what happened meanwhile is known")


async def test_before_the_api_is_there_names_are_a_failure_and_not_unknown(
    supervisor: Supervisor, kube_etcd: Etcd, apis: Callable[..., Api]
) -> None:
    port = free_port()
    one = start(supervisor, f"http://127.0.0.1:{port}", "--resolv-conf=", wait=False)

    async def answers() -> bool:
        with contextlib.suppress(OSError, dns.exception.Timeout):
            return bool(await one.records(f"kubernetes.default.svc.{DOMAIN}") == ["SERVFAIL"])
        return False

    await eventually(answers, what="it fails to say")
    assert one.get("/healthz")[0] == 503
    assert one.get("/health")[0] == 200
    apis(kube_etcd, f"--port={port}")

    async def knows() -> bool:
        return await one.records(f"kubernetes.default.svc.{DOMAIN}") == ["10.0.0.1"]

    await eventually(knows, what="it knows")


def test_a_port_that_is_taken_is_named(supervisor: Supervisor, server: Server, api: Api) -> None:
    one = start(supervisor, api.url, f"--dns-port={server.port}", wait=False)
    assert one.daemon.process is not None
    assert one.daemon.process.wait(20) == 1
    assert str(server.port) in one.daemon.tail()
    assert "Traceback" not in one.daemon.tail()
