"""The containers in which images are made. Everything here carries the builder's mark and is gone when it ends.

A builder that was killed leaves its containers behind; the next one finds them by their mark, sees that the process
in it is no more, and removes them.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import docker
import docker.errors
import requests
from docker.types import Mount

from k8slab.errors import BuildFailed, LabError

BUILD = "k8slab.build"
CONTENT = "k8slab.content"
IMAGE = "k8slab.image"
PARENT = "k8slab.parent"
ORIGIN = "k8slab.origin"
PROJECT = "k8slab.project"

LAST_LINES = 30
PATIENCE = 900
# The labels of a container go into the image made from it, and from there onto every node: a mark alone must not
# make a node look like a leftover, so the name has to match too.
_MARK = re.compile(r"^(\d+)-(\d+)$")
_NAME = re.compile(r"^k8slab-build-(\d+)-(\d+)-")


class Cancelled(Exception):
    """The build was given up elsewhere; whoever sees this ends quietly."""


def mark() -> str:
    """This process among all that ever ran: its id and the moment it started."""
    return f"{os.getpid()}-{_started(os.getpid())}"


def _started(pid: int) -> int:
    """Clock ticks from boot to the start of a process; 0 when there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def disk_full(text: str) -> bool:
    return os.strerror(errno.ENOSPC).lower() in text.lower()


def failed(image: str, step: str, *, why: str = "", output: str = "") -> BuildFailed:
    """The one way in which a build says that it failed; a full disk has its own remedy."""
    if disk_full(output) or disk_full(why):
        return BuildFailed(
            f"{image} could not be built: the disk is full.",
            why=f"It ran out of space in: {step}.",
            remedy="`docker system df` shows what the engine holds, `docker system prune` frees what nothing uses; "
            "then run `k8slab build` again.",
            output=output,
        )
    return BuildFailed(
        f"{image} could not be built: {step} failed.",
        why=why,
        remedy="What was built before is kept: `k8slab build` goes on from there. "
        "`k8slab doctor` checks what a build needs.",
        output=output,
    )


class Workshop:
    """Makes build containers on one engine and forgets none of them."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        self.api = client.api
        self._mark = mark()
        # A layer of some hundred megabytes can keep a slow disk busy for longer than an ordinary answer may take.
        self._timeout, self.api.timeout = self.api.timeout, max(self.api.timeout, PATIENCE)
        self._serial = itertools.count(1)
        self._lock = threading.Lock()
        self._containers: set[str] = set()
        self._closers: dict[int, Callable[[], None]] = {}
        self.cancelled = threading.Event()

    def create(
        self,
        image: str,
        *,
        mounts: Sequence[Mount] = (),
        start: bool = True,
    ) -> Bench:
        """A container that waits for work, in the host's network. Not started, it can still be filled and committed."""
        self.check()
        host = self.api.create_host_config(network_mode="host", mounts=list(mounts) or None)
        made = self.api.create_container(
            image,
            entrypoint=["sleep"],
            command=["infinity"],
            labels={BUILD: self._mark},
            host_config=host,
            name=f"k8slab-build-{self._mark}-{next(self._serial)}",
        )
        with self._lock:
            self._containers.add(made["Id"])
        bench = Bench(self, made["Id"])
        if start:
            self.api.start(made["Id"])
        return bench

    def image_id(self, reference: str) -> str:
        """Raises docker's ``ImageNotFound`` when there is none of this name."""
        return str(self.image(reference)["Id"])

    def image(self, reference: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.inspect_image(reference)  # type: ignore[no-untyped-call]
        return found

    def forget(self, name: str) -> None:
        """Take a name away again that a build brought; what was made from it keeps its layers."""
        with contextlib.suppress(docker.errors.APIError):
            self.api.remove_image(name)

    def remove(self, container: str) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self.api.remove_container(container, force=True, v=True)
        with self._lock:
            self._containers.discard(container)

    def volume(self, name: str) -> str:
        """A volume for the time of this build; ``remove_volume`` or the next builder removes it."""
        full = f"k8slab-build-{self._mark}-{name}"
        self.api.create_volume(full, labels={BUILD: self._mark})
        return full

    def remove_volume(self, name: str) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self.api.remove_volume(name, force=True)

    @contextlib.contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """While the block runs, giving up the build calls ``close`` (a process on the host to be ended, say)."""
        with self._lock:
            key = next(self._serial)
            self._closers[key] = close
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._closers.pop(key, None)

    def check(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Give up: what runs is ended and removed, so that every thread comes to an end."""
        self.cancelled.set()
        with self._lock:
            containers, closers = list(self._containers), list(self._closers.values())
        for close in closers:
            close()
        for container in containers:
            self.remove(container)

    def sweep(self) -> list[str]:
        """Remove what builders that are no more have left behind; returns the names."""
        swept: list[str] = []
        for found in self.api.containers(all=True, filters={"label": BUILD}):
            name = found["Names"][0].lstrip("/")
            if self._orphan(name, found["Labels"].get(BUILD, "")):
                self.remove(found["Id"])
                swept.append(name)
        for volume in self.api.volumes(filters={"label": BUILD})["Volumes"] or ():
            if self._orphan(volume["Name"], (volume["Labels"] or {}).get(BUILD, "")):
                self.remove_volume(volume["Name"])
                swept.append(volume["Name"])
        for folder in Path(tempfile.gettempdir()).glob("k8slab-build-*"):
            match = _NAME.match(folder.name)
            orphan = match and _started(int(match[1])) != int(match[2]) and folder.stat().st_uid == os.geteuid()
            # What is mounted below is somebody else's files.
            if orphan and f" {folder}/" not in Path("/proc/self/mountinfo").read_text():
                shutil.rmtree(folder, ignore_errors=True)
                swept.append(str(folder))
        return swept

    def folder(self) -> tempfile.TemporaryDirectory[str]:
        """A folder on the host, gone when its block ends; the next builder removes what a killed one left."""
        return tempfile.TemporaryDirectory(prefix=f"k8slab-build-{self._mark}-", ignore_cleanup_errors=True)

    def close(self) -> None:
        """Remove every container and volume of this build."""
        self.api.timeout = self._timeout
        for container in list(self._containers):
            self.remove(container)
        for volume in self.api.volumes(filters={"label": f"{BUILD}={self._mark}"})["Volumes"] or ():
            self.remove_volume(volume["Name"])

    @staticmethod
    def _orphan(name: str, value: str) -> bool:
        match = _MARK.match(value)
        if match is None or not name.startswith(f"k8slab-build-{value}-"):
            return False
        return _started(int(match[1])) != int(match[2])


class Bench:
    """One build container. Leaving it removes it."""

    def __init__(self, shop: Workshop, container: str) -> None:
        self.shop, self.id = shop, container

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.shop.remove(self.id)

    def run(
        self,
        script: str,
        *,
        image: str,
        step: str,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], bool] | None = None,
    ) -> str:
        """Run shell lines (``sh -e``) and return what they wrote; ``on_line`` tells of each line whether to keep it."""
        self.shop.check()
        made = self.shop.api.exec_create(
            self.id,
            ["sh", "-ec", script],
            user="root",
            environment={"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(environment or {})},
        )
        kept: deque[str] = deque(maxlen=2000)
        for line in lines(self.shop.api.exec_start(made["Id"], stream=True)):
            if on_line is None or on_line(line):
                kept.append(line)
        self.shop.check()
        code = self.shop.api.exec_inspect(made["Id"])["ExitCode"]
        if code != 0:
            tail = "\n".join(list(kept)[-LAST_LINES:])
            raise failed(image, step, why=f"It ended with exit code {code}.", output=tail)
        return "\n".join(kept)

    def put(self, archive: bytes, at: str = "/") -> None:
        self.shop.check()
        self.shop.api.put_archive(self.id, at, archive)

    def get(self, path: str) -> bytes:
        """A tar of what lies at ``path``; its names begin with the last part of it."""
        stream, _ = self.shop.api.get_archive(self.id, path, chunk_size=1 << 20)
        return b"".join(stream)

    def stop(self) -> None:
        """A container that does not run is committed without being paused first."""
        with contextlib.suppress(docker.errors.APIError):
            self.shop.api.kill(self.id)

    def commit(
        self,
        labels: Mapping[str, str],
        *,
        entrypoint: Sequence[str] = (),
        command: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """The container as an image without a name. Returns the image's id."""
        self.shop.check()
        # As instructions (`ENTRYPOINT []`) an empty list would not keep out the build container's own.
        conf = {
            "Entrypoint": list(entrypoint),
            "Cmd": list(command),
            "User": "root",
            "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
            "Labels": {BUILD: "", **labels},
        }
        made: dict[str, Any] = self.shop.api.commit(self.id, conf=conf)
        return str(made["Id"])


def pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """What a process writes, as soon as it writes it."""
    while piece := os.read(stream.fileno(), 1 << 20):
        yield piece


def lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Whole lines from a stream of pieces; a carriage return ends a line too, as terminals' progress bars use it."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


@contextlib.contextmanager
def explained(image: str, step: str) -> Iterator[None]:
    """The engine's refusals and a full disk, in the words of the catalogue."""
    try:
        yield
    except (LabError, Cancelled):
        raise
    except docker.errors.APIError as error:
        raise failed(image, step, why=str(error.explanation or error)) from error
    except requests.exceptions.RequestException as error:
        raise failed(image, step, why=f"The connection to the Docker Engine broke: {error}") from error
    except OSError as error:
        raise failed(image, step, why=str(error)) from error
