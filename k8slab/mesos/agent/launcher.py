"""From an ExecutorInfo to a running process: sandbox, environment, command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k8slab.mesos.agent.fetcher import fetch
from k8slab.mesos.agent.model import Executor, Framework
from k8slab.mesos.agent.processes import Process
from k8slab.mesos.durations import format_duration

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHOWN_COMMAND = 15
COMMAND_CPUS = 0.1
COMMAND_MEM = 32.0


class LaunchError(Exception):
    """Why an executor could not be started; becomes the message of its tasks' updates."""


@dataclass(frozen=True)
class LauncherOptions:
    """Times in seconds. ``environment`` is what every executor gets beside its own."""

    ip: str
    port: int
    shutdown_grace: float
    recovery_timeout: float
    subscription_backoff_max: float = 2.0
    switch_user: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


def command_executor_info(task: Mapping[str, Any], framework_id: str) -> dict[str, Any]:
    """The ExecutorInfo of the built-in executor that runs one command task."""
    task_id = task["task_id"]["value"]
    command = task["command"]
    words = command.get("value", "")
    shown = words if len(words) <= SHOWN_COMMAND else f"{words[: SHOWN_COMMAND - 3]}..."
    form = f"sh -c '{shown}'" if command.get("shell", True) else shown
    return {
        "executor_id": {"value": task_id},
        "framework_id": {"value": framework_id},
        "name": f"Command Executor (Task: {task_id}) (Command: {form})",
        "source": task_id,
        "command": {**{key: command[key] for key in ("user", "uris", "environment") if key in command}, "shell": False},
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": COMMAND_CPUS}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": COMMAND_MEM}},
        ],
    }


class Launcher:
    def __init__(self, options: LauncherOptions) -> None:
        self.options = options

    async def launch(
        self, framework: Framework, executor: Executor, *, agent_id: str, on_exit: Callable[[int], None]
    ) -> Process:
        """Make the sandbox, fetch, start. Raises LaunchError."""
        info = executor.info
        command = info.get("command") or {}
        if info.get("container", {}).get("type") == "DOCKER":
            raise LaunchError("No container could be created: DOCKER is not among this agent's containerizers")
        user = (command.get("user") or framework.info.get("user")) if self.options.switch_user else None
        try:
            make_sandbox(executor.directory, user)
            await fetch(command.get("uris", ()), executor.directory, user=user)
            executable, argv = self._command(executor, command)
            return Process.start(
                argv,
                executable=executable,
                env=self.environment(framework, executor, agent_id=agent_id),
                directory=executor.directory,
                user=user,
                on_exit=on_exit,
            )
        except KeyError as error:
            raise LaunchError(f"Failed to get user information for '{user}'") from error
        except (OSError, ValueError) as error:
            raise LaunchError(f"Failed to launch container: {error}") from error

    def _command(self, executor: Executor, command: Mapping[str, Any]) -> tuple[str, list[str]]:
        """What to execute, and as what: arguments[0] is the name a program is called by, not the program."""
        if executor.is_command:
            argv = command_executor_argv()
            return argv[0], argv
        value = command.get("value", "")
        if command.get("shell", True):
            return "/bin/sh", ["sh", "-c", value]
        return value, command.get("arguments") or [value]

    def environment(self, framework: Framework, executor: Executor, *, agent_id: str) -> dict[str, str]:
        options = self.options
        grace = executor.info.get("shutdown_grace_period", {}).get("nanoseconds")
        env = {
            "MESOS_FRAMEWORK_ID": executor.framework_id,
            "MESOS_EXECUTOR_ID": executor.executor_id,
            "MESOS_SLAVE_ID": agent_id,
            "MESOS_SLAVE_PID": f"slave(1)@{options.ip}:{options.port}",
            "MESOS_AGENT_ENDPOINT": f"{options.ip}:{options.port}",
            "MESOS_DIRECTORY": str(executor.directory),
            "MESOS_SANDBOX": str(executor.directory),
            "MESOS_CHECKPOINT": "1" if framework.checkpoint else "0",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": format_duration(
                options.shutdown_grace if grace is None else grace / 1e9
            ),
            "MESOS_HTTP_COMMAND_EXECUTOR": "1" if executor.is_command else "0",
            "LIBPROCESS_IP": options.ip,
            "LIBPROCESS_PORT": "0",
        }
        if framework.checkpoint:
            env["MESOS_RECOVERY_TIMEOUT"] = format_duration(options.recovery_timeout)
            env["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = format_duration(options.subscription_backoff_max)
        if executor.is_command:
            env["MESOS_ALLOCATION_ROLE"] = executor.role
        env |= options.environment
        env |= variables(executor.info.get("command") or {})
        env.setdefault("PATH", STANDARD_PATH)
        return env


def command_executor_argv() -> list[str]:
    """This very interpreter and package, found without leaving a trace in the environment its task inherits."""
    code = (
        f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}; "
        "from k8slab.mesos.agent.command_executor import main; sys.exit(main())"
    )
    return [sys.executable, "-I", "-c", code]


def variables(command: Mapping[str, Any]) -> dict[str, str]:
    """CommandInfo.environment as a dict."""
    listed = (command.get("environment") or {}).get("variables", ())
    return {variable["name"]: variable.get("value", "") for variable in listed}


def make_sandbox(directory: Path, user: str | None) -> None:
    """Raises KeyError when there is no such user."""
    import pwd

    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o750)
    if user and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(directory, entry.pw_uid, entry.pw_gid)
