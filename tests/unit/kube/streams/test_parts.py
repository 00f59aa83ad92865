"""What sessions and proxies are made of: sizes of terminals, outcomes, names of places, rewritten addresses."""

from __future__ import annotations

import asyncio
import gzip
import socket

import orjson
import pytest

from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.streams.locate import container, split
from k8slab.kube.api.streams.rewriting import Rewriter
from k8slab.kube.kubelet.stats import metrics, usage_of
from k8slab.kube.streams import dial
from k8slab.kube.streams.forwarding import ports_of
from k8slab.kube.streams.keepalive import IDLE_SECONDS
from k8slab.kube.streams.session import Outcome, sizes


class Pieces:
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((b'{"Width":80,"Height":24}\n{"Width":1,', b'"Height":2}'), [(80, 24), (1, 2)]),
        ((b'{"Width":80,"Height":24}{"Width":-1,"Height":24}{"Width":1,"Height":2}',), [(80, 24)]),
        ((b'{"Width":"80","Height":24}',), []),
        ((b"[1,2]",), []),
        ((b"{" * 5000, b'{"Width":1,"Height":2}'), []),
        ((b'{"Width":65536,"Height":1}',), []),
        ((b"\xff\xfe",), []),
    ],
)
async def test_sizes(pieces: tuple[bytes, ...], expected: list[tuple[int, int]]) -> None:
    assert [size async for size in sizes(Pieces(*pieces))] == expected


def test_outcomes() -> None:
    assert orjson.loads(Outcome().status()) == {"metadata": {}, "status": "Success"}
    failed = orjson.loads(Outcome(3).status())
    assert (failed["status"], failed["reason"]) == ("Failure", "NonZeroExitCode")
    assert failed["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert orjson.loads(Outcome(error="no").status())["message"] == "Internal error occurred: no"
    assert [Outcome().text(), Outcome(3).text(), Outcome(error="no").text()] == [
        "",
        "command terminated with non-zero exit code: 3",
        "no",
    ]


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("web", ("", "web", "")),
        ("web:80", ("", "web", "80")),
        ("https:web:", ("https", "web", "")),
        ("http:web:http", ("http", "web", "http")),
        (":web:80", ("", "web", "80")),
    ],
)
def test_names_of_places(identity: str, expected: tuple[str, str, str]) -> None:
    assert split(identity, "pod") == expected


@pytest.mark.parametrize("identity", ["", ":", "web:", ":80", "ftp:web:80", "http::80", "a:b:c:d"])
def test_names_of_no_place(identity: str) -> None:
    with pytest.raises(ApiFailure, match="invalid pod request"):
        split(identity, "pod")


def test_the_container_that_is_meant() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}}
    assert container(pod, "") == "a"
    assert container(pod, "i") == "i"
    with pytest.raises(ApiFailure, match="container x is not valid for pod p"):
        container(pod, "x")
    pod["spec"]["containers"].append({"name": "b"})  # type: ignore[index, attr-defined]
    words = r"a container name must be specified for pod p, choose one of: \[a b\] or one of the init containers: \[i\]"
    with pytest.raises(ApiFailure, match=words):
        container(pod, "")


def test_addresses_are_rewritten() -> None:
    rewriter = Rewriter("http", "10.1.0.5:80", "/proxy")
    assert rewriter.location("/a?b#c") == "/proxy/a?b#c"
    assert rewriter.location("http://10.1.0.5:80") == "/proxy/"
    assert rewriter.location("//10.1.0.5:80/a") == "/proxy/a"
    for foreign in ("a/b", "?x", "#x", "", "https://10.1.0.5:80/a", "http://x/", "mailto:a@b", "http://[", "/proxy/a"):
        assert rewriter.location(foreign) == foreign
    page = b"<A HREF=/x class='/y'><img\nsrc=\"/i\"></A> href=/z <script>if (a</b/.test(c)) d</script>\xff"
    expected = page.replace(b"/x", b"/proxy/x").replace(b"/i", b"/proxy/i")
    assert rewriter.page(page, "") == expected
    assert gzip.decompress(rewriter.page(gzip.compress(page), "gzip")) == expected
    assert rewriter.page(b"no gzip", "gzip") == b"no gzip"
    bomb = gzip.compress(b"x" * (64 << 20))
    assert rewriter.page(bomb, "gzip") == bomb


async def test_a_connection_asks_whether_its_silent_peer_is_still_there() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        connection = await dial.connect("127.0.0.1", server.sockets[0].getsockname()[1])
        raw = connection.writer.get_extra_info("socket")
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == IDLE_SECONDS
        connection.abort()


def test_ports() -> None:
    assert ports_of(["80", "81,82"]) == [80, 81, 82]
    for wrong in ("", "0", "65536", "x", "1e3", "-1", "²"):
        with pytest.raises(ValueError, match="invalid port"):
            ports_of([wrong])


def test_usage_of_both_versions_of_control_groups() -> None:
    cpu = {"cpu_usage": {"total_usage": 7}}
    first = {"usage": 100, "limit": 1000, "stats": {"total_inactive_file": 30, "inactive_file": 1, "total_rss": 50}}
    second = {"usage": 100, "limit": 1000, "stats": {"inactive_file": 30, "anon": 50}}
    for memory in (first, second):
        usage = usage_of({"cpu_stats": cpu, "memory_stats": memory})
        assert (usage.cpu, usage.memory, usage.working_set, usage.rss, usage.limit) == (7, 100, 70, 50, 1000)
    ended = usage_of({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}})
    assert (ended.cpu, ended.memory, ended.working_set) == (0, 0, 0)


def test_metrics_are_the_collectors_form() -> None:
    used = {"cpu": {"usageCoreNanoSeconds": 1_500_000_000}, "memory": {"workingSetBytes": 4096}}
    container = {"name": "main", "startTime": "2026-01-01T00:00:00Z", **used}
    pod = {"podRef": {"name": "p", "namespace": "ns", "uid": "u"}, "containers": [container], **used}
    lines = metrics({"node": used, "pods": [pod]}).splitlines()
    assert 'container_cpu_usage_seconds_total{container="main",namespace="ns",pod="p"} 1.5' in lines
    assert 'pod_memory_working_set_bytes{namespace="ns",pod="p"} 4096' in lines
    assert "node_memory_working_set_bytes 4096" in lines
    assert "# TYPE node_cpu_usage_seconds_total counter" in lines
    assert 'container_start_time_seconds{container="main",namespace="ns",pod="p"} 1.7672256e+09' in lines
