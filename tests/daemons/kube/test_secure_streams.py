"""Streams over the secure port: TLS on the client's side, and its credentials kept from whom it is passed on to."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Kubectl, chosen_kubectls, kubectls
from tests.daemons.kube.kubelet import fake_kubelet
from tests.daemons.kube.test_access import Secured, secured
from tests.daemons.kube.test_streams import add_node, add_pod
from tests.daemons.processes import free_port

__all__ = ["secured"]

BIG = 4 << 20


@pytest.mark.parametrize("version", chosen_kubectls())
async def test_streams_over_tls(secured: Secured, version: str, tmp_path: Path) -> None:
    kubectl = Kubectl(kubectls()[version], secured.url, tmp_path)
    login = (f"--certificate-authority={secured.files}/ca.crt", "--token=t-root")
    directory = tmp_path / "container"
    directory.mkdir()

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(1 << 16):
            writer.write(content.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    there, here = server.sockets[0].getsockname()[1], free_port()
    async with KubeClient(secured.api.url) as client, fake_kubelet(directory) as kubelet, server:
        await add_node(client, "node", kubelet.port)
        await add_pod(client, "default", "web", node="node")

        done = await asyncio.to_thread(kubectl.run, *login, "exec", "web", "--", "/bin/sh", "-c", "echo out; exit 3")
        assert (done.returncode, done.stdout) == (3, "out\n"), done.stderr
        content = os.urandom(BIG)
        (tmp_path / "up").write_bytes(content)
        done = await asyncio.to_thread(kubectl.run, *login, "cp", str(tmp_path / "up"), f"web:{directory}/there")
        assert done.returncode == 0, done.stderr
        assert (directory / "there").read_bytes() == content
        done = await asyncio.to_thread(kubectl.run, *login, "cp", f"web:{directory}/there", str(tmp_path / "down"))
        assert (tmp_path / "down").read_bytes() == content, done.stderr
        denied = await asyncio.to_thread(kubectl.run, login[0], "--token=t-jane", "exec", "web", "--", "true")
        assert "Forbidden" in denied.stderr

        command = [kubectl.binary, "--server", kubectl.server, *login, "port-forward", "web", f"{here}:{there}"]
        env = {"HOME": str(kubectl.home), "PATH": os.environ["PATH"]}
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=env)
        try:
            assert process.stdout is not None
            assert (await asyncio.wait_for(process.stdout.readline(), 20)).startswith(b"Forwarding from 127")
            reader, writer = await asyncio.open_connection("127.0.0.1", here)
            answer = asyncio.create_task(reader.readexactly(BIG))
            writer.write(content)
            assert await asyncio.wait_for(answer, 60) == content.upper()
            writer.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def test_credentials_stay_with_the_server(secured: Secured) -> None:
    seen: list[dict[str, str]] = []

    async def show(request: web.Request) -> web.StreamResponse:
        seen.append(dict(request.headers))
        if request.headers.get("Upgrade", "").lower() == "websocket":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.close()
            return socket
        return web.Response(text="shown")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", show)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with KubeClient(secured.api.url) as client:
        await add_node(client, "node", runner.addresses[0][1])
    headers = {"Authorization": "Bearer t-root", "Impersonate-User": "alice", "Impersonate-Group": "system:masters"}
    url = f"{secured.url}/api/v1/nodes/node/proxy/x"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=secured.trust), headers=headers) as http:
        async with http.get(url) as answer:
            assert await answer.text() == "shown"
        async with http.ws_connect(url) as socket:
            await socket.receive()
    assert len(seen) == 2
    for one in seen:
        assert not {name for name in one if name.lower() == "authorization" or name.lower().startswith("impersonate")}
        assert one["X-Forwarded-Proto"] == "https"
    await runner.cleanup()
