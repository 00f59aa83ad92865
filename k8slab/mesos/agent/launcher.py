"""From an ExecutorInfo to a running process: sandbox, environment, command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k8slab.mesos.agent import programs
from k8slab.mesos.agent.docker_cleaner import DockerCleaner
from k8slab.mesos.agent.fetching import FetcherCache, fetch
from k8slab.mesos.agent.model import Executor, Framework
from k8slab.mesos.agent.paths import make_sandbox, make_shared_sandbox
from k8slab.mesos.agent.payload import command_line, variables
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
    containerizers: Sequence[str] = ("mesos",)
    docker_socket: Path = Path("/var/run/docker.sock")
    docker_quota: bool = False
    sandbox_directory: str = "/mnt/mesos/sandbox"
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
        **({"container": task["container"]} if "container" in task else {}),
        "command": {**{key: command[key] for key in ("user", "uris", "environment") if key in command}, "shell": False},
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": COMMAND_CPUS}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": COMMAND_MEM}},
        ],
    }


class Launcher:
    def __init__(
        self, options: LauncherOptions, *, cache: FetcherCache | None = None, docker: DockerCleaner | None = None
    ) -> None:
        self.options = options
        self._cache = cache
        self._docker = docker

    async def launch(
        self,
        framework: Framework,
        executor: Executor,
        *,
        agent_id: str,
        joins: Callable[[], Sequence[Path]],
        on_exit: Callable[[int], None],
    ) -> Process:
        """Make the sandbox, fetch, start in the control groups of ``joins``. Raises LaunchError."""
        info = executor.info
        command = info.get("command") or {}
        self._check_container(executor)
        user = (command.get("user") or framework.info.get("user")) if self.options.switch_user else None
        try:
            if executor.is_default:
                make_shared_sandbox(executor.directory)
            else:
                make_sandbox(executor.directory, user)
            await fetch(command.get("uris", ()), executor.directory, user=user, cache=self._cache)
            executable, argv = self._command(executor, command, user=user)
            return Process.start(
                argv,
                executable=executable,
                env=self.environment(framework, executor, agent_id=agent_id),
                directory=executor.directory,
                # These two do what the user may not: become the tasks' users, speak to the engine.
                user=None if executor.is_default or executor.in_docker else user,
                on_exit=on_exit,
                joins=joins(),
            )
        except KeyError as error:
            raise LaunchError(f"Failed to get user information for '{user}'") from error
        except (OSError, ValueError) as error:
            raise LaunchError(f"Failed to launch container: {error}") from error

    def _check_container(self, executor: Executor) -> None:
        container = executor.info.get("container") or {}
        kind = container.get("type", "MESOS")
        possible = {
            "DOCKER": "docker" in self.options.containerizers and executor.is_command,
            "MESOS": "mesos" in self.options.containerizers and "image" not in container.get("mesos", {}),
        }
        if not possible.get(kind, False):
            raise LaunchError(
                f"None of the enabled containerizers ({','.join(self.options.containerizers)}) could create a "
                "container for the provided TaskInfo/ExecutorInfo message"
            )

    def _command(self, executor: Executor, command: Mapping[str, Any], *, user: str | None) -> tuple[str, list[str]]:
        if executor.in_docker:
            own = programs.argv(
                "docker_executor",
                f"--container={executor.docker_name}",
                f"--docker_socket={self.options.docker_socket}",
                f"--mapped_directory={self.options.sandbox_directory}",
                *(["--cgroups_enable_cfs"] if self.options.docker_quota else []),
            )
        elif executor.is_default:
            own = programs.argv("default_executor", f"--role={executor.role}", *([f"--user={user}"] if user else []))
        elif executor.is_command:
            own = programs.argv("command_executor")
        else:
            return command_line(command)
        return own[0], own

    def clean_up(self, executor: Executor) -> None:
        """It has ended; what lived outside of its process must end too."""
        if self._docker is not None and executor.in_docker:
            self._docker.remove(executor.docker_name)

    def end_strays(self, work_dir: Path, executors: Sequence[Executor]) -> None:
        """At the start: containers in the engine that none of these executors stands for."""
        if self._docker is not None:
            self._docker.end_strays(work_dir, {executor.docker_name for executor in executors})

    async def end_all(self, work_dir: Path) -> None:
        """When no agent is to come back here. Raises OSError when the engine cannot be asked."""
        if self._docker is not None:
            await self._docker.remove_all(work_dir)

    async def close(self) -> None:
        if self._docker is not None:
            await self._docker.close()

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
