"""What a task of a built-in executor runs: a process of the machine. Another kind lives in ``docker_payload``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from k8slab.mesos.agent.processes import Identity, identity, open_output, signal_tree


class Payload(Protocol):
    """``prepare`` may take long and be cancelled; ``start`` only once and quickly. They and ``wait`` raise OSError.

    ``noun`` is what it is called when it ends; ``facts`` goes into the update that says that it runs.
    """

    @property
    def noun(self) -> str: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...

    async def prepare(self) -> None: ...

    async def start(self) -> None: ...

    async def wait(self) -> int:
        """The exit code, or minus the signal that ended it; OSError says why neither can be known any more."""

    async def signal(self, number: int) -> None:
        """To everything the task started. Cancelled when that has ended."""

    async def run_beside(self, command: Mapping[str, Any]) -> int:
        """Run a CommandInfo where the task lives; its exit code. Ended when cancelled."""


async def _nothing() -> None:
    pass


class ProcessPayload:
    """In a group of its own, but the executor's session: signalled without the executor, found when that is gone."""

    noun = "Command"
    facts: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        command: Mapping[str, Any],
        *,
        environment: Mapping[str, str],
        directory: Path,
        user: str | None = None,
        prepare: Callable[[], Awaitable[None]] = _nothing,
        own_output: bool = False,
    ) -> None:
        """``own_output``: into stdout and stderr in ``directory``, not into the executor's."""
        self._command = command
        self._environment = {**environment, **variables(command)}
        self._directory = directory
        self._user = user
        self._prepare = prepare
        self._own_output = own_output
        self._process: asyncio.subprocess.Process | None = None

    async def prepare(self) -> None:
        await self._prepare()

    async def start(self) -> None:
        if not self._own_output:
            self._process = await self._spawn(self._command, self._environment)
            return
        who = self._who()
        with contextlib.ExitStack() as files:
            out, err = (files.enter_context(open_output(self._directory / name, who)) for name in ("stdout", "stderr"))
            self._process = await self._spawn(self._command, self._environment, stdout=out, stderr=err)

    def _who(self) -> Identity | None:
        try:
            return identity(self._user)
        except KeyError as error:
            raise OSError(f"Failed to get user information for '{self._user}'") from error

    async def _spawn(
        self, command: Mapping[str, Any], environment: Mapping[str, str], **output: Any
    ) -> asyncio.subprocess.Process:
        executable, argv = command_line(command)
        who = self._who()
        become: dict[str, Any] = {"user": who[0], "group": who[1], "extra_groups": list(who[2])} if who else {}
        try:
            return await asyncio.create_subprocess_exec(
                argv[0],
                *argv[1:],
                executable=executable,
                env=dict(environment),
                cwd=self._directory,
                process_group=0,
                **become,
                **output,
            )
        except ValueError as error:
            # What no process can be given: a zero byte, or "=" in the name of a variable.
            raise OSError(str(error)) from error

    async def wait(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    async def signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            signal_tree(self._process.pid, number)

    async def run_beside(self, command: Mapping[str, Any]) -> int:
        environment = {**self._environment, **variables(command)}
        process = await self._spawn(command, environment)
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                signal_tree(process.pid, signal.SIGKILL)
                await process.wait()


def command_line(command: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What to execute, and as what: arguments[0] is the name a program is called by, not the program."""
    value = command.get("value", "")
    if command.get("shell", True):
        return "/bin/sh", ["sh", "-c", value]
    return value, command.get("arguments") or [value]


def variables(command: Mapping[str, Any]) -> dict[str, str]:
    """CommandInfo.environment as a dict."""
    listed = (command.get("environment") or {}).get("variables", ())
    return {variable["name"]: variable.get("value", "") for variable in listed}


def inherited(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a task gets of its executor's environment."""
    return {key: text for key, text in environ.items() if key not in EXECUTOR_ONLY}


EXECUTOR_ONLY = frozenset(("MESOS_HTTP_COMMAND_EXECUTOR", "MESOS_EXECUTOR_AUTHENTICATION_TOKEN"))
