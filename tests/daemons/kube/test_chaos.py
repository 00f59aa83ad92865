"""What was acknowledged is there, and no watch misses or repeats an event, whatever dies meanwhile (short form)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.chaos import survive
from tests.daemons.kube.conftest import Api
from tests.daemons.processes import Daemon, Etcd

OBJECTS = 400
WATCHERS = 10

pytestmark = pytest.mark.timeout(180)


async def leader(etcd: Etcd) -> Daemon:
    """The member that leads, told by the members' own metrics."""
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            for daemon, endpoint in zip(etcd.members, etcd.endpoints, strict=True):
                try:
                    async with session.get(f"{endpoint}/metrics") as answer:
                        if "\netcd_server_is_leader 1" in await answer.text():
                            return daemon
                except aiohttp.ClientError:
                    continue
            await asyncio.sleep(0.1)
    raise AssertionError("no member leads")


async def restart(daemon: Daemon) -> None:
    daemon.kill()
    await daemon.start_async()


async def lose_leader(etcd: Etcd) -> None:
    await restart(await leader(etcd))


async def freeze_one(etcd: Etcd, seconds: float = 4.0) -> None:
    member = etcd.members[0]
    member.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    member.signal(signal.SIGCONT)


async def compact(etcd: Etcd) -> None:
    """Make etcd forget everything but its newest state."""
    async with aiohttp.ClientSession() as session:
        url = etcd.endpoints[-1]
        async with session.post(f"{url}/v3/kv/range", json={"key": "AA=="}) as answer:
            revision = (await answer.json())["header"]["revision"]
        async with session.post(f"{url}/v3/kv/compaction", json={"revision": revision, "physical": True}) as answer:
            assert answer.status == 200, await answer.text()


async def new_namespace(api: Api) -> str:
    async with KubeClient(api.url) as client:
        return str((await client.create("namespaces", {"metadata": {"generateName": "chaos-"}}))["metadata"]["name"])


async def test_the_server_is_killed(etcd_cluster: Callable[[int], Etcd], apis: Callable[..., Api]) -> None:
    api = apis(etcd_cluster(1))
    kill = lambda: restart(api.daemon)  # noqa: E731
    await survive([api.url], await new_namespace(api), objects=OBJECTS, watchers=WATCHERS, faults=(kill, kill))


async def test_one_of_two_servers_is_killed(etcd_cluster: Callable[[int], Etcd], apis: Callable[..., Api]) -> None:
    etcd = etcd_cluster(1)
    first, second = apis(etcd), apis(etcd)
    faults = (lambda: restart(first.daemon), lambda: restart(second.daemon))
    namespace = await new_namespace(first)
    await survive([first.url, second.url], namespace, objects=OBJECTS, watchers=WATCHERS, faults=faults)


async def test_etcd_loses_its_leader_and_has_a_member_frozen(
    etcd_cluster: Callable[[int], Etcd], apis: Callable[..., Api]
) -> None:
    etcd = etcd_cluster(3)
    api = apis(etcd)
    faults = (lambda: compact(etcd), lambda: lose_leader(etcd), lambda: freeze_one(etcd), lambda: compact(etcd))
    await survive([api.url], await new_namespace(api), objects=OBJECTS, watchers=WATCHERS, faults=faults)
