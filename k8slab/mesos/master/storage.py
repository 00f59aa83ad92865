"""Where the registry lies: below the masters' path in ZooKeeper, or, for a master that leads alone, in its work_dir.

In ZooKeeper it is below ``log_replicas``, where the original has its replicated log and where no client looks for
masters. Every transaction checks the version of the registry's own znode, which each new leader raises first: what a
former leader still tries to write is refused as a whole.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from k8slab.mesos.master.registrar import RegistryError
from k8slab.mesos.master.registry import NAMES
from k8slab.mesos.zookeeper import MasterGroup

log = logging.getLogger(__name__)

PLACE = "log_replicas/registry"
RETRY_SECONDS = 0.2
# A request to ZooKeeper is limited to 1 MB, names and all.
LARGEST_TRANSACTION = 512 * 1024


class ZooKeeperStorage:
    """Goes with the session of ``group``. While ZooKeeper is away it tries again; the registrar's timeouts end that."""

    def __init__(self, group: MasterGroup) -> None:
        self._group = group
        self._version = -1

    async def fetch(self) -> Mapping[str, bytes]:
        from kazoo.exceptions import KazooException

        while True:
            try:
                return await self._fetch()
            except KazooException as error:
                log.info("fetching the registry: %s %s", type(error).__name__, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _fetch(self) -> Mapping[str, bytes]:
        from kazoo.exceptions import NodeExistsError

        group, client = self._group, self._group.client
        root = self._path()
        await group.call(client.ensure_path_async(root, acl=group.acl))
        # Raised before anything is read: what was read cannot be changed by a former leader any more.
        self._version = (await group.call(client.set_async(root, b""))).version
        present = set(await group.call(client.get_children_async(root)))

        async def create(name: str) -> None:
            try:
                await group.call(client.create_async(self._path(name), acl=group.acl))
            except NodeExistsError:
                log.debug("shard %s was made by an attempt whose answer got lost", name)

        await asyncio.gather(*(create(name) for name in NAMES if name not in present))
        contents = await asyncio.gather(*(group.call(client.get_async(self._path(name))) for name in NAMES))
        return {name: bytes(content) for name, (content, _) in zip(NAMES, contents, strict=True)}

    async def store(self, shards: Mapping[str, bytes]) -> None:
        for part in portions(shards, LARGEST_TRANSACTION):
            await self._commit(part)

    async def _commit(self, shards: Mapping[str, bytes]) -> None:
        """Sure to be done once it returns: trying again what may have been done writes the same once more."""
        from kazoo.exceptions import BadVersionError, KazooException

        while True:
            transaction = self._group.client.transaction()
            transaction.check(self._path(), self._version)
            for name, content in shards.items():
                transaction.set_data(self._path(name), content)
            try:
                results = await self._group.call(transaction.commit_async())
                failures = [result for result in results if isinstance(result, Exception)]
                if any(isinstance(failure, BadVersionError) for failure in failures):
                    raise RegistryError("another master took over the registry")
                if failures:
                    raise RegistryError(f"ZooKeeper refuses to store the registry: {failures!r}")
                return
            except KazooException as error:
                log.info("storing the registry: %s %s", type(error).__name__, error)
                await asyncio.sleep(RETRY_SECONDS)

    def _path(self, name: str = "") -> str:
        return "/".join([self._group.path, PLACE, *([name] if name else [])])


class FileStorage:
    """One file for each shard, replaced whole."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def fetch(self) -> Mapping[str, bytes]:
        return await asyncio.to_thread(self._read)

    async def store(self, shards: Mapping[str, bytes]) -> None:
        await asyncio.to_thread(self._write, shards)

    def _read(self) -> Mapping[str, bytes]:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            return {name: (self._directory / name).read_bytes() for name in NAMES if (self._directory / name).exists()}
        except OSError as error:
            raise RegistryError(f"cannot read the registry in {self._directory}: {error.strerror}") from error

    def _write(self, shards: Mapping[str, bytes]) -> None:
        try:
            for name, content in shards.items():
                unfinished = self._directory / f".{name}"
                with unfinished.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(self._directory / name)
        except OSError as error:
            raise RegistryError(f"cannot write the registry in {self._directory}: {error.strerror}") from error


def portions(shards: Mapping[str, bytes], largest: int) -> Iterator[dict[str, bytes]]:
    """Cut into parts of at most ``largest`` bytes, of one shard at least."""
    part: dict[str, bytes] = {}
    size = 0
    for name, content in shards.items():
        if part and size + len(content) > largest:
            yield part
            part, size = {}, 0
        part[name] = content
        size += len(content)
    if part:
        yield part
