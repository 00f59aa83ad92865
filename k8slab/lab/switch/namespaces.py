"""Work inside the nodes' network namespaces, by one thread that hops through them.

``setns`` moves the calling thread alone, so a thread of its own may visit every node without a fork; any other thread
of the process stays on the host. It goes home after every visit: a thread left behind would keep a dead node's
namespace, and so its address, alive.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from k8slab.lab.switch.wire import Namespace, WireError

_CLONE_NEWNET = 0x40000000
Result = TypeVar("Result")

_libc = ctypes.CDLL(None, use_errno=True)


def open_namespace(process: str | int) -> Namespace:
    """Of a process by its number, or by its name below /proc ("self"). Raises FileNotFoundError, ProcessLookupError."""
    fd = os.open(f"/proc/{process}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        root = os.open(f"/proc/{process}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        os.close(fd)
        raise
    found = os.fstat(fd)
    closed = False

    def close() -> None:
        nonlocal closed
        if not closed:
            closed = True
            os.close(fd)
            os.close(root)

    return Namespace(fd=fd, identity=(found.st_dev, found.st_ino), root=root, close=close)


def _enter(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise WireError(f"Its network namespace cannot be entered: {os.strerror(code)}.")


class Hopper:
    """The thread that hops. ``visit`` may only be used in work given to ``run``."""

    def __init__(self) -> None:
        self.home = open_namespace("self")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hopper")

    async def run(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._and_home, work)

    def _and_home(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        finally:
            _enter(self.home.fd)

    @contextmanager
    def visit(self, namespace: Namespace) -> Iterator[None]:
        """Leaves by the next visit, or home at the end of the work: the hop back is paid once, not per node."""
        _enter(namespace.fd)
        yield

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        self.home.close()
