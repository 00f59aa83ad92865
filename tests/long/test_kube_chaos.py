"""The API server's short chaos, with two thousand objects, a hundred watchers and many more faults."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.daemons.kube.chaos import survive
from tests.daemons.kube.conftest import Api
from tests.daemons.kube.test_chaos import compact, freeze_one, lose_leader, new_namespace, restart
from tests.daemons.processes import Etcd

OBJECTS = 2000
WATCHERS = 100


@pytest.mark.timeout(900)
async def test_two_servers_on_three_members_of_etcd(
    etcd_cluster: Callable[[int], Etcd], apis: Callable[..., Api]
) -> None:
    etcd = etcd_cluster(3)
    servers = [apis(etcd), apis(etcd)]
    faults = [
        *(lambda server=server: restart(server.daemon) for server in servers * 3),
        *[lambda: lose_leader(etcd)] * 3,
        *[lambda: freeze_one(etcd)] * 2,
        *[lambda: compact(etcd)] * 3,
    ]
    random.Random(1).shuffle(faults)
    urls = [server.url for server in servers]
    namespace = await new_namespace(servers[0])
    await survive(urls, namespace, objects=OBJECTS, watchers=WATCHERS, faults=faults)


@pytest.mark.timeout(600)
async def test_the_only_server_is_killed_under_load(
    etcd_cluster: Callable[[int], Etcd], apis: Callable[..., Api]
) -> None:
    api = apis(etcd_cluster(1))
    faults = [lambda: restart(api.daemon)] * 8
    await survive([api.url], await new_namespace(api), objects=OBJECTS, watchers=WATCHERS, faults=faults)
