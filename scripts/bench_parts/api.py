"""How fast the API server is, beside etcd asked directly by the same client library in the same run.

Usage: api.py [--pods N] [--lists 1000,5000] [--watchers 1,10,100] [--url URL [--token TOKEN] [--insecure]].
Without a URL a server and an etcd of this run's own are started. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop
from aetcd import rpc

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.daemons.processes import Daemon, Supervisor, free_port, start_etcd  # noqa: E402

JSON_BODY = {"Content-Type": "application/json"}
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
REPEATS = 10
WATCH_EVENTS = 200
WATCH_RATE = 50.0
NOW = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}

Work = Callable[[int], Awaitable[object]]


def pod(name: str) -> bytes:
    container = {
        "name": "c",
        "image": "nginx:1.22",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    spec = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0, "containers": [container]}
    labels = {"app": "bench", "run": "a"}
    return orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec})


class Figures:
    """What was measured, by name; printed as it comes."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, float]] = {}

    def note(self, name: str, **values: float) -> None:
        self.values[name] = {key: round(value, 2) for key, value in values.items()}
        shown = "  ".join(f"{key} {value:g}" for key, value in self.values[name].items())
        print(f"{name:<34} {shown}", file=sys.stderr, flush=True)

    def rate(self, name: str, latencies: list[float], wall: float) -> None:
        ordered = sorted(latencies)
        self.note(
            name,
            per_s=len(ordered) / wall,
            p50_ms=statistics.median(ordered) * 1000,
            p99_ms=ordered[int(len(ordered) * 0.99) - 1] * 1000,
        )


async def timed(count: int, at_once: int, work: Work) -> tuple[list[float], float]:
    """The latencies of ``work(0…count-1)`` done by ``at_once`` workers, and the wall time, in seconds."""
    numbers, latencies = iter(range(count)), []

    async def worker() -> None:
        for number in numbers:
            begin = time.perf_counter()
            await work(number)
            latencies.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return latencies, time.perf_counter() - begin


class Client:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        async with self.session.request(method, self.url + path, data=body, headers=headers or JSON_BODY) as response:
            raw = await response.read()
            if response.status >= 300:
                raise SystemExit(f"{method} {path}: {response.status} {raw[:300]!r}")
            return raw

    async def namespace(self, name: str) -> str:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.call("POST", "/api/v1/namespaces", orjson.dumps(body))
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        where = f"/api/v1/namespaces/{name}/serviceaccounts"
        async with self.session.post(self.url + where, data=orjson.dumps(account), headers=JSON_BODY) as response:
            # A cluster whose controllers run has made one already.
            if response.status not in (201, 409):
                raise SystemExit(f"POST {where}: {response.status}")
        return f"/api/v1/namespaces/{name}/pods"

    async def drop(self, name: str) -> None:
        await self.call("DELETE", f"/api/v1/namespaces/{name}/pods", orjson.dumps(NOW))
        await self.call("DELETE", f"/api/v1/namespaces/{name}")
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": {"finalizers": []}}
        async with self.session.put(f"{self.url}/api/v1/namespaces/{name}/finalize", json=body) as response:
            await response.read()


async def objects(client: Client, figures: Figures, pods: int) -> None:
    alone, beside = await client.namespace("bench-seq"), await client.namespace("bench-par")
    bodies = [pod(f"p-{number:05d}") for number in range(pods)]

    def creating(where: str) -> Work:
        return lambda number: client.call("POST", where, bodies[number])

    def reading(number: int) -> Awaitable[object]:
        return client.call("GET", f"{alone}/p-{number:05d}")

    def patching(media: str, patch: Callable[[int], Any], tail: str = "") -> Work:
        headers = {"Content-Type": f"application/{media}"}
        return lambda number: client.call(
            "PATCH", f"{alone}/p-{number:05d}{tail}", orjson.dumps(patch(number)), headers
        )

    def deleting(number: int) -> Awaitable[object]:
        return client.call("DELETE", f"{beside}/p-{number:05d}", orjson.dumps(NOW))

    label = patching("merge-patch+json", lambda number: {"metadata": {"labels": {"run": str(number)}}})
    note = patching("strategic-merge-patch+json", lambda number: {"metadata": {"annotations": {"x": str(number)}}})
    status = patching(
        "merge-patch+json",
        lambda number: {"status": {"phase": "Running", "podIP": f"10.1.0.{number % 250}"}},
        "/status",
    )
    figures.rate("create, one after the other", *await timed(pods, 1, creating(alone)))
    figures.rate("create, 16 at once", *await timed(pods, 16, creating(beside)))
    figures.rate("get, one after the other", *await timed(pods, 1, reading))
    figures.rate("get, 16 at once", *await timed(pods, 16, reading))
    figures.rate("merge patch, one after the other", *await timed(pods, 1, label))
    figures.rate("strategic patch, 16 at once", *await timed(pods, 16, note))
    figures.rate("status patch, 16 at once", *await timed(pods, 16, status))
    figures.rate("delete, 16 at once", *await timed(pods, 16, deleting))
    begin = time.perf_counter()
    await client.call("DELETE", alone, orjson.dumps(NOW))
    figures.note(f"delete a collection of {pods}", s=time.perf_counter() - begin)


async def lists(client: Client, figures: Figures, sizes: list[int]) -> None:
    for size in sizes:
        where = await client.namespace(f"bench-list-{size}")
        await timed(size, 16, lambda number, where=where: client.call("POST", where, pod(f"l-{number:05d}")))
        for name, query, headers in (
            ("JSON", "", {}),
            ("JSON, resourceVersion=0", "?resourceVersion=0", {}),
            ("table", "", TABLE),
            ("selector that none has", "?labelSelector=run%3Dnone", {}),
        ):
            taken = []
            for _ in range(REPEATS):
                begin = time.perf_counter()
                await client.call("GET", where + query, headers={"Accept-Encoding": "identity", **headers})
                taken.append((time.perf_counter() - begin) * 1000)
            figures.note(f"list of {size}: {name}", p50_ms=statistics.median(taken), max_ms=max(taken))


@dataclass
class Watching:
    """Watchers of one path: ``received`` gets (moment, name) of each event."""

    received: list[tuple[float, str]]
    begun: asyncio.Semaphore

    async def follow(self, client: Client, path: str) -> None:
        async with client.session.get(client.url + path) as response:
            self.begun.release()
            rest, seen = b"", 0
            async for chunk in response.content.iter_any():
                moment = time.perf_counter()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.startswith(b'{"type":"ADDED"'):
                        start = line.find(b'"name":"w-') + 8
                        self.received.append((moment, line[start : line.find(b'"', start)].decode()))
                        seen += 1
                if seen >= WATCH_EVENTS:
                    return


async def watches(client: Client, figures: Figures, numbers: list[int]) -> None:
    for watchers in numbers:
        where = await client.namespace(f"bench-watch-{watchers}")
        version = orjson.loads(await client.call("GET", where))["metadata"]["resourceVersion"]
        watching, sent = Watching([], asyncio.Semaphore(0)), {}
        path = f"{where}?watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds=300"
        tasks = [asyncio.create_task(watching.follow(client, path)) for _ in range(watchers)]
        for _ in range(watchers):
            await watching.begun.acquire()
        begin = time.perf_counter()
        for number in range(WATCH_EVENTS):
            name = f"w-{number:05d}"
            sent[name] = time.perf_counter()
            await client.call("POST", where, pod(name))
            await asyncio.sleep(max(0.0, begin + (number + 1) / WATCH_RATE - time.perf_counter()))
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)
        taken = sorted((moment - sent[name]) * 1000 for moment, name in watching.received)
        if len(taken) != watchers * WATCH_EVENTS:
            raise SystemExit(f"{watchers} watchers got {len(taken)} events instead of {watchers * WATCH_EVENTS}")
        figures.note(
            f"watch, {watchers} watchers", p50_ms=statistics.median(taken), p99_ms=taken[int(len(taken) * 0.99) - 1]
        )


async def raw_etcd(address: str, figures: Figures, count: int) -> None:
    """The same operations asked of etcd itself, through the client library that the server uses."""
    channel = rpc.insecure_channel(address)
    kv = rpc.KVStub(channel)
    value = pod("p-00000") * 2

    def key(prefix: str, number: int) -> bytes:
        return f"/bench/{prefix}/{number:05d}".encode()

    def put(number: int) -> Awaitable[object]:
        return kv.Put(rpc.PutRequest(key=key("a", number), value=value))

    def get(number: int) -> Awaitable[object]:
        return kv.Range(rpc.RangeRequest(key=key("a", number)))

    def creating(prefix: str) -> Work:
        def create(number: int) -> Awaitable[object]:
            request = rpc.TxnRequest()
            compare = request.compare.add()
            compare.key, compare.target, compare.result = key(prefix, number), rpc.Compare.MOD, rpc.Compare.EQUAL
            success = request.success.add().request_put
            success.key, success.value = compare.key, value
            return kv.Txn(request)

        return create

    figures.rate("etcd: put, one after the other", *await timed(count, 1, put))
    figures.rate("etcd: create, one after the other", *await timed(count, 1, creating("b")))
    figures.rate("etcd: create, 16 at once", *await timed(count, 16, creating("c")))
    figures.rate("etcd: get, one after the other", *await timed(count, 1, get))
    figures.rate("etcd: get, 16 at once", *await timed(count, 16, get))
    taken = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        await kv.Range(rpc.RangeRequest(key=b"/bench/a/", range_end=b"/bench/a0", limit=1000))
        taken.append((time.perf_counter() - begin) * 1000)
    figures.note(f"etcd: range of {min(count, 1000)}", p50_ms=statistics.median(taken), max_ms=max(taken))
    await kv.DeleteRange(rpc.DeleteRangeRequest(key=b"/bench/", range_end=b"/bench0"))
    await channel.close()


def memory(daemon: Daemon) -> dict[str, float]:
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Vm")}
    return {"resident_mb": found["VmRSS"], "peak_mb": found["VmHWM"]}


async def until_ready(url: str, begin: float) -> float:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return time.perf_counter() - begin
            except aiohttp.ClientConnectionError:
                pass
            if time.perf_counter() - begin > 30:
                raise SystemExit(f"{url} did not become ready within 30 s")
            await asyncio.sleep(0.01)


@asynccontextmanager
async def client_of(url: str, token: str, *, insecure: bool) -> AsyncIterator[Client]:
    context: ssl.SSLContext | bool = True
    if insecure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    quiet = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=quiet) as session:
        yield Client(url, session)


async def measure(client: Client, figures: Figures, given: argparse.Namespace) -> None:
    await objects(client, figures, given.pods)
    await lists(client, figures, given.lists)
    await watches(client, figures, given.watchers)


async def against_own(figures: Figures, given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="k8slab-bench-") as folder, closing(Supervisor(Path(folder))) as supervisor:
        etcd = start_etcd(supervisor).servers
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        flags = ("--address=127.0.0.1", f"--port={port}", f"--etcd-servers={etcd}")
        begin = time.perf_counter()
        daemon = supervisor.km("apiserver", *flags).start(wait=False)
        figures.note("exec to ready", s=await until_ready(url, begin))
        await asyncio.sleep(2)
        figures.note("memory after start", **memory(daemon))
        address = etcd.removeprefix("http://")
        await raw_etcd(address, figures, given.pods)
        async with client_of(url, "", insecure=False) as client:
            await measure(client, figures, given)
        figures.note("memory after the load", **memory(daemon))


async def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench api", description=__doc__)
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--lists", type=numbers, default=[1000, 5000])
    parser.add_argument("--watchers", type=numbers, default=[1, 10, 100])
    parser.add_argument("--url", default="")
    parser.add_argument("--token", default="")
    parser.add_argument("--insecure", action="store_true")
    given = parser.parse_args()
    figures = Figures()
    if given.url:
        async with client_of(given.url.rstrip("/"), given.token, insecure=given.insecure) as client:
            await measure(client, figures, given)
            for name in ("seq", "par", *(f"list-{n}" for n in given.lists), *(f"watch-{n}" for n in given.watchers)):
                await client.drop(f"bench-{name}")
    else:
        await against_own(figures, given)
    print(json.dumps(figures.values))


if __name__ == "__main__":
    uvloop.run(main())
