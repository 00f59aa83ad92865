"""A command run on the cluster, and what tasks have written: the asynchronous half of ``k8slab mesos``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from rich.text import Text

from k8slab.cli.mesos_cluster import Known, addresses, cluster
from k8slab.cli.session import Session, look
from k8slab.errors import AmbiguousTask, Interrupted, MesosFailed, PackageMissing, UnknownTask
from k8slab.view.mesos import ended, progress
from k8slab.view.mesos_cluster import LIVE, Cluster, Task

if TYPE_CHECKING:
    from k8slab.mesos.client.command import Command

FAILED = 1


@contextlib.contextmanager
def _client_there() -> Iterator[None]:
    """On a host that only drives labs, the daemons' libraries may be missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise PackageMissing(error.name or "aiohttp") from error


def task_command(words: Sequence[str], *, name: str, cpus: float, mem: float, role: str, docker_image: str) -> Command:
    """One word is a shell line as it is; several are a program and its arguments."""
    with _client_there():
        from k8slab.mesos.client.command import Command

    line = words[0] if len(words) == 1 else shlex.join(words)
    task_id = f"{name}.{uuid.uuid4().hex[:8]}"
    return Command(task_id, line, name, cpus=cpus, mem=mem, role=role, docker_image=docker_image)


def run(session: Session, masters: Sequence[Known], command: Command) -> int:
    """The exit code: 0 finished, 130 interrupted, 1 whatever else became of it. Raises NoLeadingMaster, MesosFailed."""
    from k8slab.mesos.client import MesosError

    # A cluster that nobody leads is told at once; later, one may be waited for.
    cluster(masters)
    _log_to(session.verbose)
    try:
        return asyncio.run(_run(session, addresses(masters), command))
    except MesosError as error:
        raise MesosFailed("The master refuses the framework.", why=error.text) from error


async def _run(session: Session, master: str, command: Command) -> int:
    from k8slab.mesos.client.command import CommandRun

    drawn = look(session.err)
    stop = asyncio.Event()

    def interrupted() -> None:
        session.say(Text("Interrupted: the task is being killed."))
        stop.set()

    def on_status(status: dict[str, Any]) -> None:
        session.say(progress(command.task_id, status, drawn))

    running = CommandRun(
        master,
        command,
        on_status=on_status,
        on_output=_write,
        on_waiting=lambda: session.say(
            Text(f"No offer has {command.cpus:g} cpus and {command.mem:g} MB yet; waiting.")
        ),
        on_trouble=lambda text: session.say(Text(text[:1].upper() + text[1:])),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted)
    final = await running.run(stop)
    session.say(ended(command.task_id, final, drawn))
    if stop.is_set():
        return Interrupted.exit_code
    return 0 if final is not None and final["state"] == "TASK_FINISHED" else FAILED


def _write(name: str, written: bytes) -> None:
    """As it is: what a task writes need not be text."""
    stream = sys.stdout if name == "stdout" else sys.stderr
    stream.flush()
    stream.buffer.write(written)
    stream.buffer.flush()


def _log_to(verbose: bool) -> None:
    """The client's own log is for those who ask: a master that is looked for elsewhere is no news to others."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    else:
        logging.getLogger("k8slab").addHandler(logging.NullHandler())


def print_log(masters: Sequence[Known], name: str, file: str, *, follow: bool) -> None:
    """What the task has written to ``file`` of its sandbox. Raises UnknownTask, MesosFailed, NoLeadingMaster."""
    with _client_there():
        from k8slab.mesos.client import MesosError

    found = cluster(masters)
    task = find(found, name)
    try:
        asyncio.run(_print_log(masters, found, task, file, follow=follow))
    except MesosError as error:
        raise MesosFailed(
            f"{file} of {task.id} cannot be read from {task.agent}.",
            why=error.text,
            remedy="`k8slab mesos agents` shows whether the agent is there.",
        ) from error


def find(found: Cluster, name: str) -> Task:
    """By id, by name, or by the beginning of an id: of several the living one, else the one that ended last."""
    ids = {task.id: task for task in reversed(found.tasks)}
    if name in ids:
        return ids[name]
    named = [task for task in found.tasks if task.name == name]
    meant = named or [task for task in found.tasks if task.id.startswith(name)]
    live = [task for task in meant if not task.ended]
    if not meant:
        raise UnknownTask(name, ids)
    if len(live) > 1:
        raise AmbiguousTask(name, [task.id for task in live])
    return (live or meant)[0]


async def _print_log(masters: Sequence[Known], found: Cluster, task: Task, file: str, *, follow: bool) -> None:
    from k8slab.mesos.client.operator import AgentClient
    from k8slab.mesos.client.sandbox import Sandbox

    address = next((agent.address for agent in found.agents if agent.id == task.agent_id), "")
    if not address:
        raise MesosFailed(f"The agent of {task.id} is gone, and what it wrote with it.")
    agent = AgentClient(address)
    over = asyncio.Event()
    if not follow or task.ended:
        over.set()
    watching = asyncio.create_task(_watch(masters, task, over))
    sandbox = Sandbox(agent, framework_id=task.framework_id, executor_id=task.executor_id, task_id=task.id)
    try:
        if over.is_set() and await sandbox.former_directory() is None:
            raise MesosFailed(
                f"The agent {task.agent} has no sandbox of {task.id} any more.",
                why="Sandboxes of executors that ended long ago make room for others.",
            )
        async with aclosing(sandbox.follow(file, over.is_set)) as pieces:
            async for written in pieces:
                _write("stdout", written)
    finally:
        watching.cancel()
        await agent.close()


async def _watch(masters: Sequence[Known], task: Task, over: asyncio.Event) -> None:
    """Set ``over`` once the task has ended, as any leader tells."""
    from k8slab.mesos.client import MesosError
    from k8slab.mesos.client.operator import MasterClient

    master = MasterClient(addresses(masters))
    try:
        while not over.is_set():
            try:
                shown = await master.get("/tasks", task_id=task.id, framework_id=task.framework_id)
            except MesosError:
                shown = {"tasks": [{"state": task.state}]}
            if all(one["state"] not in LIVE for one in shown["tasks"]):
                over.set()
            await asyncio.sleep(1.0)
    finally:
        await master.close()
