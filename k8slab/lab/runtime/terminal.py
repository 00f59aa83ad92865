"""A terminal, or pipes, connected with a program inside a machine: what ``docker exec`` does, without needing it.

The engine hands over the connection itself. With a terminal on both ends bytes pass as they are; without one the
engine frames each piece with the stream it belongs to.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from docker.errors import APIError, ImageNotFound, NotFound

from k8slab.errors import ImageMissing, NodeFailed
from k8slab.lab.runtime.base import MachineSpec
from k8slab.lab.runtime.engine import DockerRuntime, creation_config

CHUNK = 65536
FRAME = struct.Struct(">BxxxI")
STDOUT_STREAM, STDERR_STREAM = 1, 2
GONE, BEING_REMOVED = 404, 409

Resize = Callable[[int, int], object]

# Ends the command when whoever follows it hangs up: the engine then closes its input. Without this, a `tail -F` that
# nobody reads any more would stay in the node until something is written to its file.
UNTIL_HUNG_UP = 'exec 3<&0; "$@" <&- 3<&- & job=$!; { cat <&3; kill $job; } >/dev/null 2>&1 & exec 3<&-; wait $job'


class DockerConsole:
    """``Console`` on a Docker Engine."""

    def __init__(self, runtime: DockerRuntime) -> None:
        self.api = runtime.api

    def attach(self, name: str, command: Sequence[str], *, terminal: bool) -> int:
        """Run ``command`` with the caller's own input and output; its exit code."""
        environment = {"TERM": os.environ.get("TERM", "xterm")} if terminal else {}
        with _clearly(name):
            execution = self.api.exec_create(name, list(command), stdin=True, tty=terminal, environment=environment)[
                "Id"
            ]
            wire = _Wire(self.api.exec_start(execution, tty=terminal, socket=True))
            _converse(wire, terminal, lambda height, width: self.api.exec_resize(execution, height=height, width=width))
            return self._exit_code(name, execution)

    def _exit_code(self, name: str, execution: str) -> int:
        code = self.api.exec_inspect(execution)["ExitCode"]
        if code is None:
            raise NodeFailed(f"The connection with {name} was lost.", remedy="`k8slab status` shows how it is.")
        return int(code)

    def follow(self, name: str, command: Sequence[str]) -> Generator[bytes, None, int]:
        """The output of ``command`` as it comes, until it ends or the generator is closed; returns its exit code."""
        guarded = ["sh", "-c", UNTIL_HUNG_UP, "follow", *command]
        with _clearly(name):
            execution = self.api.exec_create(name, guarded, stdin=True)["Id"]
            wire = _Wire(self.api.exec_start(execution, socket=True))
        with contextlib.closing(wire):
            for stream, piece in wire.frames():
                if stream == STDERR_STREAM:
                    _write(sys.stderr, piece)
                else:
                    yield piece
        with _clearly(name):
            return self._exit_code(name, execution)

    def run_aside(self, spec: MachineSpec, *, network_of: str, terminal: bool, user: str, workdir: str) -> int:
        """Run a throw-away machine in the network of another, with the caller's own input and output; its exit code."""
        config = _aside_config(spec, network_of, terminal=terminal, user=user, workdir=workdir)
        try:
            with _clearly(network_of):
                created = self.api.create_container_from_config(config, spec.name)["Id"]
        except ImageNotFound as error:
            raise ImageMissing([spec.image]) from error
        try:
            with _clearly(network_of):
                self._copy_names(network_of, created)
                # Attached before it starts, so that not a byte of it is missed.
                streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
                wire = _Wire(self.api.attach_socket(created, params=streams))
                with contextlib.closing(self._end(created)) as end:
                    self.api.start(created)
                    _converse(
                        wire, terminal, lambda height, width: self.api.resize(created, height=height, width=width)
                    )
                    return int(end.json()["StatusCode"])
        finally:
            self._remove(created)

    def _copy_names(self, source: str, target: str) -> None:
        """The engine brings the names that a network knows along only where it has made the network."""
        for path in ("/etc/hosts", "/etc/resolv.conf"):
            try:
                chunks, _ = self.api.get_archive(source, path)
            except NotFound:
                # Somebody deleted it on the node; the program can do without as well.
                continue
            self.api.put_archive(target, "/etc", b"".join(chunks))

    def _end(self, container: str) -> Any:
        """The engine's answer to when it ends, whose head comes at once: asked later, the machine might be gone."""
        url = f"{self.api.base_url}/v{self.api.api_version}/containers/{container}/wait"
        answer = self.api.post(url, params={"condition": "next-exit"}, stream=True)
        try:
            self.api._raise_for_status(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    def _remove(self, container: str) -> None:
        """It goes away by itself once it has ended, which may be just happening."""
        try:
            self.api.remove_container(container, force=True, v=True)
        except APIError as error:
            if error.status_code not in (GONE, BEING_REMOVED):
                raise


def _aside_config(spec: MachineSpec, network_of: str, *, terminal: bool, user: str, workdir: str) -> dict[str, Any]:
    config = creation_config(spec)
    host = config["HostConfig"]
    host |= {"NetworkMode": f"container:{network_of}", "RestartPolicy": {"Name": "no"}}
    config["NetworkDisabled"] = False
    # Whoever ends us with a signal that leaves no time must not leave it behind.
    host["AutoRemove"] = True
    config.pop("Hostname", None)
    return config | {
        "User": user,
        "WorkingDir": workdir,
        "Tty": terminal,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
    }


class _Wire:
    """The engine's connection, from both ends at once: ``opened`` is what docker-py hands over for ``socket=True``."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened
        self.socket: socket.socket = getattr(opened, "_sock", opened)
        self.socket.settimeout(None)
        self._early = self._read_ahead()

    def _read_ahead(self) -> bytes:
        """What came together with the answer's head lies in the reader that docker-py steps around."""
        response = getattr(self._opened, "_response", None)
        reader = getattr(getattr(getattr(response, "raw", None), "_fp", None), "fp", None)
        if not isinstance(reader, io.BufferedReader):
            return b""
        self.socket.setblocking(False)
        try:
            ahead = reader.peek()
            return reader.read1(len(ahead)) if ahead else b""
        except BlockingIOError:
            return b""
        finally:
            self.socket.setblocking(True)

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self) -> bytes:
        """The next bytes; empty at the end."""
        if self._early:
            early, self._early = self._early, b""
            return early
        try:
            return self.socket.recv(CHUNK)
        except ConnectionResetError:
            return b""

    @property
    def has_early(self) -> bool:
        return bool(self._early)

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def end_input(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Stream number (1 or 2) and piece, in the order in which they were written."""
        frames = _Frames()
        while data := self.receive():
            yield from frames.fed(data)

    def close(self) -> None:
        self.end_input()
        self.socket.close()
        response = getattr(self._opened, "_response", None)
        if response is not None:
            response.close()


class _Frames:
    """Takes the engine's framing apart, whatever pieces it arrives in."""

    def __init__(self) -> None:
        self._buffer = b""

    def fed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._buffer += data
        while len(self._buffer) >= FRAME.size:
            stream, length = FRAME.unpack_from(self._buffer)
            end = FRAME.size + length
            if len(self._buffer) < end:
                return
            piece, self._buffer = self._buffer[FRAME.size : end], self._buffer[end:]
            yield stream, piece


def _converse(wire: _Wire, terminal: bool, resize: Resize) -> None:
    """Carry bytes both ways until the other side ends."""
    with contextlib.closing(wire):
        if not terminal:
            _pump(wire, _Frames().fed)
            return
        with _raw_terminal(), _resizing(resize) as fit:
            # What was still being started when it was first told the size hears it again: what writes is running.
            _pump(wire, lambda data: [(STDOUT_STREAM, data)], at_first_word=fit)


def _pump(
    wire: _Wire, unpack: Callable[[bytes], Iterable[tuple[int, bytes]]], at_first_word: Callable[[], None] | None = None
) -> None:
    source: int | None = _stdin()
    if source is None:
        wire.end_input()
    while True:
        watched: list[Any] = [wire] if source is None else [wire, source]
        ready = [wire] if wire.has_early else select.select(watched, [], [])[0]
        if source is not None and source in ready:
            typed = os.read(source, CHUNK)
            if typed:
                wire.send(typed)
            else:
                source = None
                wire.end_input()
        if wire in ready:
            data = wire.receive()
            if not data:
                return
            if at_first_word is not None:
                at_first_word()
                at_first_word = None
            for stream, piece in unpack(data):
                _write(sys.stderr if stream == STDERR_STREAM else sys.stdout, piece)


def _stdin() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):
        return None


def _write(stream: Any, piece: bytes) -> None:
    stream.buffer.write(piece)
    stream.buffer.flush()


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the other side, Ctrl-C too; the terminal is as before afterwards, however we leave."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSANOW)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(resize: Resize) -> Iterator[Callable[[], None]]:
    """The other side's terminal gets the size of ours, now and whenever ours changes; yields what tells it again."""

    def fit() -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        # The program may not run yet, or no longer; then there is nothing to fit.
        with contextlib.suppress(APIError):
            resize(size.lines, size.columns)

    before = signal.signal(signal.SIGWINCH, lambda number, frame: fit())
    fit()
    try:
        yield fit
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def _clearly(name: str) -> Iterator[None]:
    """The engine's refusals as errors of the catalogue."""
    try:
        yield
    except ImageNotFound:
        raise
    except NotFound as error:
        raise NodeFailed(f"There is no machine {name}.", remedy="`k8slab run` brings it back.") from error
    except APIError as error:
        why = str(error.explanation or error)
        raise NodeFailed(f"{name} runs nothing now.", why=why, remedy="`k8slab status` shows how it is.") from error
