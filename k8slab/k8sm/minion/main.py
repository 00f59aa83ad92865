"""`km minion`: what Mesos starts on an agent. Runs `km executor`, and `km proxy` beside it for as long as that lives.

Each writes to a log of its own in the sandbox. A proxy that ends is started again, the end of the executor is the end
of the minion, and what the minion is told (TERM, INT) the executor is told.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from k8slab import daemon
from k8slab.daemon import FlagParser, whole
from k8slab.k8sm.executor.settings import settings as executor_settings
from k8slab.k8sm.minion.logs import Limits, RotatingFile

log = logging.getLogger(__name__)

RESTART_PAUSE: Final = 5.0
# The executor ends its streams within two seconds; more is not worth waiting for.
PATIENCE: Final = 10.0
MEGABYTE: Final = 1 << 20
DAY: Final = 86400.0
# The bridge on which the kubelet's pods are: the engine's own.
POD_BRIDGE: Final = "docker0"
PROXY_MODE: Final = "iptables"
_LONGEST_LINE: Final = 1 << 20
_SET_PARENT_DEATH_SIGNAL: Final = 1


@dataclass(frozen=True)
class Settings:
    """``executor``, ``proxy``: their command lines, the latter empty when there is to be none. ``log_directory``: where
    NAME/current is the log of NAME; None for NAME.log in the sandbox alone."""

    executor: tuple[str, ...]
    proxy: tuple[str, ...]
    limits: Limits
    log_directory: Path | None


def run(argv: Sequence[str]) -> int:
    flags = settings(argv)
    daemon.configure_logging()
    return daemon.run(lambda stop: serve(flags, Path.cwd(), stop))


def settings(argv: Sequence[str]) -> Settings:
    """What is no flag of the minion's is one of the executor's. Raises SystemExit(2) with one line for wrong ones."""
    parser = FlagParser(
        prog="km minion",
        allow_abbrev=False,
        description="Runs a minion's executor and service proxy; started by a Mesos agent. Other flags: km executor.",
    )
    parser.flag("api-servers", "the API servers, separated by commas", required=True)
    parser.flag("hostname-override", "the node's name; the agent's host name by default", default="")
    parser.flag("v", "how much the executor logs", default="0")
    parser.flag("executor-path", "the executor, when it is a program of its own", default="")
    parser.flag("proxy-path", "the service proxy, when it is a program of its own", default="")
    parser.switch("run-proxy", "run the service proxy beside the executor", default=True)
    parser.flag("proxy-mode", "the service proxy's mode: iptables", default=PROXY_MODE)
    parser.flag("proxy-logv", "how much the service proxy logs", default="0")
    parser.switch("proxy-bindall", "let the service proxy serve its health on all addresses")
    parser.flag("max-log-size", "megabytes of a log before it is set aside", default="10")
    parser.flag("max-log-backups", "how many of those are kept", default="5")
    parser.flag("max-log-age", "days for which they are kept", default="7")
    parser.flag("log-dir", "the directory of logs; the sandbox by default", default="")
    flags, others = parser.parse_known_args(list(argv))
    try:
        if flags.proxy_mode != PROXY_MODE:
            raise ValueError(f"--proxy-mode: {flags.proxy_mode!r} is not served; {PROXY_MODE} is")
        limits = Limits(
            whole("--max-log-size", flags.max_log_size, 1) * MEGABYTE,
            whole("--max-log-backups", flags.max_log_backups),
            whole("--max-log-age", flags.max_log_age) * DAY,
        )
        for name, text in (("--v", flags.v), ("--proxy-logv", flags.proxy_logv)):
            whole(name, text)
    except ValueError as error:
        parser.error(str(error))
    common = [f"--hostname-override={flags.hostname_override}"] if flags.hostname_override else []
    executor = [f"--api-servers={flags.api_servers}", *common, f"--v={flags.v}", *others]
    if not flags.executor_path:
        executor_settings(executor)
    executor_program = (flags.executor_path,) if flags.executor_path else (*_own_program(), "executor")
    proxy: tuple[str, ...] = ()
    if flags.run_proxy:
        address = "0.0.0.0" if flags.proxy_bindall else _own_address()
        proxy = (
            *((flags.proxy_path,) if flags.proxy_path else (*_own_program(), "proxy")),
            f"--master={flags.api_servers}",
            *common,
            f"--proxy-mode={flags.proxy_mode}",
            f"--healthz-bind-address={address}",
            f"--metrics-bind-address={address}",
            f"--pod-bridge-interface={POD_BRIDGE}",
            f"--v={flags.proxy_logv}",
        )
    return Settings((*executor_program, *executor), proxy, limits, Path(flags.log_dir) if flags.log_dir else None)


def _own_program() -> tuple[str, ...]:
    """The words with which `km` was started, before its own arguments."""
    arguments = len(sys.argv) - 1
    return (sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - arguments])


def _own_address() -> str:
    return os.environ.get("MESOS_AGENT_ENDPOINT", "").rpartition(":")[0] or "0.0.0.0"


async def serve(flags: Settings, sandbox: Path, stop: asyncio.Event) -> int:
    """Run until the executor ends; its exit code, or 128 and the number of the signal that ended it."""
    executor = Child("executor", flags.executor, _log(flags, sandbox, "executor"))
    proxy = Child("proxy", flags.proxy, _log(flags, sandbox, "proxy")) if flags.proxy else None
    running = asyncio.create_task(executor.run())
    keeping = asyncio.create_task(_keep(proxy)) if proxy else None
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    while not running.done():
        await executor.end()
        # Told to end while its executor is being started: there is a process to tell a moment later.
        await asyncio.wait([running], timeout=0.1)
    code = running.result()
    if proxy and keeping:
        keeping.cancel()
        await proxy.end()
        await asyncio.wait([keeping])
    return code if code >= 0 else 128 - code


def _log(flags: Settings, sandbox: Path, name: str) -> RotatingFile:
    in_sandbox = sandbox / f"{name}.log"
    if flags.log_directory is None:
        return RotatingFile(in_sandbox, flags.limits)
    path = flags.log_directory / name / "current"
    made = RotatingFile(path, flags.limits)
    in_sandbox.unlink(missing_ok=True)
    in_sandbox.symlink_to(path)
    return made


async def _keep(proxy: Child) -> None:
    while True:
        try:
            code = await proxy.run()
            log.warning("the proxy ended (%d): again in %g s", code, RESTART_PAUSE)
        except OSError as trouble:
            log.error("the proxy was not started: %s; again in %g s", trouble, RESTART_PAUSE)
        await asyncio.sleep(RESTART_PAUSE)


class Child:
    def __init__(self, name: str, command: Sequence[str], output: RotatingFile) -> None:
        self._name, self._command, self._output = name, command, output
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        """Start it and wait for its end; its exit code, negative for a signal."""
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE,
            preexec_fn=_ends_with_parent,
        )
        log.info("%s runs as process %d", self._name, process.pid)
        assert process.stdout is not None
        writing = asyncio.create_task(self._write(process.stdout))
        code = await process.wait()
        # What it started may live on and hold its output open: that is not waited for.
        await asyncio.wait([writing], timeout=1.0)
        writing.cancel()
        return code

    async def end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            log.warning("%s did not end within %g s: killed", self._name, PATIENCE)
            process.kill()

    async def _write(self, output: asyncio.StreamReader) -> None:
        failing = False
        while data := await output.read(_LONGEST_LINE):
            try:
                self._output.write(data)
                failing = False
            except OSError as trouble:
                # A disk that is full must not hold up who writes: what is said meanwhile is lost.
                if not failing:
                    log.error("what %s says is not written: %s", self._name, trouble)
                failing = True


def _ends_with_parent() -> None:
    # A minion that was killed must not leave an executor behind that its agent knows nothing of.
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
