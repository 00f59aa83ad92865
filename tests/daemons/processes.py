"""Real daemons as child processes on loopback: started on free ports, ended by pid, their log shown on failure."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

START_SECONDS = 60.0
# How long a probe is repeated: as long as daemons of several test files at once on two processors may need.
PATIENCE = 45.0
STOP_SECONDS = 15.0
ZOOKEEPER_JAR = "/usr/share/java/zookeeper.jar"

T = TypeVar("T")


class NotReady(AssertionError):
    """A daemon did not come up; the message ends with its log."""


# Below those that the kernel gives to connections: one of these would be taken between being found free and being used,
# or while its daemon is away. Agents offer 31000 to 32000.
PORTS = range(10_000, 31_000)
WORKERS = 8


def _ports() -> Iterator[int]:
    """Each of this process' share of them, over and over: processes of one test run do not get in each other's way."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    share = list(PORTS[worker::WORKERS])
    start = random.randrange(len(share))
    return itertools.cycle(share[start:] + share[:start])


_CANDIDATES = _ports()


def free_port(host: str = "127.0.0.1") -> int:
    for port in _CANDIDATES:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError("there are always more candidates")


async def eventually(
    probe: Callable[[], Awaitable[T]], *, timeout: float = PATIENCE, interval: float = 0.05, what: str = ""
) -> T:
    """The first truthy answer of ``probe``; an AssertionError naming ``what`` when there is none within ``timeout``."""
    deadline = time.monotonic() + timeout
    while True:
        answer = await probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or probe} (last answer: {answer!r})")
        await asyncio.sleep(interval)


@dataclass
class Daemon:
    """One child process. ``ready`` is asked until true; None means it tells through READY_FD when it is."""

    name: str
    argv: Sequence[str]
    directory: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    process: subprocess.Popen[bytes] | None = None
    seconds_to_ready: float = 0.0

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self.process.poll() if self.process else None

    def start(self, *, wait: bool = True, timeout: float = START_SECONDS) -> Daemon:
        """Start it, and unless ``wait`` is False return only when it is ready."""
        self.directory.mkdir(parents=True, exist_ok=True)
        reading, writing = os.pipe()
        env = {**os.environ, **self.env}
        if self.ready is None:
            env["READY_FD"] = str(writing)
        started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, pass_fds=(writing,)
            )
        os.close(writing)
        try:
            if wait and self.ready is None:
                self._await_told(reading, timeout)
            elif wait:
                self.await_probe(timeout=timeout)
        finally:
            os.close(reading)
        self.seconds_to_ready = time.monotonic() - started
        return self

    async def start_async(self, *, timeout: float = START_SECONDS) -> Daemon:
        """As ``start``, without holding up the event loop of the test."""
        return await asyncio.to_thread(self.start, timeout=timeout)

    def _await_told(self, descriptor: int, timeout: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise NotReady(f"{self.name} was not ready after {timeout:g} s\n{self.tail()}")
        if not os.read(descriptor, 1):
            assert self.process is not None
            raise NotReady(f"{self.name} ended ({self.process.wait(timeout)}) before it was ready\n{self.tail()}")

    def await_probe(self, *, timeout: float = START_SECONDS) -> None:
        """Ask ``ready`` until it is true."""
        assert self.ready is not None
        assert self.process is not None
        deadline = time.monotonic() + timeout
        while not self.ready():
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} was not ready after {timeout:g} s\n{self.tail()}")
            try:
                status = self.process.wait(0.03)
            except subprocess.TimeoutExpired:
                continue
            raise NotReady(f"{self.name} ended ({status}) before it was ready\n{self.tail()}")

    def signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def stop(self, *, timeout: float = STOP_SECONDS) -> int:
        """SIGTERM, then SIGKILL when that was not heard. Returns the exit status (negative: the signal)."""
        if self.process is None:
            return 0
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """SIGKILL, as a power cut would end it."""
        assert self.process is not None
        self.signal(signal.SIGKILL)
        return self.process.wait(STOP_SECONDS)

    async def exited(self, timeout: float = STOP_SECONDS) -> int:
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, timeout)

    def tail(self, lines: int = 60) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"--- end of {self.log}", *text.splitlines()[-lines:]])


class Supervisor:
    """Starts daemons for one test (or session) and ends every one of them, newest first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.daemons: list[Daemon] = []

    def daemon(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
    ) -> Daemon:
        """A daemon to be started by the caller; names need not be unique."""
        daemon = Daemon(
            name=f"{len(self.daemons):02d}-{name}", argv=argv, directory=self.directory, env=env or {}, ready=ready
        )
        self.daemons.append(daemon)
        return daemon

    def module(self, name: str, module: str, *argv: str, env: Mapping[str, str] | None = None) -> Daemon:
        """One of our daemons, named by the module that has its ``main()`` or ``run(argv)``."""
        code = f"import sys, {module} as m; sys.exit(m.main() if hasattr(m, 'main') else m.run(sys.argv[1:]))"
        return self.daemon(name, [sys.executable, "-c", code, *argv], env=env)

    def km(self, command: str, *argv: str, env: Mapping[str, str] | None = None) -> Daemon:
        """``km COMMAND …`` without needing the console script."""
        code = "import sys; from k8slab.k8sm.km import main; sys.exit(main())"
        return self.daemon(command, [sys.executable, "-c", code, command, *argv], env=env)

    def close(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.stop()
        self.end_strays()

    def end_strays(self) -> None:
        """Kill what daemons of this test started to outlive them, as agents do: whatever works below its directory."""
        home = self.directory.resolve()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if (entry / "cwd").readlink().is_relative_to(home):
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                # It ended meanwhile, or is a zombie, which has no directory any more.
                continue

    def logs(self) -> str:
        return "\n".join(daemon.tail() for daemon in self.daemons)


@dataclass
class Etcd:
    """A real etcd cluster. ``endpoints`` are client URLs in the members' order."""

    members: list[Daemon]
    endpoints: list[str]

    @property
    def servers(self) -> str:
        """The value of ``--etcd-servers``."""
        return ",".join(self.endpoints)


@dataclass
class ZooKeeper:
    """A real ZooKeeper ensemble. ``hosts`` is ``host:port,…``."""

    members: list[Daemon]
    hosts: str

    def url(self, path: str) -> str:
        """``zk://host:port,…/path``"""
        return f"zk://{self.hosts}/{path.strip('/')}"


def start_etcd(supervisor: Supervisor, *, members: int = 1) -> Etcd:
    """A cluster of etcd on free ports with fast elections, healthy when this returns."""
    names = [f"etcd-{index}" for index in range(members)]
    clients = {name: f"http://127.0.0.1:{free_port()}" for name in names}
    peers = {name: f"http://127.0.0.1:{free_port()}" for name in names}
    started = []
    for name in names:
        data = supervisor.directory / f"{name}-{len(supervisor.daemons)}.data"
        argv = [
            "etcd",
            f"--name={name}",
            f"--data-dir={data}",
            f"--listen-client-urls={clients[name]}",
            f"--advertise-client-urls={clients[name]}",
            f"--listen-peer-urls={peers[name]}",
            f"--initial-advertise-peer-urls={peers[name]}",
            "--initial-cluster=" + ",".join(f"{member}={url}" for member, url in peers.items()),
            "--initial-cluster-state=new",
            "--heartbeat-interval=100",
            "--election-timeout=1000",
            "--logger=zap",
        ]
        url = f"{clients[name]}/health"
        started.append(supervisor.daemon(name, argv, ready=lambda url=url: _says(url, b'"true"')))
    for daemon in started:
        daemon.start(wait=False)
    for daemon in started:
        daemon.await_probe()
    return Etcd(members=started, endpoints=list(clients.values()))


def start_zookeeper(supervisor: Supervisor, *, members: int = 1, tick_ms: int = 500) -> ZooKeeper:
    """A ZooKeeper ensemble whose shortest session is two ticks, serving when this returns."""
    clients = [free_port() for _ in range(members)]
    quorum = [(free_port(), free_port()) for _ in range(members)]
    started = []
    for index, port in enumerate(clients):
        home = supervisor.directory / f"zookeeper-{len(supervisor.daemons)}"
        data = home / "data"
        data.mkdir(parents=True)
        lines = [
            f"tickTime={tick_ms}",
            "initLimit=20",
            "syncLimit=10",
            f"dataDir={data}",
            "clientPortAddress=127.0.0.1",
            f"clientPort={port}",
            "maxClientCnxns=0",
            "admin.enableServer=false",
            "4lw.commands.whitelist=*",
        ]
        if members > 1:
            (data / "myid").write_text(f"{index + 1}\n")
            lines += [f"server.{n + 1}=127.0.0.1:{peer}:{vote}" for n, (peer, vote) in enumerate(quorum)]
        config = home / "zoo.cfg"
        config.write_text("\n".join([*lines, ""]))
        argv = [
            "java",
            "-Xms16m",
            "-Xmx64m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dzookeeper.forceSync=no",
            "-cp",
            f"{ZOOKEEPER_JAR}:/usr/share/java/slf4j-simple.jar",
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(config),
        ]
        started.append(supervisor.daemon(f"zookeeper-{index}", argv, ready=lambda port=port: zookeeper_serves(port)))
    for daemon in started:
        daemon.start(wait=False)
    for daemon in started:
        daemon.await_probe()
    return ZooKeeper(members=started, hosts=",".join(f"127.0.0.1:{port}" for port in clients))


def zookeeper_serves(port: int) -> bool:
    """Whether ``srvr`` names a mode."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as stream:
            stream.sendall(b"srvr")
            answer = b""
            while chunk := stream.recv(4096):
                answer += chunk
    except OSError:
        return False
    return b"Mode:" in answer


def _says(url: str, expected: bytes) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:
            return expected in answer.read()
    except (urllib.error.URLError, OSError):
        return False
