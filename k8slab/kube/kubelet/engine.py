"""The node's Docker Engine, as far as a kubelet needs it. Nothing else of the kubelet talks to it.

EngineError            the engine answered with a failure (``status``: its HTTP status)
EngineUnavailable      the engine does not answer
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import aiodocker
import aiohttp
import orjson
from yarl import URL

from k8slab.kube.kubelet.attached import Attached
from k8slab.kube.streams import dial
from k8slab.kube.streams.carrier import Connection

log = logging.getLogger(__name__)

T = TypeVar("T")

_UNREACHABLE: Final = 900
_CHUNK: Final = 1 << 20
_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.5
# A start is half a dozen short-lived processes of the engine. With a hundred at once on a laptop none gets anywhere,
# nor does the node's own heartbeat.
_STARTS_AT_ONCE: Final = 4


class EngineUnavailable(Exception):
    pass


class EngineError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """``endpoint``: "unix:///var/run/docker.sock" or "tcp://host:port". Create it inside a running event loop."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = URL(endpoint)
        self._docker = aiodocker.Docker(url=endpoint)
        self._starts = asyncio.Semaphore(_STARTS_AT_ONCE)

    async def close(self) -> None:
        await self._docker.close()

    async def version(self) -> dict[str, Any]:
        return await _answer(self._docker.version())

    async def containers(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Summaries (Id, Names, Labels, State, …) of all containers with these labels, dead ones too."""
        found = await _answer(self._docker.containers.list(all="1", filters=_label_filter(labels)))
        return [container._container for container in found]

    async def inspect(self, container: str) -> dict[str, Any] | None:
        try:
            return await _answer(self._docker.containers.container(container).show())
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """The new container's id. A status of 409 means that the name is taken, 404 that the image is not there."""
        return (await _answer(self._docker.containers.create(dict(config), name=name))).id

    async def start(self, container: str) -> None:
        async with self._starts:
            await _answer(self._docker.containers.container(container).start())

    async def stop(self, container: str, grace: int) -> None:
        """Ask it to end, kill it after ``grace`` seconds; one that is gone already is fine."""
        try:
            await _answer(self._docker.containers.container(container).stop(t=grace))
        except EngineError as error:
            if error.status not in (304, 404):
                raise

    async def remove(self, container: str) -> None:
        """Kill and remove it with its anonymous volumes; one that is gone already is fine."""
        try:
            await _answer(self._docker.containers.container(container).delete(force=True, v=True))
        except EngineError as error:
            # 409: its removal is under way already.
            if error.status not in (404, 409):
                raise

    async def own_registry(self) -> str:
        """Where it gets images whose names begin with no registry's, as it calls it itself."""
        return str((await _answer(self._docker.system.info())).get("IndexServerAddress") or "")

    async def image_id(self, reference: str) -> str | None:
        """ "sha256:…" of an image the engine has, or None."""
        try:
            return str((await _answer(self._docker.images.inspect(reference)))["Id"])
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def image_user(self, reference: str) -> str:
        """ "user[:group]" as which the image wants to run, by number or name; empty for root."""
        return str((await _answer(self._docker.images.inspect(reference)))["Config"].get("User") or "")

    async def load(self, archive: Path) -> None:
        """Load a docker-archive tar; its tags move to what it holds."""
        async for message in self._progress("images/load", data=_chunks(archive)):
            _raise_if_failed(message)

    async def pull(self, reference: str, credentials: Mapping[str, str]) -> None:
        """``credentials``: username and password, or identitytoken, and serveraddress; empty for none."""
        tagged = ":" in reference.rpartition("/")[2] or "@" in reference
        parameters = {"fromImage": reference} | ({} if tagged else {"tag": "latest"})
        encoded = base64.urlsafe_b64encode(orjson.dumps(dict(credentials))).decode()
        headers = {"X-Registry-Auth": encoded} if credentials else {}
        async for message in self._progress("images/create", params=parameters, headers=headers):
            _raise_if_failed(message)

    async def events(self, labels: Mapping[str, str], actions: Iterable[str]) -> AsyncIterator[dict[str, Any]]:
        """Which of these ``actions`` ("die") containers with these labels undergo from now on; first an empty one when
        the stream stands.

        Only what is asked for is told: each command that is executed in a container would be told with all its words,
        and a line may not be of any length.
        """
        filters = orjson.dumps({"type": ["container"], "label": _pairs(labels), "event": sorted(actions)}).decode()
        async with self._request("GET", "events", params={"filters": filters}) as response:
            yield {}
            async for line in response.content:
                yield orjson.loads(line)

    async def logs(self, container: str, options: Mapping[str, str]) -> AsyncGenerator[tuple[int, bytes], None]:
        """Pieces of output as (1 for stdout or 2 for stderr, bytes); ``options`` are the engine's query parameters."""
        shown = await self.inspect(container)
        if shown is None:
            raise EngineError(404, f"no such container: {container}")
        parameters = {"stdout": "1", "stderr": "1", **options}
        async with self._request("GET", f"containers/{container}/logs", params=parameters) as response:
            if shown["Config"]["Tty"]:
                async for piece in response.content.iter_any():
                    yield 1, piece
                return
            while header := await response.content.read(8):
                while len(header) < 8:
                    header += await response.content.readexactly(8 - len(header))
                yield header[0], await response.content.readexactly(int.from_bytes(header[4:8]))

    async def execute(self, container: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Attached:
        """Run a command in a running container, joined to its streams. A status of 409: it does not run."""
        wanted = {
            "AttachStdin": stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "Cmd": list(command),
        }
        async with self._request("POST", f"containers/{container}/exec", json=wanted) as response:
            identity = str(orjson.loads(await response.read())["Id"])
        start = {"Detach": False, "Tty": tty}
        stream = await self._hijack(f"exec/{identity}/start", orjson.dumps(start))
        return Attached(stream, tty=tty, resize=lambda size: self._resize(f"exec/{identity}", size), identity=identity)

    async def exit_code(self, attached: Attached) -> int:
        """Of an executed command that has said its last; waits until it has ended."""
        pause = _SHORTEST_PAUSE
        while True:
            async with self._request("GET", f"exec/{attached.identity}/json") as response:
                shown = orjson.loads(await response.read())
            if not shown["Running"] and shown["ExitCode"] is not None:
                return int(shown["ExitCode"])
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def pid_of_command(self, identity: str) -> int:
        """The process, as the engine numbers it, of an executed command; 0 when it does not run."""
        async with self._request("GET", f"exec/{identity}/json") as response:
            shown = orjson.loads(await response.read())
        return int(shown.get("Pid") or 0) if shown["Running"] else 0

    async def attach(self, container: str, *, stdin: bool, tty: bool) -> Attached:
        """Join a running container's own streams. ``tty``: whether it was made with a terminal."""
        query = {"stream": "1", "stdin": str(int(stdin)), "stdout": "1", "stderr": "1"}
        stream = await self._hijack(f"containers/{container}/attach?{urlencode(query)}", b"")
        return Attached(stream, tty=tty, resize=lambda size: self._resize(f"containers/{container}", size))

    async def stats(self, container: str) -> dict[str, Any] | None:
        """One sample, without waiting for a second one; None for a container that is not there."""
        try:
            path = f"containers/{container}/stats"
            async with self._request("GET", path, params={"stream": "0", "one-shot": "1"}) as response:
                return dict(orjson.loads(await response.read()))
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def _resize(self, path: str, size: tuple[int, int]) -> None:
        width, height = size
        try:
            async with self._request("POST", f"{path}/resize", params={"w": str(width), "h": str(height)}):
                return
        except EngineError as error:
            log.debug("resizing %s: %s", path, error)

    async def _hijack(self, path: str, body: bytes) -> Connection:
        """The raw stream that the engine makes of this request."""
        place = self._endpoint
        target = (await self._url(path)).raw_path_qs
        try:
            if place.scheme == "unix":
                connection = await dial.connect_unix(place.path)
            else:
                connection = await dial.connect(place.host or "", place.port or 2375)
        except dial.Unreachable as trouble:
            raise EngineUnavailable(str(trouble)) from None
        headers = [
            ("Host", "docker"),
            ("Connection", "Upgrade"),
            ("Upgrade", "tcp"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
        ]
        try:
            answer = await dial.ask(connection, "POST", target, headers, body)
        except (dial.Garbled, OSError) as trouble:
            connection.abort()
            raise EngineUnavailable(str(trouble)) from None
        if answer.status != 101:
            message = _message(await dial.refusal(connection, answer))
            connection.abort()
            raise EngineError(answer.status, message)
        return connection

    async def _url(self, path: str) -> URL:
        docker = self._docker
        if docker.api_version == "auto":
            docker.api_version = f"v{(await self.version())['ApiVersion']}"
        return URL(f"{docker.docker_host.replace('tcp://', 'http://')}/{docker.api_version}/{path}")

    async def _progress(self, path: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        async with self._request("POST", path, **arguments) as response:
            async for line in response.content:
                if line.strip():
                    yield orjson.loads(line)

    @asynccontextmanager
    async def _request(self, method: str, path: str, **arguments: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        # aiodocker decodes streams as text and swallows the end of the event stream: these are read as they come.
        url = await self._url(path)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            async with self._docker.session.request(method, url, timeout=timeout, **arguments) as response:
                if response.status >= 400:
                    raise EngineError(response.status, _message(await response.read()))
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineUnavailable(str(error) or type(error).__name__) from error


async def _answer(call: Awaitable[T]) -> T:
    try:
        return await call
    except aiodocker.DockerError as error:
        if error.status == _UNREACHABLE:
            raise EngineUnavailable(error.message) from error
        raise EngineError(error.status, error.message) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise EngineUnavailable(str(error) or type(error).__name__) from error


def _raise_if_failed(message: Mapping[str, Any]) -> None:
    if "error" in message:
        raise EngineError(500, str(message["error"]))


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body.decode(errors="replace").strip()


def _label_filter(labels: Mapping[str, str]) -> str:
    return orjson.dumps({"label": _pairs(labels)}).decode()


def _pairs(labels: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in labels.items()]


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    # Read in pieces of a size that blocks the loop for well under a millisecond.
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
