"""Where an agent keeps things below its work directory; Mesos' own layout."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paths:
    """``work_dir/slaves/…`` holds sandboxes, ``work_dir/meta/slaves/…`` what the agent must know after a restart."""

    work_dir: Path

    @property
    def meta(self) -> Path:
        return self.work_dir / "meta"

    @property
    def boot_id(self) -> Path:
        return self.meta / "boot_id"

    @property
    def resources(self) -> Path:
        return self.meta / "resources" / "resources.info"

    @property
    def latest_agent(self) -> Path:
        return self.meta / "slaves" / "latest"

    def agent(self, agent_id: str) -> Path:
        return self.meta / "slaves" / agent_id

    def framework(self, agent_id: str, framework_id: str) -> Path:
        return self.agent(agent_id) / "frameworks" / framework_id

    def executor(self, agent_id: str, framework_id: str, executor_id: str) -> Path:
        return self.framework(agent_id, framework_id) / "executors" / executor_id

    def run(self, agent_id: str, framework_id: str, executor_id: str, container_id: str) -> Path:
        return self.executor(agent_id, framework_id, executor_id) / "runs" / container_id

    def sandbox(self, agent_id: str, framework_id: str, executor_id: str, container_id: str) -> Path:
        below = Path("slaves", agent_id, "frameworks", framework_id, "executors", executor_id, "runs", container_id)
        return self.work_dir / below


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Whole or not at all: a reader after a crash of the agent never sees half of it.

    ``durable`` is for what must be there after a crash of the machine too; tasks do not outlive that.
    """
    write_whole(path, orjson.dumps(value), durable=durable)


def write_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(path)


def read_json(path: Path) -> Any:
    """None when there is no such file, or the machine crashed before the disk had all of it."""
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError:
        log.error("%s is damaged, and taken for one that was never written", path)
        return None


def link_latest(target: Path) -> None:
    """Make the symbolic link ``latest`` beside ``target`` point to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / ".latest.draft"
    draft.unlink(missing_ok=True)
    draft.symlink_to(target.name)
    draft.replace(target.parent / "latest")


def folders(path: Path) -> Iterator[Path]:
    """The real folders in ``path``, sorted; nothing when it does not exist."""
    if path.is_dir():
        yield from sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink())


def ended_runs(home: Path, pattern: str) -> Iterator[tuple[float, Path]]:
    """The runs below ``home`` that are marked as ended, with the moment; those that go meanwhile are passed over."""
    for mark in home.glob(f"{pattern}/executor.sentinel"):
        if mark.parent.name != "latest":
            with contextlib.suppress(FileNotFoundError):
                yield mark.stat().st_mtime, mark.parent


@contextlib.contextmanager
def suppressed(what: str) -> Iterator[None]:
    """Trouble with the disk that must not keep anybody from what comes next; said in the log."""
    try:
        yield
    except OSError as trouble:
        log.error("%s: %s", what, trouble)


def make_sandbox(directory: Path, user: str | None) -> None:
    """A folder of that user's; everything above it must be ours. Raises KeyError when there is no such user."""
    import pwd

    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o750)
    if user and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(directory, entry.pw_uid, entry.pw_gid)


def make_shared_sandbox(directory: Path) -> None:
    """Ours, with others' sandboxes in it: they pass through it, but cannot put links in our way."""
    make_sandbox(directory, None)
    directory.chmod(0o755)
