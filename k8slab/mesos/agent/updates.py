"""Status updates on their way to the scheduler: in order for each task, one at a time, repeated until acknowledged."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from k8slab.mesos import recordio

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 600.0
REMEMBERED = 1000

Status = dict[str, Any]
Key = tuple[str, str]


@dataclass
class Stream:
    """One task's updates. ``journal`` is where they survive the agent, None when its framework does not checkpoint.

    ``seen`` has the uuids of the latest: an executor repeats no more than what was not confirmed to it.
    """

    journal: Path | None
    pending: deque[Status] = field(default_factory=deque)
    seen: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    retry: asyncio.TimerHandle | None = None
    delay: float = FIRST_RETRY_SECONDS

    def write(self, record: Mapping[str, Any]) -> None:
        """Whole or not at all. Raises OSError."""
        if self.journal is None:
            return
        with self.journal.open("ab", buffering=0) as file:
            before, encoded = file.tell(), recordio.encode(orjson.dumps(record))
            try:
                if file.write(encoded) != len(encoded):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.journal))
            except OSError:
                file.truncate(before)
                raise


class StatusUpdates:
    """``forward(framework_id, status)`` is called for the oldest unacknowledged update of each task.

    Nothing is forwarded while paused, that is while no master is known; ``resume`` sends what waits at once.
    """

    def __init__(self, forward: Callable[[str, Status], None]) -> None:
        self._forward = forward
        self._streams: dict[Key, Stream] = {}
        self._paused = True

    def add(
        self, framework_id: str, status: Status, *, journal: Path | None, kept: Callable[[], None] = lambda: None
    ) -> bool:
        """Take an update over; False when its uuid was seen before.

        ``kept`` is called when it is safely in the journal and before anybody is told. Raises OSError when it cannot
        be kept, and then nothing has happened.
        """
        key = (framework_id, status["task_id"]["value"])
        stream = self._streams.get(key) or Stream(journal)
        if status["uuid"] in stream.seen:
            return False
        stream.write({"type": "UPDATE", "status": status})
        self._append(key, stream, status, kept)
        return True

    def add_unkept(self, framework_id: str, status: Status, *, kept: Callable[[], None]) -> None:
        """As ``add``, for what must be told even though it cannot be written down."""
        key = (framework_id, status["task_id"]["value"])
        self._append(key, self._streams.get(key) or Stream(None), status, kept)

    def _append(self, key: Key, stream: Stream, status: Status, kept: Callable[[], None]) -> None:
        self._streams[key] = stream
        kept()
        stream.seen.append(status["uuid"])
        stream.pending.append(status)
        if len(stream.pending) == 1:
            self._send(key, stream)

    def restore(self, framework_id: str, task_id: str, journal: Path) -> list[Status]:
        """Read a journal after a restart; all its updates, of which the unacknowledged ones wait for ``resume``."""
        stream = Stream(journal)
        updates: list[Status] = []
        acknowledged: set[str] = set()
        for record in _whole_records(journal):
            entry = orjson.loads(record)
            if entry["type"] == "UPDATE":
                updates.append(entry["status"])
            else:
                acknowledged.add(entry["uuid"])
        if updates:
            stream.seen.extend(status["uuid"] for status in updates)
            stream.pending = deque(status for status in updates if status["uuid"] not in acknowledged)
            self._streams[(framework_id, task_id)] = stream
        return updates

    def acknowledge(self, framework_id: str, task_id: str, uuid: str) -> Status | None:
        """The update this acknowledges; None for a repeated or unexpected acknowledgement."""
        key = (framework_id, task_id)
        stream = self._streams.get(key)
        if stream is None or not stream.pending or stream.pending[0]["uuid"] != uuid:
            log.info("acknowledgement %s for task %s is not the expected one", uuid, task_id)
            return None
        try:
            stream.write({"type": "ACK", "uuid": uuid})
        except OSError as trouble:
            # Told once more by the next agent, which a scheduler knows to take for what it is.
            log.warning("acknowledgement %s for task %s cannot be kept: %s", uuid, task_id, trouble)
        status = stream.pending.popleft()
        self._stop_retry(stream)
        if stream.pending:
            self._send(key, stream)
        return status

    def waiting(self, framework_id: str, task_id: str) -> bool:
        """Whether an update of this task is still to be acknowledged."""
        stream = self._streams.get((framework_id, task_id))
        return stream is not None and bool(stream.pending)

    def forget(self, framework_id: str, task_id: str) -> None:
        stream = self._streams.pop((framework_id, task_id), None)
        if stream is not None:
            self._stop_retry(stream)

    def forget_framework(self, framework_id: str) -> None:
        for known_framework, task_id in list(self._streams):
            if known_framework == framework_id:
                self.forget(framework_id, task_id)

    def pause(self) -> None:
        self._paused = True
        for stream in self._streams.values():
            self._stop_retry(stream)

    def resume(self) -> None:
        self._paused = False
        for key, stream in list(self._streams.items()):
            if stream.pending:
                self._send(key, stream)

    def _send(self, key: Key, stream: Stream) -> None:
        if self._paused:
            return
        self._stop_retry(stream)
        self._forward(key[0], stream.pending[0])
        self._retry_later(key, stream)

    def _retry_later(self, key: Key, stream: Stream) -> None:
        stream.retry = asyncio.get_running_loop().call_later(stream.delay, self._retry, key, stream)

    def _retry(self, key: Key, stream: Stream) -> None:
        log.info("task %s: %s is not acknowledged, sent again", key[1], stream.pending[0]["state"])
        self._forward(key[0], stream.pending[0])
        stream.delay = min(stream.delay * 2, LONGEST_RETRY_SECONDS)
        self._retry_later(key, stream)

    def _stop_retry(self, stream: Stream) -> None:
        if stream.retry is not None:
            stream.retry.cancel()
        stream.retry, stream.delay = None, FIRST_RETRY_SECONDS


def _whole_records(journal: Path) -> list[bytes]:
    """Those before the first that a crash cut or spoilt. That one was never acknowledged to the executor, which sends
    it again: it is cut off for good, with all behind it."""
    if not journal.exists():
        return []
    content = journal.read_bytes()
    records: list[bytes] = []
    decoder, whole = recordio.Decoder(), 0
    try:
        for number in range(len(content)):
            for record in decoder.feed(content[number : number + 1]):
                orjson.loads(record)
                records.append(record)
                whole = number + 1
    except (recordio.FramingError, orjson.JSONDecodeError) as damage:
        log.error("%s is damaged behind its first %d bytes: %s", journal, whole, damage)
    if whole < len(content):
        os.truncate(journal, whole)
    return records
