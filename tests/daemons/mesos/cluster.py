"""A Mesos cluster of real daemons on loopback, and a framework to drive it by hand."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from k8slab.mesos.client import MesosError
from k8slab.mesos.client.scheduler import SchedulerClient, launch
from tests.daemons.processes import Daemon, Supervisor, eventually, free_port

SECONDS = 40.0


@dataclass
class Node:
    """A master or an agent: its process and where it serves."""

    daemon: Daemon
    port: int
    work_dir: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass
class Cluster:
    """Masters and agents that belong to one test. ``master_flag`` is what agents and frameworks are told."""

    supervisor: Supervisor
    zk: str | None = None
    masters: list[Node] = field(default_factory=list)
    agents: list[Node] = field(default_factory=list)

    @property
    def master_flag(self) -> str:
        return self.zk or self.masters[0].address

    def master(self, *flags: str, wait: bool = True) -> Node:
        index = len(self.masters)
        port = free_port()
        work_dir = self.supervisor.directory / f"master-{index}"
        argv = ["--ip=127.0.0.1", f"--port={port}", f"--work_dir={work_dir}", "--cluster=test", *flags]
        if self.zk is not None:
            argv += [f"--zk={self.zk}", "--quorum=2"]
        daemon = self.supervisor.module(f"master-{index}", "k8slab.mesos.master.main", *argv)
        daemon.start(wait=wait)
        self.masters.append(Node(daemon=daemon, port=port, work_dir=work_dir))
        return self.masters[-1]

    def agent(
        self,
        *flags: str,
        resources: str = "cpus:4;mem:4096;disk:2000;ports:[31000-31099]",
        env: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Node:
        index = len(self.agents)
        port = free_port()
        work_dir = self.supervisor.directory / f"agent-{index}"
        argv = [
            f"--master={self.master_flag}",
            "--ip=127.0.0.1",
            f"--port={port}",
            f"--hostname=agent-{index}",
            f"--work_dir={work_dir}",
            f"--resources={resources}",
            "--registration_backoff_factor=100ms",
            *flags,
        ]
        daemon = self.supervisor.module(f"agent-{index}", "k8slab.mesos.agent.main", *argv, env=env)
        daemon.start(wait=wait)
        self.agents.append(Node(daemon=daemon, port=port, work_dir=work_dir))
        return self.agents[-1]

    async def state(self, node: Node | None = None) -> dict[str, Any]:
        return await get_json(f"{(node or self.masters[0]).url}/state")


async def get_json(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200, f"{url}: {response.status} {await response.text()}"
        return await response.json()


class Driver:
    """A framework that remembers every event; acknowledges updates itself unless told not to."""

    def __init__(self, master: str, *, acknowledge: bool = True, **info: Any) -> None:
        framework = {"user": "root", "name": "test", "failover_timeout": 60.0, "checkpoint": True, **info}
        self.client = SchedulerClient(
            master, framework, max_backoff=0.5, session_timeout=2.0, explicit_acknowledgements=True
        )
        self.acknowledge = acknowledge
        self.events: list[dict[str, Any]] = []
        self.offers: dict[str, dict[str, Any]] = {}
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Driver:
        self._task = asyncio.create_task(self._listen())
        await self.event("SUBSCRIBED")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        async for event in self.client.events():
            self.events.append(event)
            match event["type"]:
                case "OFFERS":
                    self.offers |= {offer["id"]["value"]: offer for offer in event["offers"]["offers"]}
                case "RESCIND":
                    self.offers.pop(event["rescind"]["offer_id"]["value"], None)
                case "DISCONNECTED":
                    self.offers.clear()
                case "UPDATE" if self.acknowledge:
                    # With a master that is being killed it gets lost, and the update returns.
                    with contextlib.suppress(MesosError):
                        await self.client.acknowledge(event["update"]["status"])
            self._news.set()
            self._news = asyncio.Event()

    async def until(self, found: Callable[[], Any], *, timeout: float = SECONDS, what: str = "") -> Any:
        """The first truthy answer of ``found``, asked again at every event."""
        try:
            async with asyncio.timeout(timeout):
                while not (answer := found()):
                    await self._news.wait()
                return answer
        except TimeoutError:
            seen = [event if event["type"] != "OFFERS" else "OFFERS" for event in self.events]
            raise AssertionError(f"not within {timeout:g} s: {what or found}; events: {seen}") from None

    async def event(self, kind: str, *, after: int = 0, timeout: float = SECONDS) -> dict[str, Any]:
        """The first event of this type among those after the first ``after``."""
        return await self.until(
            lambda: next((event for event in self.events[after:] if event["type"] == kind), None),
            timeout=timeout,
            what=kind,
        )

    async def offer(self, *, timeout: float = SECONDS, agent: str | None = None) -> dict[str, Any]:
        """Take an offer out of those at hand."""

        def fitting() -> dict[str, Any] | None:
            return next((o for o in self.offers.values() if agent in (None, o["hostname"])), None)

        offer = await self.until(fitting, timeout=timeout, what="an offer")
        del self.offers[offer["id"]["value"]]
        return offer

    def statuses(self, task_id: str) -> list[dict[str, Any]]:
        updates = [event["update"]["status"] for event in self.events if event["type"] == "UPDATE"]
        return [status for status in updates if status["task_id"]["value"] == task_id]

    async def status(self, task_id: str, *states: str, timeout: float = SECONDS) -> dict[str, Any]:
        """The first status of the task in one of ``states``."""
        return await self.until(
            lambda: next((status for status in self.statuses(task_id) if status["state"] in states), None),
            timeout=timeout,
            what=f"{task_id} in {states}",
        )

    async def launch(self, *tasks: dict[str, Any], agent: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Launch on the next offer; the offer."""
        offer = await self.offer(agent=agent)
        infos = [{"agent_id": offer["agent_id"], **task} for task in tasks]
        await self.client.accept([offer["id"]["value"]], [launch(infos)], **kwargs)
        return offer


_numbers = itertools.count()


def scalar(name: str, value: float) -> dict[str, Any]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


def task(task_id: str = "", *, cpus: float = 0.1, mem: float = 32, **fields: Any) -> dict[str, Any]:
    """A TaskInfo without agent id."""
    task_id = task_id or f"task-{next(_numbers)}"
    resources = [scalar("cpus", cpus), scalar("mem", mem)]
    return {"name": task_id, "task_id": {"value": task_id}, "resources": resources, **fields}


def command(task_id: str, value: str, **fields: Any) -> dict[str, Any]:
    return task(task_id, command={"value": value}, **fields)


__all__ = ["Cluster", "Driver", "Node", "command", "eventually", "get_json", "scalar", "task"]


def remove_containers(agents: Sequence[Node]) -> None:
    """Those that the agents have in the engine: their sandboxes say whose they are."""
    shown = '{{.ID}} {{.Label "org.apache.mesos.sandbox"}}'
    listing = ["docker", "ps", "-a", "--filter", "label=org.apache.mesos.sandbox", "--format", shown]
    for line in subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines():
        container, _, sandbox = line.partition(" ")
        if any(sandbox.startswith(str(agent.work_dir)) for agent in agents):
            # An agent may be removing it itself at this moment, which the engine calls a failure of ours.
            subprocess.run(["docker", "rm", "--force", container], check=False, capture_output=True)
