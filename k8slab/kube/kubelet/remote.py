"""exec, attach, run and port-forward: what others do inside this node's pods."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from aiohttp import web

from k8slab.kube.kubelet import netns
from k8slab.kube.kubelet.attached import Attached
from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.engine import Engine, EngineError, EngineUnavailable
from k8slab.kube.kubelet.observation import Seen, observe
from k8slab.kube.kubelet.spec import container_named
from k8slab.kube.streams.carrier import Connection
from k8slab.kube.streams.commands import relay, serve_command
from k8slab.kube.streams.forwarding import Refused, ports_of, serve_forwarding
from k8slab.kube.streams.session import Outcome, Session, Wish
from k8slab.kube.streams.takeover import refusal

_LARGEST_OUTPUT: Final = 1 << 20
_TRUE: Final = ("1", "true")


def wish_of(request: web.Request) -> Wish:
    query = request.query
    stdin, stdout, stderr, tty = (query.get(name) in _TRUE for name in ("input", "output", "error", "tty"))
    # A terminal has one output.
    return Wish(stdin, stdout, stderr and not tty, tty)


async def execute(request: web.Request, engine: Engine, pod: Pod, container: str) -> web.StreamResponse:
    wish = wish_of(request)
    command = request.query.getall("command", [])
    if not command:
        return refusal(400, "no command was given")
    found = await _running(engine, pod, container)
    if found is None:
        return refusal(500, f'container not found ("{container}")')

    async def run(session: Session) -> Outcome:
        try:
            process = await engine.execute(found.id, command, stdin=wish.stdin, tty=wish.tty)
            with contextlib.closing(process):
                if not await relay(session, process):
                    return Outcome()
                return Outcome(await engine.exit_code(process))
        except (EngineError, EngineUnavailable) as trouble:
            return Outcome(error=f"error executing command in container: {trouble}")

    return await serve_command(request, wish, run)


async def attach(request: web.Request, engine: Engine, pod: Pod, container: str) -> web.StreamResponse:
    asked = wish_of(request)
    spec = container_named(pod, container)
    # Whether there is a terminal is the container's affair, not the client's.
    tty = bool(spec.get("tty"))
    wish = Wish(asked.stdin, asked.stdout, asked.stderr and not asked.tty, asked.tty)
    found = await _running(engine, pod, container)
    if found is None:
        return refusal(500, f"container {container} not found in pod {_name(pod)}")

    async def run(session: Session) -> Outcome:
        try:
            stdin = wish.stdin and bool(spec.get("stdin"))
            process = await engine.attach(found.id, stdin=stdin, tty=tty)
            with contextlib.closing(process):
                await relay(session, process)
                return Outcome()
        except (EngineError, EngineUnavailable) as trouble:
            return Outcome(error=f"error attaching to container: {trouble}")

    return await serve_command(request, wish, run)


async def run_once(request: web.Request, engine: Engine, pod: Pod, container: str) -> web.Response:
    """A command's whole output as the answer, as far as it is not too much; its failure is told behind it."""
    command = request.query.get("cmd", "").split()
    found = await _running(engine, pod, container)
    if not command or found is None:
        return refusal(400, "no cmd was given") if not command else refusal(500, f'container not found ("{container}")')
    process = await engine.execute(found.id, command, stdin=False, tty=False)
    with contextlib.closing(process):
        output = await _whole(process)
        code = await engine.exit_code(process)
    if code:
        return refusal(500, f"{output.decode(errors='replace')}command terminated with exit code {code}")
    return web.Response(body=output, content_type="text/plain")


async def forward_ports(request: web.Request, engine: Engine, pod: Pod) -> web.StreamResponse:
    try:
        ports = ports_of(request.query.getall("port", []))
    except ValueError as trouble:
        return refusal(400, str(trouble))
    sandbox = (await observe(engine, pod["metadata"]["uid"])).sandbox
    if sandbox is None or not sandbox.running:
        return refusal(404, f"unable to find pod sandbox of {_name(pod)}: not running")
    identity = sandbox.id

    async def dial(port: int) -> Connection:
        try:
            shown = await engine.inspect(identity)
            pid = int(shown["State"]["Pid"]) if shown else 0
            if not pid:
                raise Refused(f"error forwarding port {port} to pod {identity}: the pod does not run any more")
            return await netns.connect(pid, port)
        except (netns.NoConnection, EngineError, EngineUnavailable) as trouble:
            raise Refused(f"error forwarding port {port} to pod {identity}, uid : {trouble}") from None

    return await serve_forwarding(request, ports, dial)


async def _whole(process: Attached) -> bytes:
    output = b""
    async for _, piece in process.output():
        output += piece
        if len(output) > _LARGEST_OUTPUT:
            break
        await asyncio.sleep(0)
    return output[:_LARGEST_OUTPUT]


async def _running(engine: Engine, pod: Pod, container: str) -> Seen | None:
    latest = (await observe(engine, pod["metadata"]["uid"])).latest(container)
    return latest if latest is not None and latest.running else None


def _name(pod: Pod) -> str:
    return f"{pod['metadata']['name']}_{pod['metadata']['namespace']}"
