"""The Docker Engine behind the runtime seam: the one place (beside image builds) that knows docker-py."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from k8slab.errors import EngineForbidden, EngineUnreachable, ImageMissing, LabError, NodeFailed
from k8slab.lab.runtime.base import (
    EngineInfo,
    Executed,
    Kind,
    Machine,
    MachineSpec,
    MachineState,
    Verb,
    Volume,
)

# Longer than any call that does not wait for a process, so that a hung engine is told apart from a slow one.
ENGINE_TIMEOUT = 120
POOL = 32
STATES: dict[str, MachineState] = {
    "running": "running",
    "paused": "paused",
    "created": "created",
    "restarting": "running",
}

P = ParamSpec("P")
T = TypeVar("T")


def connect() -> docker.DockerClient:
    """A client of the engine of DOCKER_HOST, else of this machine. Raises EngineUnreachable or EngineForbidden."""
    try:
        return docker.from_env(timeout=ENGINE_TIMEOUT, max_pool_size=POOL)
    except DockerException as error:
        raise _unreachable(error) from error


def _unreachable(error: BaseException) -> LabError:
    text = str(error)
    host = os.environ.get("DOCKER_HOST", "")
    if "Permission denied" in text or "PermissionError" in text:
        return EngineForbidden(host.removeprefix("unix://") or "/var/run/docker.sock")
    if "FileNotFoundError" in text or "No such file" in text:
        return EngineUnreachable("There is no socket: the engine is not installed or not started.", host=host)
    if "ConnectionRefused" in text or "Connection refused" in text:
        return EngineUnreachable("Its socket is there, but nothing listens: the engine has stopped.", host=host)
    return EngineUnreachable(text, host=host)


def _clearly(method: Callable[P, T]) -> Callable[P, T]:
    """Turn what docker-py and requests raise into errors of the catalogue, with the engine's own words as the why."""

    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except APIError as error:
            raise NodeFailed("The Docker Engine refused.", why=str(error.explanation or error)) from error
        except (requests.RequestException, DockerException, tarfile.TarError) as error:
            # An engine that goes down in the middle of an answer leaves half of one.
            raise _unreachable(error) from error

    return wrapped


class DockerRuntime:
    """``Runtime`` on a Docker Engine. Safe to use from many threads."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        # The stubs leave some of its calls untyped.
        self.api: Any = client.api

    @_clearly
    def info(self) -> EngineInfo:
        about = self.api.info()
        firewall = (about.get("FirewallBackend") or {}).get("Driver", "")
        url = str(self.api.base_url)
        return EngineInfo(
            version=about.get("ServerVersion", ""),
            socket="/" + url.partition("://")[2].lstrip("/") if "localhost" not in url else _socket_of_environment(),
            rootless=any("rootless" in option for option in about.get("SecurityOptions") or ()),
            cgroup_version=str(about.get("CgroupVersion", "1")),
            storage_driver=about.get("Driver", ""),
            firewall=firewall,
            data_root=about.get("DockerRootDir", ""),
        )

    @_clearly
    def image_ids(self, names: Sequence[str]) -> Mapping[str, str]:
        found = {}
        for name in names:
            try:
                found[name] = self.api.inspect_image(name)["Id"]
            except ImageNotFound:
                continue
        return found

    @_clearly
    def machines(self) -> list[Machine]:
        return [
            Machine(
                id=listed["Id"],
                name=listed["Names"][0].lstrip("/") if listed.get("Names") else listed["Id"][:12],
                state=STATES.get(listed["State"], "stopped"),
                image=listed["ImageID"],
                labels=listed.get("Labels") or {},
            )
            for listed in self.api.containers(all=True)
        ]

    @_clearly
    def volumes(self) -> list[Volume]:
        return [Volume(one["Name"], one.get("Labels") or {}) for one in self.api.volumes().get("Volumes") or ()]

    @_clearly
    def create(self, spec: MachineSpec) -> None:
        try:
            self.api.create_container_from_config(creation_config(spec), spec.name)
        except ImageNotFound as error:
            raise ImageMissing([spec.image]) from error

    @_clearly
    def power(self, name: str, verb: Verb) -> None:
        try:
            match verb:
                case "start":
                    self.api.start(name)
                case "stop":
                    self.api.stop(name, timeout=10)
                case "kill":
                    self.api.kill(name)
                case "restart":
                    self.api.restart(name, timeout=10)
                case "pause":
                    self.api.pause(name)
                case "unpause":
                    self.api.unpause(name)
        except NotFound as error:
            raise NodeFailed(f"There is no machine {name}.", remedy="`k8slab run` brings it back.") from error
        except APIError as error:
            if not _already(error):
                raise

    @_clearly
    def remove(self, kind: Kind, name: str) -> None:
        if kind == "machine":
            self._remove_machine(name)
            return
        with suppress(NotFound):
            self.api.remove_volume(name, force=True)

    def _remove_machine(self, name: str) -> None:
        """The engine may be removing it already, on somebody else's word: wait for that to be true."""
        deadline = time.monotonic() + ENGINE_TIMEOUT
        while True:
            try:
                self.api.remove_container(name, force=True, v=True)
                return
            except NotFound:
                return
            except APIError as error:
                if "already in progress" not in str(error.explanation) or time.monotonic() > deadline:
                    raise
                self.api.wait(name, condition="removed", timeout=ENGINE_TIMEOUT)

    @_clearly
    def execute(self, name: str, command: Sequence[str]) -> Executed:
        execution = self.api.exec_create(name, list(command))["Id"]
        output = self.api.exec_start(execution)
        code = self.api.exec_inspect(execution)["ExitCode"]
        return Executed(-1 if code is None else code, output.decode(errors="replace"))

    @_clearly
    def read(self, name: str, path: str) -> dict[str, bytes]:
        try:
            chunks, _ = self.api.get_archive(name, path)
        except NotFound:
            return {}
        found = {}
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    found[member.name] = content.read()
        return found

    @_clearly
    def boot_log(self, name: str, *, lines: int = 2000, errors: bool = True) -> str:
        text: bytes = self.api.logs(name, stderr=errors, tail=lines)
        return text.decode(errors="replace")


def creation_config(spec: MachineSpec) -> dict[str, Any]:
    """The body of the engine's ``POST /containers/create``."""
    host: dict[str, Any] = {
        "NetworkMode": "host" if spec.sharing_host else "none",
        "CapAdd": list(spec.capabilities),
        "CpuShares": spec.cpu_shares,
        "Sysctls": dict(spec.sysctls),
        "Tmpfs": dict.fromkeys(spec.tmpfs, "exec"),
        "RestartPolicy": {"Name": "unless-stopped"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        "Mounts": [
            {
                "Type": "volume" if mount.is_volume else "bind",
                "Source": mount.source,
                "Target": mount.target,
                "ReadOnly": mount.read_only,
                **({"VolumeOptions": {"Labels": dict(spec.volume_labels)}} if mount.is_volume else {}),
            }
            for mount in spec.mounts
        ],
        "SecurityOpt": [],
    }
    if spec.drop_other_capabilities:
        host["CapDrop"] = ["ALL"]
    if spec.sharing_host:
        host |= {"PidMode": "host", "UsernsMode": "host", "SecurityOpt": ["apparmor=unconfined"]}
    else:
        # Its own view of the cgroup tree: a nested engine then works in the node's subtree and nowhere else.
        host["CgroupnsMode"] = "private"
    if spec.unconfined:
        host["SecurityOpt"] = ["seccomp=unconfined", "apparmor=unconfined"]
    config: dict[str, Any] = {
        "Image": spec.image,
        "Hostname": spec.hostname,
        "Labels": dict(spec.labels),
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        "HostConfig": host,
        # More than "none" says: the engine then runs no hook of its own in it, which is half of what a start costs.
        "NetworkDisabled": not spec.sharing_host,
        "Tty": False,
    }
    if spec.sharing_host:
        del config["Hostname"]
    if spec.command:
        config |= {"Entrypoint": [], "Cmd": list(spec.command)}
    return config


def _already(error: APIError) -> bool:
    """Whether the engine refused only because the button's effect is there already."""
    text = str(error.explanation).lower()
    return any(phrase in text for phrase in ("is not running", "is already paused", "is not paused", "already started"))


def _socket_of_environment() -> str:
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
