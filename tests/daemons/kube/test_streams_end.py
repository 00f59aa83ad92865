"""What becomes of open streams when the server that carries them goes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api, chosen_kubectls, kubectls
from tests.daemons.kube.kubelet import fake_kubelet
from tests.daemons.kube.test_streams import add_node, add_pod
from tests.daemons.processes import Etcd, eventually


@pytest.mark.parametrize("version", chosen_kubectls())
async def test_a_server_that_ends_ends_its_streams(
    apis: Callable[..., Api], kube_etcd: Etcd, client: KubeClient, namespace: str, version: str, tmp_path: Path
) -> None:
    own = await asyncio.to_thread(apis, kube_etcd)
    pipe = asyncio.subprocess.PIPE
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    async with fake_kubelet(tmp_path) as kubelet:
        await add_node(client, namespace, kubelet.port)
        await add_pod(client, namespace, "web", node=namespace)
        command = [kubectls()[version], "--server", own.url, "exec", "-i", "-n", namespace, "web", "--"]
        script = "echo $$ > pid; exec cat"
        process = await asyncio.create_subprocess_exec(*command, "sh", "-c", script, stdin=pipe, stdout=pipe, env=env)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello\n")
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"hello\n"
        pid = Path("/proc") / (tmp_path / "pid").read_text().strip()
        follow = f"{own.url}/api/v1/namespaces/{namespace}/pods/web/log?follow=true"
        async with aiohttp.ClientSession() as http, http.get(follow) as followed:
            assert await followed.content.readexactly(8) == b"one\ntwo\n"
            began = time.monotonic()
            own.daemon.signal(signal.SIGTERM)
            assert await own.daemon.exited(8) == 0
            assert time.monotonic() - began < 3, "it waited for what has no end"
            with pytest.raises(aiohttp.ClientError):
                await followed.content.read()
        assert await asyncio.wait_for(process.stdout.read(), 20) == b""
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 20)

        async def over() -> bool:
            return not pid.exists()

        await eventually(over, what="the command has ended")
    assert "Traceback" not in own.daemon.log.read_text()
    await client.delete("nodes", namespace)
