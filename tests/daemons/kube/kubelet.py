"""A small kubelet of the tests' own: it runs what it is asked for as processes of this machine, on one port."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from k8slab.kube.streams import dial
from k8slab.kube.streams.carrier import Connection
from k8slab.kube.streams.commands import STDERR, STDOUT, relay, serve_command
from k8slab.kube.streams.forwarding import Refused, ports_of, serve_forwarding
from k8slab.kube.streams.session import Outcome, Session, Wish
from k8slab.kube.streams.takeover import Taken


class Plain:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(4)

        async def read(number: int, stream: Any) -> None:
            while content := await stream.read(1 << 16):
                await queue.put((number, content))
            await queue.put((number, b""))

        tasks = [
            asyncio.create_task(read(STDOUT, self._process.stdout)),
            asyncio.create_task(read(STDERR, self._process.stderr)),
        ]
        try:
            left = len(tasks)
            while left:
                number, content = await queue.get()
                left -= not content
                yield number, content
        finally:
            for task in tasks:
                task.cancel()

    async def write(self, content: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(content)
        await self._process.stdin.drain()

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        raise AssertionError("it has no terminal")


class Terminal:
    def __init__(self, controller: int) -> None:
        self._controller = controller

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while content := await loop.run_in_executor(None, os.read, self._controller, 1 << 16):
                yield STDOUT, content

    async def write(self, content: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(None, os.write, self._controller, content)

    def end_input(self) -> None:
        pass

    async def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


class FakeKubelet:
    """``directory``: where its commands run. ``attached``: the command that an attach joins."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self.requests: list[str] = []
        self.attached = ["/bin/sh", "-c", "while read -r line; do echo got $line; done"]
        self.log = b"one\ntwo\n"
        self.following = asyncio.Event()
        self.follower_left = asyncio.Event()
        self.log_status = 200

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/exec/{namespace}/{pod}/{container}", self._exec)
        app.router.add_route("*", "/attach/{namespace}/{pod}/{container}", self._attach)
        app.router.add_route("*", "/portForward/{namespace}/{pod}", self._forward)
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        return app

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path_qs)
        if request.match_info["container"] == "missing":
            return web.Response(status=500, text='container not found ("missing")')
        return await self._run(request, request.query.getall("command", []))

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path_qs)
        return await self._run(request, self.attached)

    async def _run(self, request: web.Request, command: list[str]) -> web.StreamResponse:
        query = request.query
        wish = Wish("input" in query, "output" in query, "error" in query and "tty" not in query, "tty" in query)

        async def run(session: Session) -> Outcome:
            return await (self._on_terminal if wish.tty else self._plain)(session, command)

        return await serve_command(request, wish, run)

    async def _plain(self, session: Session, command: list[str]) -> Outcome:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=self.directory
        )
        try:
            # Whoever leaves before takes the process along.
            return Outcome(await process.wait() if await relay(session, Plain(process)) else 0)
        finally:
            await _ended(process)

    async def _on_terminal(self, session: Session, command: list[str]) -> Outcome:
        controller, terminal = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=self.directory,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        try:
            # Whoever leaves before takes the process along.
            return Outcome(await process.wait() if await relay(session, Terminal(controller)) else 0)
        finally:
            await _ended(process)
            os.close(controller)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path_qs)

        async def connect(port: int) -> Connection:
            try:
                return await dial.connect("127.0.0.1", port)
            except dial.Unreachable as trouble:
                raise Refused(f"error forwarding port {port} to pod: {trouble}") from None

        try:
            ports = ports_of(request.query.getall("port", []))
        except ValueError as trouble:
            return web.Response(status=400, text=str(trouble))
        return await serve_forwarding(request, ports, connect) or Taken()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path_qs)
        if self.log_status != 200:
            return web.Response(status=self.log_status, text="the kubelet's own words")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(self.log)
        if "follow" in request.query:
            try:
                await self.following.wait()
            except asyncio.CancelledError:
                self.follower_left.set()
                raise
            await response.write(b"followed\n")
        return response


@asynccontextmanager
async def fake_kubelet(directory: Path) -> AsyncIterator[FakeKubelet]:
    kubelet = FakeKubelet(directory)
    runner = web.AppRunner(kubelet.application(), access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    kubelet.port = runner.addresses[0][1]
    yield kubelet
    await runner.cleanup()
