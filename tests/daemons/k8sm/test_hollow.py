"""Schedulers under load, and at masters that ask who they are. The minions are simulated."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from tests.daemons.k8sm.cluster import ready
from tests.daemons.k8sm.hollow import hollow_cluster, hollow_pod
from tests.daemons.processes import Supervisor, eventually

PODS = 150


async def test_a_scheduler_killed_while_it_launches_runs_every_pod_once(supervisor: Supervisor, tmp_path: Path) -> None:
    async with hollow_cluster(supervisor, tmp_path, minions=5) as hollow, aiohttp.ClientSession() as http:
        client = hollow.client

        async def phases() -> Counter[str]:
            return Counter(one["status"]["phase"] for one in (await client.list("pods", "default")).items)

        async def some_run() -> bool:
            return (await phases())["Running"] > 0

        async def all_run() -> bool:
            return await phases() == {"Running": PODS}

        async def tasks() -> list[dict[str, Any]]:
            async with http.get(f"http://{hollow.master}/tasks?limit=1000") as answer:
                listed = (await answer.json(content_type=None))["tasks"]
            return [one for one in listed if one["state"] == "TASK_RUNNING"]

        creating = [
            asyncio.create_task(client.create("pods", hollow_pod(f"hollow-{number}"))) for number in range(PODS)
        ]
        await eventually(some_run, interval=0.01, what="the first pods run")
        hollow.scheduler.kill()
        await asyncio.gather(*creating)
        assert not await all_run()
        await hollow.scheduler.start_async()
        await eventually(all_run, timeout=30, what="all pods run")

        async def each_has_one_task() -> bool:
            running = Counter(one["name"] for one in await tasks())
            return len(running) == PODS and set(running.values()) == {1}

        await eventually(each_has_one_task, what="every pod has one task in Mesos")
        for pod in (await client.list("pods", "default")).items:
            await client.delete("pods", pod["metadata"]["name"], "default")

        async def nothing_left() -> bool:
            return not await phases() and not await tasks()

        await eventually(nothing_left, timeout=30, what="no pod and no task is left")


async def test_a_scheduler_says_who_it_is_to_a_master_that_asks(supervisor: Supervisor, tmp_path: Path) -> None:
    credentials, secret = tmp_path / "credentials", tmp_path / "secret"
    credentials.write_text("kubernetes s3cret\n")
    secret.write_text("s3cret\n")
    async with hollow_cluster(
        supervisor,
        tmp_path,
        minions=1,
        master_flags=[
            "--authenticate_http_frameworks=true",
            "--http_framework_authenticators=basic",
            "--authenticate_http_readonly=true",
            f"--credentials={credentials}",
        ],
        scheduler_flags=[
            "--mesos-authentication-principal=kubernetes",
            f"--mesos-authentication-secret-file={secret}",
        ],
    ) as hollow:
        await hollow.client.create("pods", hollow_pod("known"))

        async def runs() -> bool:
            return ready(await hollow.client.get("pods", "known", "default"))

        await eventually(runs, what="the pod runs")
