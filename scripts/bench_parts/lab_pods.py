"""How fast real pods run in the default lab, beside what the minions' engines can do by themselves in the same run.

Usage: lab_pods.py [--pods N] [--rate N] [--paced N]. The lab is brought up, and removed again if it was not up before.
The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from k8slab.kube.client import ApiError, KubeClient  # noqa: E402

K8SLAB = Path(sys.executable).with_name("k8slab")
LAB = "k8s-mesos"
MINIONS = [f"kubernetes-minion-{number}" for number in range(4)]
SERVER = "http://172.17.1.7:8080"
IMAGE, PAUSE = "k8slab/nginx:1.22", "k8slab/pause:1"
# What the bench of the engines starts at once on each of them.
AT_ONCE = 4
Json = dict[str, Any]


def k8slab(*words: str) -> str:
    return subprocess.run([str(K8SLAB), *words], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def on(minion: str, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(["docker", "exec", minion, "sh", "-c", script], stdout=subprocess.PIPE, text=True)


def all_minions(script: str) -> float:
    """Seconds until the script has ended on all minions, begun on all at once."""
    begin = time.monotonic()
    running = [on(minion, script) for minion in MINIONS]
    for one in running:
        one.communicate()
        if one.returncode:
            raise SystemExit(f"{script}: ended with {one.returncode}")
    return time.monotonic() - begin


def engines_alone(pods: int) -> float:
    """Seconds that the engines need for the same containers, asked by nobody but their own command."""
    pair = f"docker run -d --name bare-{{}} {PAUSE} && docker run -d --network container:bare-{{}} {IMAGE}"
    each = pods // len(MINIONS)
    seconds = all_minions(f"seq {each} | xargs -P {AT_ONCE} -I{{}} sh -c '{pair}' > /dev/null")
    all_minions("docker ps -aq | xargs docker rm -f > /dev/null")
    return seconds


def template(name: str) -> Json:
    limits = {"cpu": "50m", "memory": "32Mi"}
    containers = [{"name": "nginx", "image": IMAGE, "resources": {"limits": limits}}]
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "bench"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": containers},
    }


def is_running(pod: Json) -> bool:
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


class Story:
    """When each pod was seen to run, by its name."""

    def __init__(self) -> None:
        self.created: dict[str, float] = {}
        self.running: dict[str, float] = {}
        self.gone: set[str] = set()
        self.changed = asyncio.Condition()

    async def follow(self, client: KubeClient, version: str) -> None:
        async for event in client.watch("pods", "default", resource_version=version):
            name, now = event.object["metadata"]["name"], time.monotonic()
            self.created.setdefault(name, now)
            if event.type == "DELETED":
                self.gone.add(name)
            elif is_running(event.object):
                self.running.setdefault(name, now)
            async with self.changed:
                self.changed.notify_all()

    async def until(self, count: int, seconds: float) -> None:
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: len(self.running) >= count)


@contextlib.asynccontextmanager
async def following(client: KubeClient) -> AsyncIterator[Story]:
    story = Story()
    version = (await client.list("pods", "default")).resource_version
    task = asyncio.create_task(story.follow(client, version))
    try:
        yield story
    finally:
        task.cancel()


async def paced(client: KubeClient, pods: int, rate: float) -> Json:
    """One pod after the other at a steady rate: the time of each from its POST to Running."""
    sent = {}
    async with following(client) as story:
        begin = time.monotonic()
        for number in range(pods):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            name = f"paced-{number}"
            sent[name] = time.monotonic()
            await client.create("pods", template(name))
        await story.until(pods, 120)
    waits = sorted(story.running[name] - at for name, at in sent.items())
    await clear(client)
    return {"median_s": round(waits[len(waits) // 2], 2), "p99_s": round(waits[int(len(waits) * 0.99)], 2)}


async def at_once(client: KubeClient, pods: int) -> float:
    """Seconds until all of so many pods run that were created together."""
    async with following(client) as story:
        begin = time.monotonic()
        await asyncio.gather(*(client.create("pods", template(f"burst-{number}")) for number in range(pods)))
        await story.until(pods, 300)
        seconds = time.monotonic() - begin
    await clear(client)
    return seconds


async def clear(client: KubeClient) -> None:
    async def delete(name: str) -> None:
        # The garbage collector may have been there before.
        with contextlib.suppress(ApiError):
            await client.delete("pods", name, "default")

    async with following(client) as story:
        left = {pod["metadata"]["name"] for pod in (await client.list("pods", "default")).items}
        await asyncio.gather(*map(delete, left))
        async with asyncio.timeout(180), story.changed:
            await story.changed.wait_for(lambda: left <= story.gone)


async def rescheduled(client: KubeClient) -> Json:
    """A minion dies: when its node is declared lost, when pods are made anew, when they run, from its death on."""
    pod = template("again")
    labels = {"app": "bench"}
    form = {"metadata": {"labels": labels}, "spec": {**pod["spec"]}}
    spec = {"replicas": 8, "selector": {"matchLabels": labels}, "template": form}
    async with following(client) as story:
        await client.create("replicasets", {"metadata": {"name": "again", "namespace": "default"}, "spec": spec})
        await story.until(8, 60)
        hosts = [one["spec"]["nodeName"] for one in (await client.list("pods", "default")).items]
        minion = max(set(hosts), key=hosts.count)
        lost = hosts.count(minion)
        version = (await client.list("nodes")).resource_version
        begin = time.monotonic()
        killing = await asyncio.create_subprocess_exec("docker", "kill", minion, stdout=asyncio.subprocess.DEVNULL)
        await killing.wait()
        async with asyncio.timeout(120):
            async for event in client.watch("nodes", resource_version=version):
                conditions = event.object["status"]["conditions"]
                ready = next(one["status"] for one in conditions if one["type"] == "Ready")
                if event.object["metadata"]["name"] == minion and ready != "True":
                    break
        declared = time.monotonic()
        await story.until(8 + lost, 120)
        again = [name for name in story.created if story.created[name] > begin]
        first, last = min(story.created[name] for name in again), max(story.running[name] for name in again)
    k8slab("node", "start", minion)
    await client.delete("replicasets", "again", "default")
    await clear(client)
    return {
        "declared_lost_s": round(declared - begin, 1),
        "first_made_after_that_s": round(first - declared, 2),
        "all_running_after_that_s": round(last - declared, 1),
    }


async def measure(given: argparse.Namespace) -> Json:
    figures: Json = {}

    def note(**values: object) -> None:
        figures.update(values)
        for name, value in values.items():
            print(f"{name:28} {value}", file=sys.stderr, flush=True)

    async with KubeClient(SERVER) as client:
        await at_once(client, 4)
        note(paced=await paced(client, given.paced, given.rate))
        alone = engines_alone(given.pods)
        note(pods=given.pods, engines_alone_s=round(alone, 1))
        burst = await at_once(client, given.pods)
        note(all_running_s=round(burst, 1), times_the_engines=round(burst / alone, 2))
        note(minion_killed=await rescheduled(client))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench lab-pods", description=__doc__)
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument("--paced", type=int, default=60)
    given = parser.parse_args()
    up = subprocess.run([str(K8SLAB), "status", "--lab", LAB], capture_output=True, cwd=ROOT).returncode == 0
    try:
        k8slab("run")
        figures = uvloop.run(measure(given))
    finally:
        if not up:
            k8slab("rm", "--lab", LAB)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
