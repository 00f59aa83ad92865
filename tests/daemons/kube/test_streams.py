"""exec, attach, cp, port-forward and logs through the API server, by kubectls old and new."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess

import pexpect
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Kubectl
from tests.daemons.kube.kubelet import FakeKubelet, fake_kubelet
from tests.daemons.processes import eventually, free_port

BIG = 4 << 20


@pytest.fixture
async def kubelet(client: KubeClient, namespace: str, tmp_path: Path) -> AsyncIterator[FakeKubelet]:
    """A node of its name with a kubelet, and a running pod "web" with containers "main" and "side" on it."""
    directory = tmp_path / "container"
    directory.mkdir()
    async with fake_kubelet(directory) as kubelet:
        await add_node(client, namespace, kubelet.port)
        await add_pod(client, namespace, "web", node=namespace)
        yield kubelet
    await client.delete("nodes", namespace)


async def add_node(client: KubeClient, name: str, port: int) -> None:
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await client.create("nodes", {"metadata": {"name": name}, "status": status})


async def add_pod(
    client: KubeClient, namespace: str, name: str, *, node: str = "", containers: tuple[str, ...] = ("main",)
) -> None:
    spec = {"containers": [{"name": one, "image": "none:1", "stdin": True} for one in containers]}
    if node:
        spec["nodeName"] = node  # type: ignore[assignment]
    await client.create("pods", {"metadata": {"name": name}, "spec": spec}, namespace)
    statuses = [
        {"name": one, "ready": True, "restartCount": 0, "image": "none:1", "imageID": "", "state": {"running": {}}}
        for one in containers
    ]
    ready = [{"type": "Ready", "status": "True"}]
    status = {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": statuses, "conditions": ready}
    await client.patch("pods", name, {"status": status}, namespace, subresource="status")


async def run(kubectl: Kubectl, *words: str, stdin: str | None = None) -> CompletedProcess[str]:
    return await asyncio.to_thread(kubectl.run, *words, stdin=stdin)


async def test_exec_shows_output_and_exit_code(kubectl: Kubectl, kubelet: FakeKubelet, namespace: str) -> None:
    done = await run(kubectl, "exec", "-n", namespace, "web", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr.splitlines() == ["err", "command terminated with exit code 3"]
    done = await run(kubectl, "exec", "-n", namespace, "web", "-c", "main", "--", "echo", "a b", "c&d")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a b c&d\n", "")
    assert kubelet.requests[-1].startswith(f"/exec/{namespace}/web/main?")


async def test_exec_with_standard_input(kubectl: Kubectl, kubelet: FakeKubelet, namespace: str) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    done = await run(kubectl, "exec", "-i", "-n", namespace, "web", "--", "cat", stdin=text)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == text


async def test_exec_on_a_terminal(kubectl: Kubectl, kubelet: FakeKubelet, namespace: str) -> None:
    def converse() -> None:
        arguments = ["--server", kubectl.server, "exec", "-it", "-n", namespace, "web", "--", "/bin/sh"]
        env = {"HOME": str(kubectl.home), "PATH": os.environ["PATH"], "TERM": "dumb"}
        child = pexpect.spawn(kubectl.binary, arguments, env=env, timeout=20, dimensions=(33, 77), encoding="utf-8")
        child.expect(r"[#$] ")
        child.sendline("tty; stty size")
        child.expect(r"/dev/pts/\d+\s+33 77")
        child.setwinsize(44, 99)
        child.sendline("until [ \"$(stty size)\" = '44 99' ]; do :; done; echo resi''zed")
        child.expect("resized")
        child.sendline("exit 5")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 5

    await asyncio.to_thread(converse)


async def test_exec_that_cannot_be(kubectl: Kubectl, kubelet: FakeKubelet, client: KubeClient, namespace: str) -> None:
    await add_pod(client, namespace, "two", node=namespace, containers=("main", "missing"))
    await add_pod(client, namespace, "homeless")
    inside = ("exec", "-n", namespace)

    async def said(*words: str) -> str:
        done = await run(kubectl, *inside, *words, "--", "true")
        assert done.returncode == 1
        return done.stderr

    assert 'Error from server (NotFound): pods "none" not found' in await said("none")
    assert "container nope is not valid for pod web" in await said("web", "-c", "nope")
    assert 'unable to upgrade connection: container not found ("missing")' in await said("two", "-c", "missing")
    assert "pod homeless does not have a host assigned" in await said("homeless")


async def test_attach(kubectl: Kubectl, kubelet: FakeKubelet, namespace: str) -> None:
    done = await run(kubectl, "attach", "-i", "-n", namespace, "web", stdin="a\nb\n")
    assert done.stdout == "got a\ngot b\n"
    assert done.returncode == 0


async def test_cp_both_ways(kubectl: Kubectl, kubelet: FakeKubelet, namespace: str, tmp_path: Path) -> None:
    content = os.urandom(BIG)
    (tmp_path / "up").write_bytes(content)
    inside = kubelet.directory
    done = await run(kubectl, "cp", str(tmp_path / "up"), f"{namespace}/web:{inside}/there")
    assert done.returncode == 0, done.stderr
    assert (inside / "there").read_bytes() == content
    done = await run(kubectl, "cp", f"{namespace}/web:{inside}/there", str(tmp_path / "down"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "down").read_bytes() == content


@contextlib.asynccontextmanager
async def forwarding(kubectl: Kubectl, namespace: str, *ports: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(kubectl.binary, "--server", kubectl.server, "port-forward", "-n", namespace, "pod/web", *ports),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"HOME": str(kubectl.home), "PATH": os.environ["PATH"]},
    )
    try:
        assert process.stdout is not None
        for _ in ports:
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            assert line.startswith(b"Forwarding from 127.0.0.1:"), line
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def test_port_forward(kubectl: Kubectl, kubelet: FakeKubelet, namespace: str) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(1 << 16):
            writer.write(content.upper())
            await writer.drain()
        writer.write(b"bye")
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    there = server.sockets[0].getsockname()[1]
    here = free_port()

    async def talk(content: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", here)
        answer = asyncio.create_task(reader.readexactly(len(content)))
        writer.write(content)
        await writer.drain()
        received = await asyncio.wait_for(answer, 60)
        writer.close()
        return received

    async with server, forwarding(kubectl, namespace, f"{here}:{there}"):
        answers = await asyncio.gather(*(talk(f"hello {number}".encode()) for number in range(8)))
        assert answers == [f"HELLO {number}".encode() for number in range(8)]
        big = os.urandom(BIG)
        assert await talk(big) == big.upper()


async def test_port_forward_to_nobody(kubectl: Kubectl, kubelet: FakeKubelet, namespace: str) -> None:
    here, there = free_port(), free_port()
    async with forwarding(kubectl, namespace, f"{here}:{there}") as process:
        assert process.stdout is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", here)
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
        said = b""
        while b"an error occurred forwarding" not in said:
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            assert line, said
            said += line
        assert f"dial tcp 127.0.0.1:{there}: connect: connection refused".encode() in said


async def test_logs(kubectl: Kubectl, kubelet: FakeKubelet, client: KubeClient, namespace: str) -> None:
    inside = ("logs", "-n", namespace)
    assert (await run(kubectl, *inside, "web")).stdout == "one\ntwo\n"
    options = ("--tail=5", "--since=10s", "--timestamps", "-p", "--limit-bytes=9")
    await run(kubectl, *inside, "web", *options)
    for asked in ("tailLines=5", "sinceSeconds=10", "timestamps=true", "previous=true", "limitBytes=9"):
        assert asked in kubelet.requests[-1]
    following = asyncio.create_task(run(kubectl, *inside, "-f", "web"))

    async def asked_to_follow() -> bool:
        return "follow=true" in kubelet.requests[-1]

    await eventually(asked_to_follow)
    kubelet.following.set()
    assert (await following).stdout == "one\ntwo\nfollowed\n"

    await add_pod(client, namespace, "homeless")
    assert (await run(kubectl, *inside, "homeless")).stdout == ""
    await add_pod(client, namespace, "two", node=namespace, containers=("a", "b"))
    done = await run(kubectl, "get", "--raw", f"/api/v1/namespaces/{namespace}/pods/two/log")
    assert "a container name must be specified for pod two, choose one of: [a b]" in done.stderr
    done = await run(kubectl, *inside, "web", "-c", "nope")
    assert "container nope is not valid for pod web" in done.stderr
    kubelet.log_status = 400
    done = await run(kubectl, *inside, "web")
    assert done.stderr == "Error from server (BadRequest): the kubelet's own words\n"


async def test_without_a_kubelet(kubectl: Kubectl, client: KubeClient, namespace: str) -> None:
    port = free_port()
    await add_node(client, namespace, port)
    await add_pod(client, namespace, "web", node=namespace)
    refused = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    done = await run(kubectl, "exec", "-n", namespace, "web", "--", "true")
    assert done.stderr.splitlines()[-1] == f"Error from server: error dialing backend: {refused}"
    done = await run(kubectl, "logs", "-n", namespace, "web")
    url = rf'Get "http://127.0.0.1:{port}/containerLogs/{namespace}/web/main[^"]*"'
    assert re.search(rf"^Error from server: {url}: {re.escape(refused)}$", done.stderr, re.M)
    await client.delete("nodes", namespace)
