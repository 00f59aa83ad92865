"""Inside running pods, by kubectls old and new: exec, attach, cp, port-forward, run -i, logs, proxies, usage."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pexpect
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import Cluster, Pod, pod, running
from tests.daemons.kube.conftest import Kubectl, chosen_kubectls, kubectls
from tests.daemons.processes import eventually, free_port

BIG = 4 << 20


@pytest.fixture(params=chosen_kubectls())
def kubectl(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectls()[request.param], cluster.server, tmp_path)


async def run(kubectl: Kubectl, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(kubectl.run, *words, stdin=stdin)


async def started(cluster: Cluster, client: KubeClient, made: Pod) -> Pod:
    await client.create("pods", made)
    return await cluster.until(client, made["metadata"]["name"], running)


def spawn(kubectl: Kubectl, *words: str) -> pexpect.spawn:
    env = {"HOME": str(kubectl.home), "PATH": os.environ["PATH"], "TERM": "dumb"}
    arguments = ["--server", kubectl.server, *words]
    return pexpect.spawn(kubectl.binary, arguments, env=env, timeout=20, dimensions=(33, 77), encoding="utf-8")


async def test_exec(kubectl: Kubectl, cluster: Cluster, client: KubeClient) -> None:
    await started(cluster, client, pod("exec"))
    done = await run(kubectl, "exec", "exec", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr.splitlines() == ["err", "command terminated with exit code 3"]
    text = "".join(f"line {number}\n" for number in range(20_000))
    done = await run(kubectl, "exec", "-i", "exec", "--", "cat", stdin=text)
    assert (done.returncode, done.stdout) == (0, text)
    done = await run(kubectl, "exec", "exec", "--", "/none")
    assert done.returncode != 0
    assert "/none" in done.stdout + done.stderr
    done = await run(kubectl, "exec", "exec", "-c", "other", "--", "true")
    assert "container other is not valid for pod exec" in done.stderr


async def test_exec_on_a_terminal(kubectl: Kubectl, cluster: Cluster, client: KubeClient) -> None:
    await started(cluster, client, pod("terminal"))

    def converse() -> None:
        child = spawn(kubectl, "exec", "-it", "terminal", "--", "/bin/sh")
        child.expect(r"[#$] ")
        child.sendline("until [ \"$(stty size)\" = '33 77' ]; do :; done; echo siz''ed")
        child.expect("sized")
        child.setwinsize(44, 99)
        child.sendline("until [ \"$(stty size)\" = '44 99' ]; do :; done; echo resi''zed")
        child.expect("resized")
        child.sendline("exit 5")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 5

    await asyncio.to_thread(converse)


async def test_exec_in_what_does_not_run(kubectl: Kubectl, cluster: Cluster, client: KubeClient) -> None:
    missing = pod("missing", container={"image": "127.0.0.1:9/none:1"})
    await client.create("pods", missing)
    await cluster.until(client, "missing", lambda one: one["spec"].get("nodeName") and one["status"].get("hostIP"))
    done = await run(kubectl, "exec", "missing", "--", "true")
    assert 'unable to upgrade connection: container not found ("main")' in done.stderr

    async def refused() -> bool:
        said = (await run(kubectl, "logs", "missing")).stderr
        return 'container "main" in pod "missing" is waiting to start: ' in said and "pull" in said

    await eventually(refused, what="the log says why there is none")


async def test_attach(kubectl: Kubectl, cluster: Cluster, client: KubeClient) -> None:
    reader = "while read -r line; do echo got $line; done"
    attached = pod("attached", reader, container={"stdin": True, "stdinOnce": True}, restartPolicy="Never")
    await started(cluster, client, attached)
    done = await run(kubectl, "attach", "-i", "attached", stdin="a\nb\n")
    assert (done.returncode, done.stdout) == (0, "got a\ngot b\n"), done.stderr
    await cluster.until(client, "attached", lambda one: one["status"]["phase"] == "Succeeded")


async def test_attach_to_a_terminal(kubectl: Kubectl, cluster: Cluster, client: KubeClient) -> None:
    shell = {"stdin": True, "stdinOnce": True, "tty": True}
    await started(cluster, client, pod("console", "exec /bin/sh", container=shell, restartPolicy="Never"))

    def converse() -> None:
        child = spawn(kubectl, "attach", "-it", "console")
        child.sendline("echo he''re")
        child.expect("here")
        child.setwinsize(44, 99)
        child.sendline("until [ \"$(stty size)\" = '44 99' ]; do :; done; echo resi''zed")
        child.expect("resized")
        child.sendline("exit 0")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0

    await asyncio.to_thread(converse)
    await cluster.until(client, "console", lambda one: one["status"]["phase"] == "Succeeded")


async def test_run_and_remove(kubectl: Kubectl, cluster: Cluster, client: KubeClient) -> None:
    words = ("run", "once", f"--image={images.SHELL}", "--restart=Never", "-i", "--rm", "--command", "--")
    done = await run(kubectl, *words, "/bin/sh", "-c", "read x; echo got $x; exit 4", stdin="hello\n")
    assert "got hello" in done.stdout
    assert done.returncode == 4, done.stderr
    await cluster.gone(client, "once")


async def test_cp_both_ways(kubectl: Kubectl, cluster: Cluster, client: KubeClient, tmp_path: Path) -> None:
    await started(cluster, client, pod("copies"))
    content = os.urandom(BIG)
    (tmp_path / "up").write_bytes(content)
    done = await run(kubectl, "cp", str(tmp_path / "up"), "copies:/tmp/there")
    assert done.returncode == 0, done.stderr
    done = await run(kubectl, "cp", "copies:/tmp/there", str(tmp_path / "down"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "down").read_bytes() == content


SHOUTER = """
import socketserver
class Shouter(socketserver.BaseRequestHandler):
    def handle(self):
        while content := self.request.recv(65536):
            self.request.sendall(content.upper())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
with Server(("127.0.0.1", 7777), Shouter) as server:
    print("up", flush=True)
    server.serve_forever()
"""


@asynccontextmanager
async def inside(cluster: Cluster, shown: Pod, program: str) -> AsyncIterator[None]:
    """A program of this machine in the pod's network: what it listens on at 127.0.0.1 is the pod's own."""
    sandbox = next(one for name, one in cluster.containers(shown).items() if name.startswith("k8s_POD_"))
    show = ["docker", "inspect", "-f", "{{.State.Pid}}", sandbox]
    done = await asyncio.to_thread(subprocess.run, show, check=True, capture_output=True, text=True)
    pid = done.stdout.strip()
    command = ["nsenter", "-t", pid, "-n", sys.executable, "-c", program]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"up\n"
        yield
    finally:
        process.kill()
        await process.wait()


async def test_port_forward(kubectl: Kubectl, cluster: Cluster, client: KubeClient) -> None:
    shown = await started(cluster, client, pod("ported"))
    here, refused = free_port(), free_port()

    async def talk(content: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", here)
        answer = asyncio.create_task(reader.readexactly(len(content)))
        writer.write(content)
        await writer.drain()
        received = await asyncio.wait_for(answer, 60)
        writer.close()
        return received

    command = [kubectl.binary, "--server", kubectl.server, "port-forward", "--address=127.0.0.1", "ported"]
    command += [f"{here}:7777", f"{refused}:7778"]
    pipe = asyncio.subprocess.PIPE
    async with inside(cluster, shown, SHOUTER):
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        assert process.stdout is not None
        try:
            for _ in range(2):
                assert (await asyncio.wait_for(process.stdout.readline(), 20)).startswith(b"Forwarding from 127")
            answers = await asyncio.gather(*(talk(f"hello {number}".encode()) for number in range(8)))
            assert answers == [f"HELLO {number}".encode() for number in range(8)]
            big = os.urandom(BIG)
            assert await talk(big) == big.upper()
            reader, writer = await asyncio.open_connection("127.0.0.1", refused)
            assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()
            said = b""
            while b"connection refused" not in said:
                line = await asyncio.wait_for(process.stdout.readline(), 20)
                assert line, said
                said += line
            assert b"an error occurred forwarding" in said
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def test_logs(kubectl: Kubectl, cluster: Cluster, client: KubeClient) -> None:
    await started(cluster, client, pod("says", "echo one; echo two; exec sleep 1000"))

    async def all_said() -> bool:
        return (await run(kubectl, "logs", "says")).stdout == "one\ntwo\n"

    await eventually(all_said, what="both lines are there")
    assert (await run(kubectl, "logs", "says", "--tail=1")).stdout == "two\n"
    lines = (await run(kubectl, "logs", "says", "--timestamps", "--since=1h")).stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two"]
    assert all(line[4] == "-" and line.split()[0].endswith("Z") for line in lines)
    assert (await run(kubectl, "logs", "says", "--since-time=2100-01-01T00:00:00Z")).stdout == ""
    assert (await run(kubectl, "logs", "says", "--limit-bytes=3")).stdout == "one"
    done = await run(kubectl, "logs", "says", "-p")
    assert 'previous terminated container "main" in pod "says" not found' in done.stderr


async def test_usage(cluster: Cluster, client: KubeClient) -> None:
    busy = "while :; do :; done"
    shown = await started(cluster, client, pod("busy", busy, container={"resources": {"limits": {"cpu": "500m"}}}))
    node = shown["spec"]["nodeName"]
    raw = await asyncio.to_thread(cluster.kubectl, "get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary")
    summary = json.loads(raw)
    assert summary["node"]["nodeName"] == node
    (one,) = [one for one in summary["pods"] if one["podRef"]["name"] == "busy"]
    (container,) = one["containers"]
    assert container["name"] == "main"
    assert 50_000_000 < container["cpu"]["usageNanoCores"] < 1_000_000_000
    assert container["memory"]["workingSetBytes"] > 0
    assert one["network"]["interfaces"][0]["name"] == "eth0"
    text = await asyncio.to_thread(cluster.kubectl, "get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics/resource")
    assert 'container_cpu_usage_seconds_total{container="main",namespace="default",pod="busy"} ' in text
    assert await asyncio.to_thread(cluster.kubectl, "get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz") == "ok"
    listed = await asyncio.to_thread(cluster.kubectl, "get", "--raw", f"/api/v1/nodes/{node}/proxy/logs/")
    assert "<pre>" in listed
