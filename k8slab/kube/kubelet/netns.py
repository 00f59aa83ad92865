"""Connections from inside another process' network: to a port of a pod, as the pod itself would make them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from k8slab.kube.streams.carrier import READ, Connection
from k8slab.kube.streams.dial import CONNECT_SECONDS, dial_error

_CLONE_NEWNET: Final = 0x40000000
_LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1", "IPv4"), (socket.AF_INET6, "::1", "IPv6"))


class NoConnection(Exception):
    """One sentence with what happened for each kind of address."""


async def connect(pid: int, port: int) -> Connection:
    """To "localhost" as it is in the network of process ``pid``. Raises NoConnection."""
    said = []
    for family, host, kind in _LOOPBACKS:
        try:
            raw = await _socket_in(pid, family)
        except OSError as trouble:
            raise NoConnection(f"failed to enter the network of process {pid}: {trouble}") from None
        try:
            raw.setblocking(False)
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(raw, (host, port))
            return Connection(*await asyncio.open_connection(sock=raw, limit=READ))
        except (OSError, TimeoutError) as trouble:
            raw.close()
            said.append(f"{kind}: {dial_error(host, port, trouble)}")
    raise NoConnection(f"failed to connect to localhost:{port} inside the pod's network, {' '.join(said)}")


async def _socket_in(pid: int, family: int) -> socket.socket:
    """A socket belongs for ever to the network in which it was made, whoever uses it."""
    made: Future[socket.socket] = Future()

    def make() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            made.set_result(socket.socket(family, socket.SOCK_STREAM))
        except BaseException as trouble:
            made.set_exception(trouble)

    # A thread of its own, which ends here: a pool's would stay in that network.
    threading.Thread(target=make, name=f"network of {pid}", daemon=True).start()
    return await asyncio.wrap_future(made)
