"""Tasks in containers of the node's engine."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from k8slab.mesos.client.stream import decode_bytes
from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, remove_containers
from tests.daemons.mesos.test_executors import all_acknowledged

IMAGE = f"k8slab-test/shell:{os.getpid()}"


def docker(*argv: str, stdin: bytes | None = None) -> str:
    return subprocess.run(["docker", *argv], check=True, capture_output=True, input=stdin).stdout.decode().strip()


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """Of nothing but a shell, made of this machine's own."""
    programs = [Path(path).resolve() for path in ("/bin/sh", "/bin/cat", "/bin/sleep", "/bin/touch", "/bin/hostname")]
    libraries = {
        word
        for path in programs
        for word in subprocess.run(["ldd", path], capture_output=True, text=True).stdout.split()
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in programs:
            tar.add(path, f"bin/{'sh' if path == programs[0] else path.name}")
        for library in sorted(word for word in libraries if word.startswith("/")):
            tar.add(Path(library).resolve(), library.lstrip("/"))
    docker("import", "-", IMAGE, stdin=buffer.getvalue())
    yield IMAGE
    docker("rmi", "--force", IMAGE)


@pytest.fixture
def engine(image: str, master: Cluster) -> Iterator[Cluster]:
    agent = master.agent("--containerizers=docker,mesos", "--docker_remove_delay=0secs")
    yield master
    remove_containers([agent])


def contained(task_id: str, line: str, *, network: str = "HOST", **fields: Any) -> dict[str, Any]:
    container = {"type": "DOCKER", "docker": {"image": IMAGE, "network": network}}
    return command(task_id, line, container=container) | fields


def name_of(status: dict[str, Any]) -> str:
    return f"mesos-{status['container_status']['container_id']['value']}"


def sandbox(cluster: Cluster, task_id: str) -> Path:
    [path] = cluster.agents[0].work_dir.glob(f"slaves/latest/frameworks/*/executors/{task_id}/runs/latest")
    return path


async def gone(name: str) -> None:
    async def absent() -> bool:
        return not await asyncio.to_thread(docker, "ps", "-aq", "--filter", f"name={name}")

    await eventually(absent, what=f"{name} is removed")


async def test_a_container_runs_to_its_end(engine: Cluster) -> None:
    async with Driver(engine.master_flag) as driver:
        line = 'echo out; echo err >&2; echo "$GREETING" > $MESOS_SANDBOX/written; exit 3'
        variables = {"variables": [{"name": "GREETING", "value": "hi"}]}
        await driver.launch(contained("ends", "") | {"command": {"value": line, "environment": variables}})
        status = await driver.status("ends", "TASK_FAILED", "TASK_FINISHED")
        assert status["message"] == "Container exited with status 3"
        states = [status["state"] for status in driver.statuses("ends")]
        assert states == ["TASK_STARTING", "TASK_RUNNING", "TASK_FAILED"]
        [shown] = json.loads(decode_bytes(driver.statuses("ends")[1]["data"]))
        assert shown["Name"] == f"/{name_of(status)}"
        home = sandbox(engine, "ends")
        assert "out" in (home / "stdout").read_text().splitlines()
        assert "err" in (home / "stderr").read_text().splitlines()
        assert (home / "written").read_text() == "hi\n"
        await gone(name_of(status))


async def test_limits_network_and_ports(engine: Cluster) -> None:
    ports = {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31007, "end": 31007}]}}
    task = contained("bridged", "sleep 1000", network="BRIDGE")
    task["resources"].append(ports)
    task["container"]["docker"]["port_mappings"] = [{"host_port": 31007, "container_port": 80, "protocol": "tcp"}]
    foreign = contained("foreign", "sleep 1000", network="BRIDGE")
    foreign["container"]["docker"]["port_mappings"] = [{"host_port": 31008, "container_port": 80}]
    async with Driver(engine.master_flag) as driver:
        await driver.launch(task, foreign)
        running = await driver.status("bridged", "TASK_RUNNING")
        shown = json.loads(docker("inspect", name_of(running)))[0]
        assert shown["HostConfig"]["NetworkMode"] == "bridge"
        assert shown["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "31007"}]}
        assert (shown["HostConfig"]["CpuShares"], shown["HostConfig"]["Memory"]) == (102, 32 << 20)
        [info] = running["container_status"]["network_infos"]
        address = shown["NetworkSettings"]["IPAddress"]
        assert info["ip_addresses"] == [{"protocol": "IPv4", "ip_address": address}]
        refused = await driver.status("foreign", "TASK_FAILED")
        assert refused["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
        assert "Port [31008] not included in resources" in refused["message"]
        await driver.client.kill("bridged")
        await driver.status("bridged", "TASK_KILLED")
        await gone(name_of(running))


async def test_kill_with_grace_and_a_command_check_inside(engine: Cluster) -> None:
    async with Driver(engine.master_flag) as driver:
        check = {"delay_seconds": 0.0, "interval_seconds": 0.1, "type": "COMMAND"}
        check["command"] = {"command": {"value": "hostname > /checked; cat /inside; exit 4"}}
        line = "trap '' TERM; echo inside > /inside; while :; do sleep 0.1; done"
        await driver.launch(contained("stubborn", line, check=check, network="BRIDGE"))
        seen = {"type": "COMMAND", "command": {"exit_code": 4}}
        await driver.until(
            lambda: driver.statuses("stubborn")[-1:] and driver.statuses("stubborn")[-1].get("check_status") == seen,
            what="the check's status",
        )
        asked = asyncio.get_running_loop().time()
        await driver.client.kill("stubborn", grace_seconds=1.0)
        status = await driver.status("stubborn", "TASK_KILLED")
        assert 0.9 < asyncio.get_running_loop().time() - asked < 5.0
        assert status["message"] == "Container exited with status 137"


async def test_containers_outlive_the_agent_and_end_with_their_executor(engine: Cluster) -> None:
    agent = engine.agents[0]
    async with Driver(engine.master_flag) as driver:
        await driver.launch(contained("kept", "sleep 1000"), contained("orphan", "sleep 1000"))
        kept = await driver.status("kept", "TASK_RUNNING")
        orphan = await driver.status("orphan", "TASK_RUNNING")
        await eventually(lambda: all_acknowledged(agent), what="the agent owes nothing")
        agent.daemon.kill()
        os.kill(orphan["container_status"]["executor_pid"], 9)
        await agent.daemon.start_async()
        assert (await driver.status("orphan", "TASK_FAILED"))["reason"] == "REASON_EXECUTOR_TERMINATED"
        await gone(name_of(orphan))
        assert docker("inspect", "--format", "{{.State.Running}}", name_of(kept)) == "true"
        assert [status["state"] for status in driver.statuses("kept")] == ["TASK_STARTING", "TASK_RUNNING"]
        await driver.client.kill("kept")
        await driver.status("kept", "TASK_KILLED")
        await gone(name_of(kept))


class Wire:
    """The engine's socket at another path, which can be cut and mended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        self.path.unlink()
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_engine, to_engine = await asyncio.open_unix_connection("/var/run/docker.sock")
        self._open |= {writer, to_engine}

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
                if sink.can_write_eof():
                    sink.write_eof()

        await asyncio.gather(pump(reader, to_engine), pump(from_engine, writer))
        for end in (writer, to_engine):
            end.close()
            self._open.discard(end)


@pytest.fixture
async def wired(image: str, master: Cluster) -> AsyncIterator[tuple[Cluster, Wire]]:
    """An agent that speaks to the engine through a wire. Sockets have short paths only."""
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(Path(folder, "engine"))
        await wire.mend()
        flags = ("--containerizers=docker,mesos", "--docker_remove_delay=0secs", f"--docker_socket={wire.path}")
        agent = await asyncio.to_thread(master.agent, *flags)
        yield master, wire
        await asyncio.to_thread(remove_containers, [agent])
        await asyncio.to_thread(agent.daemon.stop)
        await wire.cut()


async def test_tasks_outlive_an_engine_that_is_away(wired: tuple[Cluster, Wire]) -> None:
    cluster, wire = wired
    line = "echo begun; until test -e $MESOS_SANDBOX/go; do sleep 0.1; done; echo ended; exit 3"
    async with Driver(cluster.master_flag) as driver:
        await driver.launch(contained("patient", line), contained("doomed", "trap '' TERM; sleep 1000"))
        running = await driver.status("patient", "TASK_RUNNING")
        await driver.status("doomed", "TASK_RUNNING")
        home = sandbox(cluster, "patient")

        async def begun() -> bool:
            return "begun" in (home / "stdout").read_text()

        await eventually(begun, what="its output")
        await wire.cut()
        await driver.client.kill("doomed", grace_seconds=0.1)

        async def noticed() -> bool:
            return "signal 15: the engine does not answer" in (sandbox(cluster, "doomed") / "stderr").read_text()

        await eventually(noticed, what="signals do not come through")
        (home / "go").touch()
        assert [status["state"] for status in driver.statuses("patient")] == ["TASK_STARTING", "TASK_RUNNING"]
        await wire.mend()
        ended = await driver.status("patient", "TASK_FAILED", "TASK_FINISHED")
        assert (ended["source"], ended["message"]) == ("SOURCE_EXECUTOR", "Container exited with status 3")
        assert (home / "stdout").read_text().splitlines() == ["begun", "ended"]
        assert (await driver.status("doomed", "TASK_KILLED"))["message"] == "Container exited with status 137"
        await gone(name_of(running))


async def test_containers_are_removed_when_the_engine_is_back(wired: tuple[Cluster, Wire]) -> None:
    cluster, wire = wired
    async with Driver(cluster.master_flag) as driver:
        await driver.launch(contained("orphan", "sleep 1000"))
        running = await driver.status("orphan", "TASK_RUNNING")
        await wire.cut()
        os.kill(running["container_status"]["executor_pid"], 9)
        assert (await driver.status("orphan", "TASK_FAILED"))["reason"] == "REASON_EXECUTOR_TERMINATED"
        assert docker("inspect", "--format", "{{.State.Running}}", name_of(running)) == "true"
        await wire.mend()
        await gone(name_of(running))


async def test_a_clean_up_leaves_no_container(engine: Cluster) -> None:
    agent = engine.agents[0]
    async with Driver(engine.master_flag) as driver:
        await driver.launch(contained("forgotten", "sleep 1000"))
        running = await driver.status("forgotten", "TASK_RUNNING")
        await asyncio.to_thread(agent.daemon.stop)
        argv = [*agent.daemon.argv, "--recover=cleanup"]
        await asyncio.to_thread(subprocess.run, argv, env={**os.environ, **agent.daemon.env}, check=True, timeout=30.0)
        assert not docker("ps", "-aq", "--filter", f"name={name_of(running)}")


async def test_an_image_that_cannot_be_had(engine: Cluster) -> None:
    task = contained("imageless", "true")
    task["container"]["docker"]["image"] = "k8slab-test/nobody-has-this:1"
    async with Driver(engine.master_flag) as driver:
        await driver.launch(task)
        status = await driver.status("imageless", "TASK_FAILED")
        assert status["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
        assert "Failed to pull image 'k8slab-test/nobody-has-this:1'" in status["message"]


async def test_without_the_docker_containerizer(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(contained("hopeless", "true"))
        status = await driver.status("hopeless", "TASK_FAILED")
        assert (status["source"], status["reason"]) == ("SOURCE_AGENT", "REASON_CONTAINER_LAUNCH_FAILED")
        assert status["message"].startswith("None of the enabled containerizers (mesos) could create a container")
