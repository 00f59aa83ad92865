"""Objects that were stored while the rules were laxer: they can be changed, and made no worse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Network
from typing import Any

import orjson
import pytest

from k8slab.kube.api import bodies, patches
from k8slab.kube.api.admission import Admission
from k8slab.kube.api.allocation import Allocator
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds import KINDS
from k8slab.kube.api.kinds.apps import DEPLOYMENT
from k8slab.kube.api.kinds.batch import JOB
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.service import SERVICE
from k8slab.kube.api.known import Known
from k8slab.kube.api.meta import Object
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.storage.base import Write
from k8slab.kube.api.storage.memory import MemoryStorage

POD_SPEC = {
    "containers": [{"name": "main", "image": "i"}],
    "restartPolicy": "Always",
    "hostAliases": [{"ip": "nowhere", "hostnames": ["a"]}],
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]}},
}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC}
ONCE = {"metadata": {"labels": {"a": "b"}}, "spec": {**POD_SPEC, "restartPolicy": "Never"}}
CHOSEN = {"selector": {"matchLabels": {"a": "b"}}}
PORTS = [{"port": 80, "protocol": "TCP", "targetPort": 80}]
OLD = [
    pytest.param(POD, POD_SPEC, id="pod"),
    pytest.param(DEPLOYMENT, {**CHOSEN, "replicas": 3, "template": TEMPLATE}, id="deployment"),
    pytest.param(JOB, {**CHOSEN, "managedBy": "me", "template": ONCE}, id="job"),
    pytest.param(
        SERVICE,
        {"type": "ExternalName", "externalName": "a.b", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
        id="external name",
    ),
    pytest.param(
        SERVICE,
        {"clusterIP": "None", "selector": {"a": "b"}, "ports": PORTS, "ipFamilyPolicy": "RequireDualStack"},
        id="two families",
    ),
]


@pytest.fixture
async def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
async def registry(storage: MemoryStorage) -> AsyncIterator[Registry]:
    cache = Cache(storage, [kind for kind in KINDS if kind.stored and kind.hub is kind])
    running = asyncio.create_task(cache.run())
    await cache.loaded.wait()
    yield Registry(storage, cache, Allocator(storage, IPv4Network("10.0.0.0/24")), Admission(Known(cache)))
    running.cancel()


async def keep(storage: MemoryStorage, kind: Kind, spec: Object) -> None:
    """As it was stored then: with its defaults, and judged by nobody."""
    meta = {"name": "old", "namespace": "default", "uid": "u", "creationTimestamp": None, "finalizers": ["a.b/c"]}
    obj: Object = {"metadata": meta, "spec": orjson.loads(orjson.dumps(spec))}
    kind.default(obj)
    await storage.commit((), (Write(kind.key("default", "old"), kind.encode(obj)),))


def changing(registry: Registry, kind: Kind, change: Callable[[Object], Any]) -> Callable[[Object], Object]:
    def mutate(old: Object) -> Object:
        wanted: Object = orjson.loads(orjson.dumps(old))
        change(wanted)
        return registry.replacement(kind, old, wanted)

    return mutate


@pytest.mark.parametrize(("kind", "spec"), OLD)
async def test_what_was_wrong_before_keeps_nothing_from_being_changed(
    registry: Registry, storage: MemoryStorage, kind: Kind, spec: Object
) -> None:
    await keep(storage, kind, spec)
    done = await registry.change(
        kind, "default", "old", changing(registry, kind, lambda obj: obj["metadata"].pop("finalizers"))
    )
    assert "finalizers" not in orjson.loads(done.value)["metadata"]


@pytest.mark.parametrize(("kind", "spec"), OLD)
async def test_what_is_wrong_now_is_refused_alone(
    registry: Registry, storage: MemoryStorage, kind: Kind, spec: Object
) -> None:
    await keep(storage, kind, spec)
    worse = changing(registry, kind, lambda obj: obj["metadata"].update(labels={"a": "-"}))
    with pytest.raises(ApiFailure) as refused:
        await registry.change(kind, "default", "old", worse)
    assert refused.value.code == 422
    causes = refused.value.status()["details"]["causes"]
    assert {cause["field"] for cause in causes} == {"metadata.labels"}


async def test_an_old_service_of_two_families_is_still_looked_at(registry: Registry, storage: MemoryStorage) -> None:
    await keep(storage, SERVICE, {"clusterIP": "None", "selector": {"a": "b"}, "ipFamilyPolicy": "RequireDualStack"})
    worse = changing(registry, SERVICE, lambda obj: obj["spec"].update(ports=[{"port": 0}]))
    with pytest.raises(ApiFailure, match="must be between 1 and 65535"):
        await registry.change(SERVICE, "default", "old", worse)


BLANKS = {"hostNetwork": False, "nodeName": "", "hostname": ""}
BLANK_MAIN = {"name": "main", "image": "i", "tty": False, "env": [{"name": "A", "value": ""}], "workingDir": ""}
BLANK_POD = {"containers": [BLANK_MAIN], "restartPolicy": "Always", **BLANKS}


def patching(registry: Registry, kind: Kind, patch: Object) -> Callable[[Object], Object]:
    def mutate(old: Object) -> Object:
        new, _ = bodies.decoded(kind, patches.merge(old, patch))
        return registry.replacement(kind, old, new)

    return mutate


async def test_an_old_pod_with_empty_values_can_be_changed(registry: Registry, storage: MemoryStorage) -> None:
    await keep(storage, POD, BLANK_POD)
    patch = {"metadata": {"finalizers": None}, "spec": {"containers": [{**BLANK_MAIN, "image": "j"}]}}
    done = await registry.change(POD, "default", "old", patching(registry, POD, patch))
    new = orjson.loads(done.value)
    assert "finalizers" not in new["metadata"]
    assert new["spec"]["containers"][0]["image"] == "j"
    assert BLANKS.items() <= new["spec"].items()


async def test_an_old_template_with_empty_values_is_still_the_same(registry: Registry, storage: MemoryStorage) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": BLANK_POD}
    await keep(storage, DEPLOYMENT, {**CHOSEN, "replicas": 3, "paused": False, "template": template})
    [record] = (await storage.page(DEPLOYMENT.prefix)).records
    before = orjson.loads(record.value)
    labelled = await registry.change(
        DEPLOYMENT, "default", "old", patching(registry, DEPLOYMENT, {"metadata": {"labels": {"a": "b"}}})
    )
    assert orjson.loads(labelled.value)["spec"] == before["spec"]
    patch = {"spec": {"replicas": 1, "paused": True}}
    done = await registry.change(DEPLOYMENT, "default", "old", patching(registry, DEPLOYMENT, patch))
    assert orjson.loads(done.value)["spec"] == {**before["spec"], "replicas": 1, "paused": True}
