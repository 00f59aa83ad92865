"""What new kubectls send in protobuf, judged by what they themselves print of the same object in JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from k8slab.kube.api import protobuf
from tests.daemons.kube.conftest import kubectls

COMMANDS = (
    "namespace n1",
    "configmap c --from-literal=a=1 --from-literal=b=",
    "secret generic s --from-literal=word=open",
    "secret docker-registry d --docker-username=u --docker-password=p",
    "serviceaccount robot",
    "service clusterip ip --tcp=80:8080 --tcp=443",
    "service nodeport np --tcp=80:http --node-port=30080",
    "service externalname ex --external-name=example.com",
    "service loadbalancer lb --tcp=80",
    "deployment web --image=nginx --image=busybox --replicas=3",
    "deployment none --image=nginx --replicas=0 --port=80",
    "job j --image=busybox -- date",
    "cronjob cj --image=busybox --schedule=0/5_*_*_*_* -- date",
    "quota q --hard=cpu=1,pods=2 --scopes=BestEffort",
    "poddisruptionbudget p --selector=app=x --min-available=50%",
    "poddisruptionbudget zero --selector=app=x --max-unavailable=0",
    "priorityclass pc --value=1000 --description=high --preemption-policy=Never",
    "role r --verb=get,list --resource=pods,deployments.apps --resource-name=a",
    "rolebinding rb --role=r --user=u --group=g --serviceaccount=default:robot",
    "clusterrole cr --verb=get --non-resource-url=/healthz",
    "clusterrolebinding crb --clusterrole=cr --user=u",
    "ingress i --class=nginx --rule=foo.com/bar*=svc:http,tls=cert --default-backend=d:80 --annotation=a=b",
)
DISCOVERED = {
    "v1": [("pods", "Pod")],
    "apps/v1": [("deployments", "Deployment"), ("replicasets", "ReplicaSet")],
}


class Recorder:
    """Answers what is created with what it was understood as."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[tuple[str, bytes]] = []

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            body = await request.read()
            self.bodies.append((request.content_type, body))
            understood = protobuf.decode(body) if "protobuf" in request.content_type else json.loads(body)
            return web.json_response(understood, status=201)
        path = request.path.strip("/")
        if path == "version":
            return web.json_response({"major": "1", "minor": "32", "gitVersion": "v1.32.0"})
        if path == "api":
            return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
        if path == "apis":
            versions = [{"groupVersion": "apps/v1", "version": "v1"}]
            groups = [{"name": "apps", "versions": versions, "preferredVersion": versions[0]}]
            return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        version = path.partition("/")[2]
        if version in DISCOVERED:
            resources = [
                {"name": name, "singularName": "", "kind": kind, "namespaced": True, "verbs": ["get", "list"]}
                for name, kind in DISCOVERED[version]
            ]
            listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
            return web.json_response(listed)
        return web.json_response({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}, status=404)


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", recorder.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield recorder
    await runner.cleanup()


def newest() -> str | None:
    found = [version for version in kubectls() if version.startswith("1.") and int(version.split(".")[1]) >= 32]
    return max(found, key=lambda version: int(version.split(".")[1]), default=None)


async def run(recorder: Recorder, home: Path, *words: str) -> str:
    version = newest()
    assert version is not None
    process = await asyncio.create_subprocess_exec(
        *(kubectls()[version], "--server", recorder.url, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(home)},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def pruned(value: Any) -> Any:
    """Without the zero values that Go writes into JSON but that mean nothing there."""
    if isinstance(value, dict):
        kept = {key: pruned(item) for key, item in value.items() if key != "status"}
        return {key: item for key, item in kept.items() if item is not None and item != {}}
    return [pruned(item) for item in value] if isinstance(value, list) else value


@pytest.mark.skipif(newest() is None, reason="needs a kubectl of 1.32 or newer, which sends protobuf")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "-".join(command.split()[:2]))
async def test_what_kubectl_creates_is_what_it_prints(recorder: Recorder, tmp_path: Path, command: str) -> None:
    words = [word.replace("_", " ") for word in command.split()]
    flags, rest = (words[: words.index("--")], words[words.index("--") :]) if "--" in words else (words, [])
    printed = json.loads(await run(recorder, tmp_path, "create", *flags, "--dry-run=client", "-o", "json", *rest))
    recorder.bodies.clear()
    await run(recorder, tmp_path, "create", *flags, "--validate=false", *rest)
    [(media, body)] = recorder.bodies
    assert media == "application/vnd.kubernetes.protobuf"
    understood = protobuf.decode(body)
    assert pruned(understood) == pruned(printed)
