"""Clients that keep books while servers and etcd fail under them, and what must hold in the books afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.daemons.processes import eventually

WRITERS = 16
PATIENCE = 60.0
TROUBLE = (aiohttp.ClientError, ConnectionError, TimeoutError)


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"key": name}}


@dataclass
class Watcher:
    """One client that lists and watches for ever, as informers do; ``faults`` are what no client should ever see."""

    urls: Sequence[str]
    namespace: str
    turn: int
    known: dict[str, int] = field(default_factory=dict)
    version: int = 0
    faults: list[str] = field(default_factory=list)
    lists: int = 0

    async def run(self, session: aiohttp.ClientSession) -> None:
        fresh = True
        while True:
            url = f"{self.urls[self.turn % len(self.urls)]}/api/v1/namespaces/{self.namespace}/configmaps"
            try:
                if fresh:
                    await self._list(session, url)
                fresh = await self._watch(session, url)
            except TROUBLE:
                self.turn += 1
                await asyncio.sleep(0.05)

    async def _list(self, session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url, params={"resourceVersion": str(self.version)} if self.version else None) as answer:
            answer.raise_for_status()
            listed = await answer.json()
        version = int(listed["metadata"]["resourceVersion"])
        found = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in listed["items"]}
        if version < self.version:
            self.faults.append(f"a list of {version} after {self.version} was asked for")
        self.faults += [f"the list has lost {name}" for name in self.known if name not in found]
        missed = [name for name, made in found.items() if made <= self.version and name not in self.known]
        self.faults += [f"the watch has passed over {name}" for name in missed if self.lists]
        self.known, self.version = found, version
        self.lists += 1

    async def _watch(self, session: aiohttp.ClientSession, url: str) -> bool:
        """Whether to list again: what came in between is not known any more."""
        query = {"watch": "1", "resourceVersion": str(self.version), "allowWatchBookmarks": "true"}
        async with session.get(url, params=query) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    if event["object"]["code"] != 410:
                        self.faults.append(f"the watch was told {event['object']}")
                    return True
                self._take(event)
        return False

    def _take(self, event: dict[str, Any]) -> None:
        meta = event["object"]["metadata"]
        version = int(meta["resourceVersion"])
        if event["type"] == "BOOKMARK":
            self.version = max(self.version, version)
            return
        if version <= self.version:
            self.faults.append(f"{event['type']} of {meta['name']} at {version} after {self.version}")
        if (event["type"] == "ADDED") is (meta["name"] in self.known):
            self.faults.append(f"{event['type']} of {meta['name']}, known: {meta['name'] in self.known}")
        self.known[meta["name"]] = self.version = version


@dataclass
class Writer:
    """Creates objects by name until each is acknowledged; ``acknowledged`` has the version of each as it was told."""

    urls: Sequence[str]
    namespace: str
    acknowledged: dict[str, int] = field(default_factory=dict)
    uncertain: set[str] = field(default_factory=set)

    async def create(self, session: aiohttp.ClientSession, names: list[str], turn: int) -> None:
        while names:
            url = f"{self.urls[turn % len(self.urls)]}/api/v1/namespaces/{self.namespace}/configmaps"
            name = names[-1]
            try:
                async with session.post(url, json=config_map(name)) as answer:
                    body = await answer.json()
            except TROUBLE:
                self.uncertain.add(name)
                turn += 1
                await asyncio.sleep(0.02)
                continue
            match answer.status:
                case 201:
                    self.acknowledged[name] = int(body["metadata"]["resourceVersion"])
                case 409 if name in self.uncertain:
                    # An earlier try was carried out; nobody was told.
                    self.acknowledged[name] = 0
                case status if status >= 500:
                    self.uncertain.add(name)
                    await asyncio.sleep(0.05)
                    continue
                case _:
                    raise AssertionError(f"{name}: {answer.status} {body}")
            names.pop()


async def survive(
    urls: Sequence[str], namespace: str, *, objects: int, watchers: int, faults: Sequence[Callable[[], Awaitable[None]]]
) -> None:
    """Create ``objects`` while ``watchers`` look on and each of the faults happens once, evenly spread. Asserts that

    every acknowledged object is there with the version that was told, that no watcher saw an object added twice, a
    version go back or an object vanish, and that all of them know exactly what there is in the end.
    """
    names = [f"object-{index:05d}" for index in range(objects)]
    writer = Writer(urls, namespace)
    looking = [Watcher(urls, namespace, turn) for turn in range(watchers)]
    silence = aiohttp.ClientTimeout(total=None, sock_read=15)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=silence) as session:
        running = [asyncio.create_task(one.run(session)) for one in looking]
        shares = [names[index::WRITERS] for index in range(WRITERS)]
        writing = asyncio.gather(*(writer.create(session, share, turn) for turn, share in enumerate(shares)))
        for number, fault in enumerate(faults, 1):
            while len(writer.acknowledged) < objects * number / (len(faults) + 1):
                assert not writing.done() or writing.exception() is None, writing.exception()
                await asyncio.sleep(0.01)
            await fault()
        async with asyncio.timeout(PATIENCE):
            await writing
        await _agree(session, urls, namespace, looking, objects)
        for task in running:
            assert not task.done(), task.exception()
            task.cancel()
        final = await _listed(session, urls[-1], namespace)
    assert set(final) == set(names)
    changed = {name: (told, final[name]) for name, told in writer.acknowledged.items() if told and told != final[name]}
    assert not changed
    assert [one.faults for one in looking] == [[]] * watchers
    assert all(one.known == final for one in looking)


async def _agree(
    session: aiohttp.ClientSession, urls: Sequence[str], namespace: str, looking: Sequence[Watcher], objects: int
) -> None:
    async def all_know() -> bool:
        return all(len(one.known) == objects for one in looking)

    try:
        await eventually(all_know, timeout=PATIENCE, what="every watcher knows every object")
    except AssertionError:
        known = [len(one.known) for one in looking]
        there = len(await _listed(session, urls[-1], namespace))
        raise AssertionError(f"{objects} created, {there} there, watchers know {known}") from None


async def _listed(session: aiohttp.ClientSession, url: str, namespace: str) -> dict[str, int]:
    async with session.get(f"{url}/api/v1/namespaces/{namespace}/configmaps") as answer:
        items = (await answer.json())["items"]
    return {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in items}
