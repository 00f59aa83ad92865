"""``k8slab mesos`` as a process of its own against real masters and agents."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.daemons.k8sm import images
from tests.daemons.mesos.cluster import Cluster, Driver, command, eventually, get_json, remove_containers
from tests.daemons.mesos.test_failover import leader_of, leads, three_masters
from tests.daemons.processes import ZooKeeper

PROGRAM = "from k8slab.cli.entry import main; main()"


@dataclass
class Ended:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@asynccontextmanager
async def started(cluster: Cluster, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    masters = ",".join(node.address for node in cluster.masters)
    verb = ["mesos", words[0], "--masters", masters, *words[1:]] if words else ["mesos", "--masters", masters]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *verb), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def k8slab_mesos(cluster: Cluster, *words: str) -> Ended:
    async with started(cluster, *words) as process:
        stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    return Ended(process.returncode or 0, stdout.decode(), stderr.decode())


async def test_what_there_is_as_tables_and_as_json(small: Cluster) -> None:
    async with Driver(small.master_flag, name="sleepers", role="batch") as driver:
        await driver.launch(command("long", "sleep 1000", cpus=1.0), refuse_seconds=0)
        await driver.status("long", "TASK_RUNNING")
        await driver.until(lambda: driver.offers, what="an offer of the rest")
        whole = await k8slab_mesos(small)
        assert whole.code == 0
        for word in ("leading", "agent-0", "sleepers", "batch", "25.0%", "1 running"):
            assert word in whole.stdout
        frameworks = (await k8slab_mesos(small, "frameworks", "-o", "json")).json
        assert frameworks["schema"] == 1
        [framework] = frameworks["frameworks"]
        assert (framework["share"], framework["dominant"], framework["roles"]) == (0.25, "cpus", ["batch"])
        [task] = (await k8slab_mesos(small, "tasks", "-o", "json")).json["tasks"]
        assert (task["id"], task["state"], task["agent"]) == ("long", "TASK_RUNNING", "agent-0")
        [agent] = (await k8slab_mesos(small, "agents", "-o", "json")).json["agents"]
        assert (agent["used"]["cpus"], agent["resources"]["cpus"], agent["tasks"]) == (1.0, 4.0, 1)
        [offer] = (await k8slab_mesos(small, "offers", "-o", "json")).json["offers"]
        assert offer["resources"]["ports"] == "[31000-31099]"
        [master] = (await k8slab_mesos(small, "masters", "-o", "json")).json["masters"]
        assert master["state"] == "leading"


async def test_a_command_is_run_to_its_end(small: Cluster) -> None:
    line = "echo hi; echo oops >&2; sleep 0.5; echo bye"
    done = await k8slab_mesos(small, "execute", "--cpus", "0.1", "--mem", "32", "--name", "hi", "--", line)
    assert (done.code, done.stdout) == (0, "hi\nbye\n"), done.stderr
    assert "oops" in done.stderr
    assert "TASK_FINISHED" in done.stderr.splitlines()[-1]
    state = await small.state()
    assert state["frameworks"] == []
    [framework] = state["completed_frameworks"]
    [task] = framework["completed_tasks"]
    assert (framework["name"], task["state"]) == ("hi", "TASK_FINISHED")
    assert (await k8slab_mesos(small, "logs", "hi")).stdout == "hi\nbye\n"
    long = await k8slab_mesos(small, "execute", "--", "seq", "200000")
    assert long.stdout == "".join(f"{number}\n" for number in range(1, 200_001))


async def test_what_a_command_writes_arrives_byte_for_byte(small: Cluster) -> None:
    line = r"head -c 200000 /dev/zero; printf '\377\376\200 \303'; printf '\261'"
    async with started(small, "execute", "--name", "bytes", "--", line) as process:
        stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert stdout == bytes(200_000) + b"\xff\xfe\x80 \xc3\xb1", stderr
    async with started(small, "logs", "bytes") as process:
        assert (await asyncio.wait_for(process.communicate(), 60))[0] == stdout


async def test_a_command_whose_output_nobody_reads_any_more_is_killed(small: Cluster) -> None:
    async with started(small, "execute", "--name", "chatty", "--", "while echo y; do sleep 0.1; done") as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"y\n"
        process.stdout._transport.close()  # type: ignore[attr-defined]
        assert await asyncio.wait_for(process.wait(), 30) == 141
    state = await small.state()
    assert state["frameworks"] == []
    assert state["completed_frameworks"][0]["completed_tasks"][0]["state"] == "TASK_KILLED"


async def test_an_interruption_does_not_wait_for_an_agent_that_is_away(small: Cluster) -> None:
    async with started(small, "execute", "--", "echo begun; exec sleep 1000") as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"begun\n"
        small.agents[0].daemon.signal(signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGINT)
            _, stderr = await asyncio.wait_for(process.communicate(), 40)
        finally:
            small.agents[0].daemon.signal(signal.SIGCONT)
    assert process.returncode == 130
    assert b"The task did not end within 10 s" in stderr
    assert (await small.state())["frameworks"] == []


async def test_a_leader_whose_name_means_nothing_here_is_found_without_a_word(
    zookeeper: ZooKeeper, cluster: Cluster
) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    for _ in range(2):
        cluster.master("--hostname=no-such-name.invalid")

    async def led() -> bool:
        return any([await leads(node) for node in cluster.masters])

    await eventually(led, what="a leader")
    cluster.agent()
    for _ in range(2):
        done = await k8slab_mesos(cluster, "execute", "--", "true")
        assert done.code == 0, done.stderr
        assert "no-such-name" not in done.stderr
        cluster.masters.reverse()


async def test_a_command_that_fails_says_so(small: Cluster) -> None:
    done = await k8slab_mesos(small, "execute", "--", "echo partly; exit 3")
    assert (done.code, done.stdout) == (1, "partly\n"), done.stderr
    assert "TASK_FAILED: Command exited with status 3" in done.stderr


async def test_an_interrupted_command_is_killed(small: Cluster) -> None:
    async with started(small, "execute", "--name", "endless", "--", "echo begun; exec sleep 1000") as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"begun\n"
        process.send_signal(signal.SIGINT)
        _, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130, stderr
    assert b"TASK_KILLED" in stderr
    state = await small.state()
    assert state["frameworks"] == []
    [framework] = state["completed_frameworks"]
    assert framework["completed_tasks"][0]["state"] == "TASK_KILLED"


async def test_a_command_outlives_the_leader_it_was_launched_by(zookeeper: ZooKeeper, cluster: Cluster) -> None:
    cluster.zk = zookeeper.url(f"/mesos-{uuid.uuid4()}")
    leader = await three_masters(cluster)
    agent = cluster.agent("--zk_session_timeout=1secs")
    line = "echo begun; while test ! -e over; do sleep 0.1; done; echo done"
    async with started(cluster, "execute", "--", line) as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"begun\n"
        leader.daemon.kill()
        [sandbox] = agent.work_dir.glob("slaves/*-S*/frameworks/*/executors/execute.*/runs/latest")
        (sandbox / "over").touch()
        rest, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, rest) == (0, b"done\n"), stderr.decode()
    found = await eventually(lambda: leader_of(cluster.masters), what="another leader")
    assert (await cluster.state(found))["frameworks"] == []


async def test_a_command_that_no_agent_has_room_for_waits(small: Cluster) -> None:
    async with started(small, "execute", "--cpus", "64", "--", "true") as process:
        assert process.stderr is not None
        assert b"No offer has 64 cpus" in await asyncio.wait_for(process.stderr.readline(), 30)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130
    assert (await small.state())["frameworks"] == []


async def test_the_log_of_a_task(small: Cluster) -> None:
    async with Driver(small.master_flag) as driver:
        await driver.launch(
            command("talker", "echo one; echo err >&2; while test ! -e over; do sleep 0.1; done; echo two")
        )
        await driver.status("talker", "TASK_RUNNING")

        async def said() -> bool:
            return (await k8slab_mesos(small, "logs", "talker")).stdout == "one\n"

        await eventually(said, what="the first line")
        assert "err\n" in (await k8slab_mesos(small, "logs", "--stderr", "talk")).stdout
        async with started(small, "logs", "-f", "talker") as process:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 30) == b"one\n"
            [framework] = (await get_json(f"{small.agents[0].url}/state"))["frameworks"]
            with open(framework["executors"][0]["directory"] + "/over", "w"):  # noqa: ASYNC230, PTH123
                pass
            rest, _ = await asyncio.wait_for(process.communicate(), 30)
        assert (rest, process.returncode) == (b"two\n", 0)
        unknown = await k8slab_mesos(small, "logs", "talkr")
        assert (unknown.code, "Did you mean talker?" in unknown.stderr) == (2, True)


async def test_without_a_leader_there_is_an_error_with_a_remedy(small: Cluster) -> None:
    small.masters[0].daemon.kill()
    for words in (("agents",), ("execute", "--", "true"), ("logs", "x")):
        done = await k8slab_mesos(small, *words)
        assert done.code == 1
        assert "No Mesos master leads" in done.stderr
        assert "`k8slab start zk mm`" in done.stderr
    masters = (await k8slab_mesos(small, "masters", "-o", "json")).json["masters"]
    assert [master["state"] for master in masters] == ["down"]


@pytest.fixture
def image(pod_images: None, cluster: Cluster) -> Iterator[str]:
    yield images.SHELL
    # The agent keeps what ended for hours.
    remove_containers(cluster.agents)


async def test_a_command_in_a_container(master: Cluster, image: str) -> None:
    master.agent("--containerizers=mesos,docker")
    done = await k8slab_mesos(
        master, "execute", "--docker-image", image, "--", "echo contained; ls -d /usr/share || exit 4"
    )
    assert (done.code, done.stdout) == (1, "contained\n"), done.stderr
    assert "exited with status 4" in done.stderr.splitlines()[-1]
