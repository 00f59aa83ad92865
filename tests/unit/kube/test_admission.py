"""What a namespace's limits, quotas and accounts make of new objects, over the in-memory storage."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from ipaddress import IPv4Network
from typing import Any

import pytest

from k8slab.kube.api.admission import Admission
from k8slab.kube.api.admission.accounts import MOUNT_PATH
from k8slab.kube.api.admission.amounts import written
from k8slab.kube.api.admission.limits import pod_amounts
from k8slab.kube.api.admission.pods import EVICTING, tolerate
from k8slab.kube.api.allocation import Allocator
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kinds import KINDS
from k8slab.kube.api.kinds.limits import LIMIT_RANGE, RESOURCE_QUOTA
from k8slab.kube.api.kinds.namespace import NAMESPACE
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.kinds.scheduling import PRIORITY_CLASS
from k8slab.kube.api.kinds.small import CONFIG_MAP, SERVICE_ACCOUNT
from k8slab.kube.api.known import Known
from k8slab.kube.api.meta import Object
from k8slab.kube.api.registry import Registry
from k8slab.kube.api.storage.base import Write
from k8slab.kube.api.storage.memory import MemoryStorage

SPACE = "ns"


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    storage = MemoryStorage()
    kinds = [kind for kind in KINDS if kind.stored and kind.hub is kind]
    cache = Cache(storage, kinds)
    made = Registry(storage, cache, Allocator(storage, IPv4Network("10.0.0.0/24")), Admission(Known(cache)))
    running = asyncio.create_task(cache.run())
    await cache.loaded.wait()
    await made.create(NAMESPACE, "", {"metadata": {"name": SPACE}})
    await made.create(SERVICE_ACCOUNT, SPACE, {"metadata": {"name": "default"}})
    yield made
    running.cancel()
    await asyncio.wait([running])


def pod(name: str, **container: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1", **container}]}}


async def stored(registry: Registry, kind: Any, name: str) -> Object:
    record = await registry.get(kind, SPACE if kind.namespaced else "", name)
    found: Object = kind.decode(record.value, record.revision)
    return found


async def quota(registry: Registry, hard: dict[str, str], **spec: Any) -> None:
    await registry.create(RESOURCE_QUOTA, SPACE, {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}})


async def used(registry: Registry) -> dict[str, str]:
    status: dict[str, str] = (await stored(registry, RESOURCE_QUOTA, "q"))["status"]["used"]
    return status


@pytest.mark.parametrize(
    ("amount", "like", "text"),
    [
        ("0", "1Gi", "0"),
        ("134217728", "64Mi", "128Mi"),
        ("1.5", "2", "1500m"),
        ("3000", "1k", "3k"),
        ("1025", "1Ki", "1025"),
        ("2", "500m", "2"),
    ],
)
def test_amounts_are_written_with_the_largest_suffix_that_fits(amount: str, like: str, text: str) -> None:
    assert written(Decimal(amount), like) == text


def test_a_pod_asks_for_its_containers_together_or_for_its_largest_init_container() -> None:
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "100m"}}}, {"resources": {"requests": {"cpu": "300m"}}}],
        "initContainers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
    }
    assert pod_amounts(spec, "requests") == {"cpu": "1", "memory": "1Gi"}


async def test_quota_counts_what_is_there_and_refuses_what_is_too_much(registry: Registry) -> None:
    await registry.create(CONFIG_MAP, SPACE, {"metadata": {"name": "before"}})
    await quota(registry, {"configmaps": "2", "count/configmaps": "9"})
    assert await used(registry) == {"configmaps": "1", "count/configmaps": "1"}
    await registry.create(CONFIG_MAP, SPACE, {"metadata": {"name": "second"}})
    assert await used(registry) == {"configmaps": "2", "count/configmaps": "2"}
    with pytest.raises(ApiFailure) as refused:
        await registry.create(CONFIG_MAP, SPACE, {"metadata": {"name": "third"}})
    assert refused.value.message == (
        'configmaps "third" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, '
        "limited: configmaps=2"
    )
    record = await registry.get(CONFIG_MAP, SPACE, "second")
    await registry.remove(CONFIG_MAP, record, CONFIG_MAP.decode(record.value, record.revision))
    assert await used(registry) == {"configmaps": "1", "count/configmaps": "1"}


async def test_many_at_once_never_exceed_a_quota(registry: Registry) -> None:
    await quota(registry, {"configmaps": "5"})

    async def one(index: int) -> bool:
        try:
            await registry.create(CONFIG_MAP, SPACE, {"metadata": {"name": f"c{index}"}})
        except ApiFailure as failure:
            assert failure.code == 403, failure.message
            return False
        return True

    assert sum(await asyncio.gather(*map(one, range(12)))) == 5
    assert await used(registry) == {"configmaps": "5"}


async def test_pods_must_say_what_a_quota_counts(registry: Registry) -> None:
    await quota(registry, {"requests.cpu": "1", "pods": "5"})
    with pytest.raises(ApiFailure) as refused:
        await registry.create(POD, SPACE, pod("silent"))
    assert refused.value.message == 'pods "silent" is forbidden: failed quota: q: must specify requests.cpu for: c'
    await registry.create(POD, SPACE, pod("a", resources={"requests": {"cpu": "700m"}}))
    assert await used(registry) == {"requests.cpu": "700m", "pods": "1"}
    with pytest.raises(ApiFailure) as refused:
        await registry.create(POD, SPACE, pod("b", resources={"requests": {"cpu": "400m"}}))
    assert "requested: requests.cpu=400m, used: requests.cpu=700m, limited: requests.cpu=1" in refused.value.message


async def test_a_pod_that_has_ended_uses_nothing(registry: Registry) -> None:
    await quota(registry, {"pods": "1"})
    await registry.create(POD, SPACE, pod("a"))
    await registry.change(POD, SPACE, "a", lambda old: {**old, "status": {**old["status"], "phase": "Succeeded"}})
    assert await used(registry) == {"pods": "0"}
    await registry.create(POD, SPACE, pod("b"))


async def test_scopes_choose_the_pods(registry: Registry) -> None:
    await quota(registry, {"pods": "1"}, scopes=["BestEffort"])
    await registry.create(POD, SPACE, pod("burst", resources={"requests": {"cpu": "1m"}}))
    await registry.create(POD, SPACE, pod("first"))
    with pytest.raises(ApiFailure, match="exceeded quota"):
        await registry.create(POD, SPACE, pod("second"))


async def test_a_dry_run_uses_nothing(registry: Registry) -> None:
    await quota(registry, {"configmaps": "1"})
    await registry.create(CONFIG_MAP, SPACE, {"metadata": {"name": "a"}}, dry_run=True)
    assert await used(registry) == {"configmaps": "0"}


async def test_limits_are_filled_in_and_held_to(registry: Registry) -> None:
    limit = {"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}, "defaultRequest": {"memory": "64Mi"}}
    await registry.create(LIMIT_RANGE, SPACE, {"metadata": {"name": "l"}, "spec": {"limits": [limit]}})
    await registry.create(POD, SPACE, pod("plain"))
    plain = await stored(registry, POD, "plain")
    assert plain["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "2"},
        "requests": {"cpu": "2", "memory": "64Mi"},
    }
    note = plain["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    assert note == "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    assert plain["status"]["qosClass"] == "Burstable"
    for limits, why in (
        ({"cpu": "3"}, "maximum cpu usage per Container is 2, but limit is 3"),
        ({"cpu": "50m"}, "minimum cpu usage per Container is 100m, but request is 50m"),
    ):
        with pytest.raises(ApiFailure) as refused:
            await registry.create(POD, SPACE, pod("wrong", resources={"limits": limits}))
        assert refused.value.message == f'pods "wrong" is forbidden: {why}'


async def test_accounts_give_pods_their_secrets_and_must_be_there(registry: Registry) -> None:
    secrets = [{"name": "hub"}]
    await registry.create(SERVICE_ACCOUNT, SPACE, {"metadata": {"name": "robot"}, "imagePullSecrets": secrets})
    await registry.create(POD, SPACE, pod("a") | {"spec": {**pod("a")["spec"], "serviceAccountName": "robot"}})
    assert (await stored(registry, POD, "a"))["spec"]["imagePullSecrets"] == secrets
    await registry.create(POD, SPACE, pod("b"))
    assert (await stored(registry, POD, "b"))["spec"]["serviceAccountName"] == "default"
    with pytest.raises(ApiFailure) as refused:
        await registry.create(POD, SPACE, pod("c") | {"spec": {**pod("c")["spec"], "serviceAccountName": "none"}})
    assert refused.value.message == (
        'pods "c" is forbidden: error looking up service account ns/none: serviceaccount "none" not found'
    )


def mounts_of(container: Object) -> list[str]:
    return [mount["mountPath"] for mount in container.get("volumeMounts") or ()]


async def test_every_container_gets_the_files_by_which_it_speaks_to_the_api(registry: Registry) -> None:
    wanted = pod("a")
    other = {"name": "other", "emptyDir": {}}
    own = {"name": "own", "image": "i:1", "volumeMounts": [{"name": "other", "mountPath": MOUNT_PATH}]}
    wanted["spec"] |= {"volumes": [other], "initContainers": [{"name": "init", "image": "i:1"}]}
    wanted["spec"]["containers"].append(own)
    await registry.create(POD, SPACE, wanted)
    spec = (await stored(registry, POD, "a"))["spec"]
    before, volume = spec["volumes"]
    assert before == other
    assert re.fullmatch("kube-api-access-[a-z0-9]{5}", volume["name"])
    assert volume["projected"] == {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }
    mount = {"name": volume["name"], "readOnly": True, "mountPath": MOUNT_PATH}
    assert spec["initContainers"][0]["volumeMounts"] == spec["containers"][0]["volumeMounts"] == [mount]
    assert spec["containers"][1]["volumeMounts"] == own["volumeMounts"]


@pytest.mark.parametrize(
    ("account", "spec", "mounted"),
    [({}, {}, True), ({}, False, False), (False, {}, False), (False, True, True), (True, False, False)],
)
async def test_whether_the_token_is_mounted_is_the_pods_choice_then_its_accounts(
    registry: Registry, account: Any, spec: Any, mounted: bool
) -> None:
    def choice(wish: Any) -> Object:
        return wish if wish == {} else {"automountServiceAccountToken": wish}

    await registry.create(SERVICE_ACCOUNT, SPACE, {"metadata": {"name": "robot"}, **choice(account)})
    wanted = pod("a")
    wanted["spec"] |= {"serviceAccountName": "robot", **choice(spec)}
    await registry.create(POD, SPACE, wanted)
    made = (await stored(registry, POD, "a"))["spec"]
    assert (MOUNT_PATH in mounts_of(made["containers"][0])) is mounted
    assert bool(made.get("volumes")) is mounted


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({}, ""),
        ({"serviceAccountName": "default"}, "reference service accounts"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "use service account token volume projections",
        ),
    ],
)
async def test_mirrors_of_static_pods_lean_on_nothing(registry: Registry, spec: Object, what: str) -> None:
    mirror = pod("web-node")
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    mirror["spec"] |= {"nodeName": "node", **spec}
    if what:
        with pytest.raises(ApiFailure) as refused:
            await registry.create(POD, SPACE, mirror)
        assert refused.value.message == f'pods "web-node" is forbidden: a mirror pod may not {what}'
    else:
        await registry.create(POD, SPACE, mirror)
        made = (await stored(registry, POD, "web-node"))["spec"]
        assert "volumes" not in made
        assert "serviceAccountName" not in made


async def test_a_new_namespaces_account_is_waited_for(registry: Registry) -> None:
    await registry.create(NAMESPACE, "", {"metadata": {"name": "new"}})
    creating = asyncio.create_task(registry.create(POD, "new", pod("early")))
    await asyncio.sleep(0)
    await registry.create(SERVICE_ACCOUNT, "new", {"metadata": {"name": "default"}})
    assert (await creating).created


async def test_priority_classes_become_numbers(registry: Registry) -> None:
    await registry.create(PRIORITY_CLASS, "", {"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"})
    await registry.create(POD, SPACE, pod("a") | {"spec": {**pod("a")["spec"], "priorityClassName": "high"}})
    spec = (await stored(registry, POD, "a"))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (7, "Never")
    with pytest.raises(ApiFailure, match="no PriorityClass with name none was found"):
        await registry.create(POD, SPACE, pod("b") | {"spec": {**pod("b")["spec"], "priorityClassName": "none"}})
    await registry.create(PRIORITY_CLASS, "", {"metadata": {"name": "usual"}, "value": 3, "globalDefault": True})
    await registry.create(POD, SPACE, pod("c"))
    assert (await stored(registry, POD, "c"))["spec"]["priority"] == 3


async def test_a_quota_written_behind_the_servers_back_is_counted_again(registry: Registry) -> None:
    await quota(registry, {"configmaps": "2"})
    await registry.create(CONFIG_MAP, SPACE, {"metadata": {"name": "a"}})
    await registry.admission.known.up_to_date()
    record = await registry.get(RESOURCE_QUOTA, SPACE, "q")
    await registry.storage.commit((), (Write(record.key, record.value),))
    await registry.create(CONFIG_MAP, SPACE, {"metadata": {"name": "b"}})
    assert await used(registry) == {"configmaps": "2"}


def test_a_pod_stays_on_a_lost_node_for_as_long_as_it_says_or_else_the_cluster() -> None:
    not_ready, unreachable = EVICTING
    made = {"spec": {"tolerations": [{"key": unreachable, "operator": "Exists", "tolerationSeconds": 7}]}}
    tolerate(made, {not_ready: 2, unreachable: 3})
    assert [(one["key"], one["tolerationSeconds"]) for one in made["spec"]["tolerations"]] == [
        (unreachable, 7),
        (not_ready, 2),
    ]
