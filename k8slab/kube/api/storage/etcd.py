"""Storage over etcd v3: transactions, ranges and one watch stream, spoken straight in etcd's own gRPC messages.

Several members may be named. A request goes to the member that answered last; when that one fails or stays silent the
next is asked, within one deadline for the whole request, so that a dead member costs one attempt and a lost quorum ends
in an error and never in a hang.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from aetcd import rpc
from grpc import StatusCode

from k8slab.kube.api.storage.base import (
    Batch,
    Change,
    Check,
    Compacted,
    FutureRevision,
    Page,
    Record,
    Refused,
    StorageRejected,
    StorageUnavailable,
    Write,
)

log = logging.getLogger(__name__)

# Whole request and one attempt, in seconds: three silent members fit in, and the client waits less than seven.
DEADLINE: Final = 6.0
ATTEMPT: Final = 1.9
HEALTH_DEADLINE: Final = 2.0
ROUND_PAUSE: Final = 0.15
# A watch that has not told of a write acknowledged this long ago is fed by a member that lags or is frozen.
STALL: Final = 3.0

# A member without a leader then refuses at once instead of letting the request wait.
METADATA: Final = (("hasleader", "true"),)
OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)
TIMED_OUT: Final = "etcdserver: request timed out"
TRANSIENT: Final = frozenset({StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED})


class _Member:
    """One etcd member: its address and the stubs of its channel."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = rpc.insecure_channel(address, options=OPTIONS)
        self.kv = rpc.KVStub(self.channel)
        self.lease = rpc.LeaseStub(self.channel)
        self.watch = rpc.WatchStub(self.channel)


class EtcdStorage:
    """``servers``: such as ["http://172.17.1.1:2379", "172.17.1.2:2379"]."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._members = [_Member(server.removeprefix("http://").rstrip("/")) for server in servers]
        self._current = 0
        self._committed = 0
        self._leases: dict[int, tuple[float, int]] = {}

    async def get(self, key: str) -> tuple[Record | None, int]:
        answer = await self._call("Range", rpc.RangeRequest(key=key.encode()))
        return (_record(answer.kvs[0]) if answer.kvs else None), answer.header.revision

    async def page(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        start = after.encode() + b"\0" if after else prefix.encode()
        request = rpc.RangeRequest(key=start, range_end=_end(prefix), limit=limit, revision=revision)
        answer = await self._call("Range", request)
        records = [_record(kv) for kv in answer.kvs]
        return Page(records, revision or answer.header.revision, answer.count - len(records))

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        request = rpc.TxnRequest()
        for check in checks:
            compare = request.compare.add()
            compare.key = check.key.encode()
            compare.target = rpc.Compare.MOD
            compare.result = rpc.Compare.EQUAL
            compare.mod_revision = check.revision
            request.failure.add().request_range.key = compare.key
        for write in writes:
            if write.value is None:
                request.success.add().request_delete_range.key = write.key.encode()
            else:
                put = request.success.add().request_put
                put.key, put.value = write.key.encode(), write.value
                if write.ttl:
                    put.lease = await self._lease(write.ttl)
        answer, repeated = await self._attempts("Txn", request, DEADLINE)
        if answer.succeeded:
            self._committed = max(self._committed, answer.header.revision)
            return int(answer.header.revision)
        found: dict[str, Record | None] = {}
        for check, response in zip(checks, answer.responses, strict=True):
            kvs = response.response_range.kvs
            found[check.key] = _record(kvs[0]) if kvs else None
        if repeated and (done := _already(writes, found)):
            return done if done > 0 else int(answer.header.revision)
        raise Refused(found)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        turn = self._current
        pause = ROUND_PAUSE
        while True:
            member = self._members[turn % len(self._members)]
            try:
                async for batch in self._stream(member, prefix, after):
                    after = batch.revision
                    pause = ROUND_PAUSE
                    yield batch
                trouble = "the stream ended"
            except rpc.AioRpcError as error:
                trouble = error.details() or error.code().name
            log.info("watch of etcd at %s: %s; trying the next member", member.address, trouble)
            turn += 1
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    async def healthy(self) -> bool:
        try:
            await self._attempts("Range", rpc.RangeRequest(key=b"/registry/health"), HEALTH_DEADLINE)
        except StorageUnavailable:
            return False
        return True

    async def close(self) -> None:
        for member in self._members:
            await member.channel.close()

    async def _stream(self, member: _Member, prefix: str, after: int) -> AsyncIterator[Batch]:
        call = member.watch.Watch(metadata=METADATA)
        seen = [after]
        guard = asyncio.create_task(self._stalled(seen), name=f"etcd watch guard {member.address}")
        guard.add_done_callback(lambda _: call.cancel())
        try:
            request = rpc.WatchRequest()
            create = request.create_request
            create.key, create.range_end, create.start_revision = prefix.encode(), _end(prefix), after + 1
            create.progress_notify = True
            await call.write(request)
            while response := await call.read():
                if not hasattr(response, "events"):
                    return
                if response.compact_revision:
                    raise Compacted(response.compact_revision)
                if response.canceled:
                    log.info("etcd at %s ended the watch: %s", member.address, response.cancel_reason)
                    return
                if response.created:
                    continue
                changes = [_change(event) for event in response.events]
                # A progress notice may be older than what a member that was ahead has already told.
                seen[0] = max(seen[0], response.header.revision if not changes else changes[-1].revision)
                yield Batch(changes, seen[0])
        except asyncio.CancelledError:
            # The guard's cancelling of the call comes out of the read looking like a cancelling of this task.
            task = asyncio.current_task()
            if not guard.done() or (task is not None and task.cancelling()):
                raise
            log.info("watch of etcd at %s has not told of revision %d", member.address, self._committed)
        finally:
            guard.cancel()
            call.cancel()

    async def _stalled(self, seen: list[int]) -> None:
        """Returns when the stream has kept silent about a write for too long."""
        while True:
            expected = self._committed
            await asyncio.sleep(STALL)
            if seen[0] < expected:
                return

    async def _lease(self, ttl: int) -> int:
        """A lease of ``ttl`` to ``ttl`` and a half seconds; many writes share one, which etcd is grateful for."""
        granted, lease = self._leases.get(ttl, (0.0, 0))
        now = time.monotonic()
        shared = min(ttl // 2, 60)
        if not lease or now - granted > shared:
            answer = await self._call("LeaseGrant", rpc.LeaseGrantRequest(TTL=ttl + shared))
            lease = answer.ID
            self._leases[ttl] = (now, lease)
        return lease

    async def _call(self, method: str, request: Any) -> Any:
        answer, _ = await self._attempts(method, request, DEADLINE)
        return answer

    async def _attempts(self, method: str, request: Any, deadline: float) -> tuple[Any, bool]:
        """The answer, and whether an earlier attempt may have been carried out without our knowing."""
        clock = asyncio.get_running_loop().time
        until = clock() + deadline
        said = ""
        met: dict[str, str] = {}
        uncertain = False
        failed = 0
        while True:
            turn = self._current
            member = self._members[turn]
            stub = member.lease if method.startswith("Lease") else member.kv
            try:
                attempt = max(min(ATTEMPT, until - clock()), 0.05)
                return await getattr(stub, method)(request, timeout=attempt, metadata=METADATA), uncertain
            except rpc.AioRpcError as error:
                code, details = error.code(), error.details() or ""
                if code not in TRANSIENT:
                    raise _rejected(code, details) from error
                if details.startswith("etcdserver:"):
                    said = details
                met[member.address] = details or code.name
                uncertain = uncertain or not _never_left(code, details)
            failed += 1
            if self._current == turn:
                self._current = (turn + 1) % len(self._members)
            if clock() >= until - 0.05:
                # "No leader" would promise that nothing was done; an attempt that got no answer may yet be.
                said = TIMED_OUT if uncertain and said and method == "Txn" else said
                raise StorageUnavailable(said, "; ".join(f"{address}: {what}" for address, what in met.items()))
            if failed % len(self._members) == 0:
                await asyncio.sleep(min(ROUND_PAUSE, until - clock()))


def _never_left(code: StatusCode, details: str) -> bool:
    return code is StatusCode.UNAVAILABLE and ("failed to connect" in details or details == "etcdserver: no leader")


def _already(writes: Sequence[Write], found: dict[str, Record | None]) -> int:
    """When what we wanted is already there: the revision of our own earlier attempt, -1 for deletions; else 0."""
    revision = -1
    for write in writes:
        record = found.get(write.key)
        if (record.value if record else None) != write.value:
            return 0
        if record:
            revision = record.revision
    return revision


def _rejected(code: StatusCode, details: str) -> Exception:
    if code is StatusCode.OUT_OF_RANGE:
        return Compacted() if "compacted" in details else FutureRevision()
    return StorageRejected(details or code.name)


def _record(kv: Any) -> Record:
    return Record(kv.key.decode(errors="replace"), kv.value, kv.mod_revision)


def _change(event: Any) -> Change:
    kv = event.kv
    return Change(kv.key.decode(errors="replace"), None if event.type else kv.value, kv.mod_revision)


def _end(prefix: str) -> bytes:
    raw = prefix.encode()
    return raw[:-1] + bytes((raw[-1] + 1,))
