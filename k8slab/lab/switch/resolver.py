"""The host's name servers, for nodes that reach out: what the engine does where it has made the network itself.

A node in whose network the engine has no part gets no ``resolv.conf`` from it. Nodes of a hermetic lab need none: what
is not in their ``/etc/hosts`` is asked of their own loopback, where nobody listens, and fails at once.
"""

from __future__ import annotations

import contextlib
import os
from ipaddress import ip_address
from pathlib import Path

# A container with the host's network has the host's file.
OWN = Path("/etc/resolv.conf")
# systemd-resolved answers on the host's loopback alone; this file has the servers that it asks itself.
BEHIND_STUB = Path("/proc/1/root/run/systemd/resolve/resolv.conf")
_DRAFT = ".resolv.conf.k8slab"


def of_host(*sources: Path) -> str:
    """The text of the first of ``sources`` (the host's, unless said) that names a server which nodes can reach, without
    those that they cannot; "" when there is none."""
    for source in sources or (OWN, BEHIND_STUB):
        try:
            # Its comments may be in any encoding.
            lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        kept = [line for line in lines if not _on_loopback(line)]
        if any(line.split()[:1] == ["nameserver"] for line in kept):
            return "\n".join([*kept, ""])
    return ""


def _on_loopback(line: str) -> bool:
    words = line.split()
    if len(words) < 2 or words[0] != "nameserver":
        return False
    try:
        return ip_address(words[1].partition("%")[0]).is_loopback
    except ValueError:
        return True


def place(root: int, text: str) -> None:
    """Make ``text`` the ``/etc/resolv.conf`` below the open folder ``root``, unless a file is mounted there. Raises
    OSError.

    The node may have put anything there. No link on the way is followed: it would lead from the node's file system into
    the switch's. And nothing that is there is opened for writing: a pipe would keep the switch waiting.
    """
    etc = os.open("etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        # Whoever mounted it has seen to the node's name servers, and a file put in its place would take the mount away.
        if _is_mounted(etc):
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_DRAFT, dir_fd=etc)
        draft = os.open(_DRAFT, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=etc)
        try:
            with os.fdopen(draft, "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(_DRAFT, "resolv.conf", src_dir_fd=etc, dst_dir_fd=etc)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(_DRAFT, dir_fd=etc)
            raise
    finally:
        os.close(etc)


def _is_mounted(etc: int) -> bool:
    try:
        found = os.open("resolv.conf", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=etc)
    except FileNotFoundError:
        return False
    try:
        return _mount_of(found) != _mount_of(etc)
    finally:
        os.close(found)


def _mount_of(fd: int) -> str:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))
