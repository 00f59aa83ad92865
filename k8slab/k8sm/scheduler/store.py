"""What outlives a scheduler, in etcd: its framework id, and who of several schedulers leads.

    /k8sm/<framework name>/frameworkid    the id that Mesos gave
    /k8sm/<framework name>/leader         <executor id>:<uuid> of the leading scheduler, on a lease

The leader renews its key; when it stops, the lease ends, the key goes, and the first standby that notices writes its
own. A leader that could not renew for as long as the key may live ends by itself, before anybody else begins.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol
from uuid import uuid4

from k8slab.kube.api.storage.base import Check, Compacted, Refused, StorageRejected, StorageUnavailable, Write
from k8slab.kube.api.storage.etcd import EtcdStorage

log = logging.getLogger(__name__)

# Seconds: a key lives at least so long after it was written.
LEASE: Final = 6
RENEW_EVERY: Final = 2.0
RETRY: Final = 0.5


class IdStore(Protocol):
    async def framework_id(self) -> str | None:
        """The id of an earlier life. Waits for the store."""
        ...

    async def keep_id(self, framework_id: str) -> None:
        """Returns when it is stored."""
        ...


class LostLeadership(Exception):
    """Another scheduler leads, or may lead by now."""


class FrameworkStore:
    """``identity``: what is written as the leader, made unique here."""

    def __init__(self, storage: EtcdStorage, framework_name: str, identity: str) -> None:
        self._storage = storage
        self._id_key = f"/k8sm/{framework_name}/frameworkid"
        self._leader_key = f"/k8sm/{framework_name}/leader"
        self._identity = f"{identity}:{uuid4()}"
        self._revision = 0
        self._held_until = 0.0

    async def framework_id(self) -> str | None:
        """The id of an earlier life. Waits for etcd."""
        while True:
            try:
                record, _ = await self._storage.get(self._id_key)
                return record.value.decode() if record and record.value else None
            except StorageUnavailable as trouble:
                log.info("waiting for etcd: %s", trouble)
                await asyncio.sleep(RETRY)

    async def keep_id(self, framework_id: str) -> None:
        """Returns when it is stored."""
        while True:
            try:
                await self._storage.commit((), [Write(self._id_key, framework_id.encode())])
                return
            except (StorageUnavailable, StorageRejected) as trouble:
                log.warning("framework id not stored yet: %s", trouble)
                await asyncio.sleep(RETRY)

    async def lead(self) -> None:
        """Wait until this scheduler leads."""
        while True:
            try:
                await self._renew()
                log.info("this scheduler leads as %s", self._identity)
                return
            except Refused as refused:
                found = refused.found[self._leader_key]
                if found is not None:
                    log.info("standing by: %s leads", found.value.decode())
                    await self._until_gone(found.revision)
            except (StorageUnavailable, StorageRejected) as trouble:
                log.info("waiting for etcd: %s", trouble)
                await asyncio.sleep(RETRY)

    async def hold(self) -> None:
        """Stay the leader for as long as that is possible. Raises LostLeadership."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                async with asyncio.timeout_at(self._held_until):
                    await self._renew()
            except TimeoutError as error:
                raise LostLeadership("etcd did not hear this scheduler for as long as its lease lasts") from error
            except Refused as refused:
                found = refused.found[self._leader_key]
                raise LostLeadership(f"{found.value.decode() if found else 'nobody'} leads now") from refused
            except (StorageUnavailable, StorageRejected) as trouble:
                log.warning("leadership not renewed yet: %s", trouble)
                if _now() >= self._held_until:
                    raise LostLeadership(str(trouble)) from trouble

    async def resign(self) -> None:
        """Let a standby begin at once; a leader that cannot say so is found out by its lease."""
        if self._revision:
            try:
                async with asyncio.timeout(1.0):
                    check = Check(self._leader_key, self._revision)
                    await self._storage.commit([check], [Write(self._leader_key, None)])
            except (TimeoutError, Refused, StorageUnavailable, StorageRejected) as trouble:
                log.info("leadership ends with its lease: %s", trouble)
            self._revision = 0

    async def close(self) -> None:
        """Resign, and leave etcd."""
        await self.resign()
        await self._storage.close()

    async def _renew(self) -> None:
        began = _now()
        try:
            self._revision = await self._write(self._revision)
        except Refused as refused:
            found = refused.found[self._leader_key]
            if found is None or found.value.decode() != self._identity:
                raise
            # etcd heard the last one, whose answer got lost.
            self._revision = await self._write(found.revision)
        self._held_until = began + LEASE

    async def _write(self, revision: int) -> int:
        write = Write(self._leader_key, self._identity.encode(), ttl=LEASE)
        return await self._storage.commit([Check(self._leader_key, revision)], [write])

    async def _until_gone(self, revision: int) -> None:
        try:
            async for batch in self._storage.watch(self._leader_key, after=revision):
                if any(change.key == self._leader_key and change.value is None for change in batch.changes):
                    return
        except Compacted:
            return


def _now() -> float:
    return asyncio.get_running_loop().time()
