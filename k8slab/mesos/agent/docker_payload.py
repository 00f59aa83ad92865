"""A task's container in the node's engine."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import aiodocker
import aiohttp
import orjson
from yarl import URL

from k8slab.mesos.agent.docker_cleaner import ENGINE_ERRORS, NOT_FOUND, SANDBOX_LABEL, patiently
from k8slab.mesos.agent.docker_spec import entry, specification
from k8slab.mesos.agent.payload import variables

FOR_EVER = aiohttp.ClientTimeout(total=None)
LOG_HEADER = 8
LONGEST_LOG_TAIL_SECONDS = 5.0


@dataclass(frozen=True)
class DockerOptions:
    """``mapped_directory``: where the sandbox appears in the container. ``quota``: cpus are a ceiling."""

    container: str
    sandbox: Path
    mapped_directory: str
    quota: bool = False


class DockerPayload:
    """Its output goes to this process' own stdout and stderr, which are the sandbox's."""

    noun = "Container"

    def __init__(self, docker: aiodocker.Docker, task: Mapping[str, Any], options: DockerOptions) -> None:
        self._docker = docker
        self._task = task
        self._options = options
        self._container = docker.containers.container(options.container)
        self._logging: asyncio.Task[None] | None = None
        self._shown: dict[str, Any] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """What docker inspect says, and the address others reach it at."""
        networks = self._shown.get("NetworkSettings", {}).get("Networks") or {}
        addresses = [network["IPAddress"] for network in networks.values() if network.get("IPAddress")]
        facts: dict[str, Any] = {"data": orjson.dumps([self._shown])}
        if addresses:
            facts["labels"] = {"Docker.NetworkSettings.IPAddress": addresses[0]}
            found = [{"protocol": "IPv4", "ip_address": address} for address in addresses]
            facts["container_status"] = {"network_infos": [{"ip_addresses": found}]}
        return facts

    async def prepare(self) -> None:
        docker = self._task["container"]["docker"]
        try:
            if docker.get("force_pull_image") or not await self._has_image(docker["image"]):
                await self._docker.images.pull(docker["image"])
        except ENGINE_ERRORS as error:
            raise OSError(f"Failed to pull image '{docker['image']}': {error}") from error

    async def _has_image(self, image: str) -> bool:
        try:
            await self._docker.images.inspect(image)
        except aiodocker.DockerError as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    async def start(self) -> None:
        options = self._options
        try:
            spec = specification(
                self._task, sandbox=options.sandbox, mapped_directory=options.mapped_directory, quota=options.quota
            )
            spec["Env"].append(f"MESOS_CONTAINER_NAME={options.container}")
            spec["Labels"][SANDBOX_LABEL] = str(options.sandbox)
            self._container = await self._docker.containers.create(spec, name=options.container)
            await self._container.start()
            self._shown = await self._container.show()
        except (*ENGINE_ERRORS, ValueError, KeyError) as error:
            raise OSError(f"Failed to run docker container: {error}") from error
        self._logging = asyncio.create_task(self._follow())

    async def wait(self) -> int:
        try:
            status = await patiently(self._status, what="waiting")
        except aiodocker.DockerError as error:
            raise OSError(f"Container lost: {error.message}") from error
        if self._logging is not None:
            await asyncio.wait({self._logging}, timeout=LONGEST_LOG_TAIL_SECONDS)
            self._logging.cancel()
        return status

    async def _status(self) -> int:
        """Raises OSError when the engine goes away meanwhile."""
        try:
            return int((await self._container.wait(timeout=FOR_EVER))["StatusCode"])
        except (ValueError, KeyError, TypeError) as error:
            raise OSError("the answer was cut off") from error

    async def signal(self, number: int) -> None:
        try:
            await patiently(lambda: self._container.kill(signal=str(int(number))), what=f"signal {number}")
        except aiodocker.DockerError as error:
            print(f"signal {number}: {error}", file=sys.stderr, flush=True)

    async def run_beside(self, command: Mapping[str, Any]) -> int:
        entrypoint, arguments = entry(command)
        environment = [f"{name}={value}" for name, value in variables(command).items()]
        try:
            execution = await self._container.exec([*entrypoint, *arguments], environment=environment)
            async with execution.start(detach=False) as stream:
                while await stream.read_out() is not None:
                    pass
            return int((await execution.inspect())["ExitCode"])
        except ENGINE_ERRORS as error:
            raise OSError(str(error)) from error

    async def _follow(self) -> None:
        """To its end, from where it was cut off when the engine has been away."""
        since = 0.0

        async def follow() -> None:
            nonlocal since
            try:
                await self._copy_log(since)
            finally:
                since = time.time()

        try:
            await patiently(follow, what="its log")
        except (aiodocker.DockerError, aiohttp.ClientResponseError) as error:
            print(f"its log: {error}", file=sys.stderr, flush=True)

    async def _copy_log(self, since: float) -> None:
        """The engine's log as it comes: pieces with a header that says which output and how long."""
        docker = self._docker
        outputs: dict[int, BinaryIO] = {1: sys.stdout.buffer, 2: sys.stderr.buffer}
        url = URL(f"{docker.docker_host}/{docker.api_version}/containers/{self._options.container}/logs")
        parameters = {"stdout": "1", "stderr": "1", "follow": "1", "since": f"{since:.9f}"}
        async with docker.session.get(url, params=parameters, timeout=FOR_EVER, raise_for_status=True) as response:
            content = response.content
            while True:
                try:
                    header = await content.readexactly(LOG_HEADER)
                    piece = await content.readexactly(int.from_bytes(header[4:]))
                except asyncio.IncompleteReadError:
                    return
                output = outputs.get(header[0], sys.stdout.buffer)
                output.write(piece)
                output.flush()
