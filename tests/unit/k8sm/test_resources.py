from __future__ import annotations

from typing import Any

import pytest

from k8slab.k8sm.resources import Defaults, Pool, attributes, pod_resources
from k8slab.kube.api.admission.limits import pod_amounts
from k8slab.kube.quantity import cores
from tests.unit.k8sm.samples import a_pod, port_ranges, scalar


@pytest.mark.parametrize(
    ("resources", "cpus", "mem"),
    [
        ({}, 0.25, 64),
        ({"limits": {"cpu": "1", "memory": "128Mi"}}, 1, 128),
        ({"requests": {"cpu": "500m", "memory": "1Gi"}}, 0.5, 1024),
        ({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}, 2, 64),
        ({"limits": {"cpu": "1m", "memory": "1Mi"}}, 0.01, 32),
    ],
)
def test_what_a_container_takes(resources: dict[str, Any], cpus: float, mem: float) -> None:
    taken = pod_resources(a_pod(container={"resources": resources}), Defaults())
    assert (taken.cpus, taken.mem) == (cpus, mem)


def test_containers_add_up_and_host_ports_are_asked_for() -> None:
    pod = a_pod(container={"ports": [{"containerPort": 80, "hostPort": 31080}, {"containerPort": 81}]})
    pod["spec"]["containers"].append(
        dict(pod["spec"]["containers"][0], ports=[{"containerPort": 1, "hostPort": 31001}])
    )
    taken = pod_resources(pod, Defaults())
    assert (taken.cpus, taken.mem) == (0.5, 128)
    assert [one.number for one in taken.ports] == [31080, 31001]


def test_a_pool_gives_and_keeps_the_rest() -> None:
    pool = Pool.of([scalar("cpus", 4), scalar("mem", 1024), port_ranges((31000, 31005))])
    taken = pool.take(1.5, 256, [31002])
    assert taken is not None
    assert Pool.of(taken.resources).scalar("cpus") == 1.5
    assert Pool.of(taken.resources).ports == ((31002, 31002),)
    assert taken.rest.scalar("cpus") == 2.5
    assert taken.rest.scalar("mem") == 768
    assert sorted(taken.rest.ports) == [(31000, 31001), (31003, 31005)]


@pytest.mark.parametrize(("cpus", "mem", "ports"), [(5, 1, ()), (1, 2000, ()), (1, 1, (80,))])
def test_a_pool_gives_all_or_nothing(cpus: float, mem: float, ports: tuple[int, ...]) -> None:
    assert Pool.of([scalar("cpus", 4), scalar("mem", 1024), port_ranges((31000, 31005))]).take(cpus, mem, ports) is None


def test_reserved_resources_go_first_and_keep_their_role() -> None:
    pool = Pool.of([scalar("cpus", 1, role="*"), scalar("cpus", 1, role="k8s"), scalar("mem", 64)])
    taken = pool.take(1.5, 64)
    assert taken is not None
    assert [(one["role"], one["scalar"]["value"]) for one in taken.resources[:2]] == [("k8s", 1.0), ("*", 0.5)]
    assert pool.take(1.5, 64, roles=("*",)) is None


def test_thousandths_do_not_get_lost() -> None:
    pool = Pool.of([scalar("cpus", 0.3), scalar("mem", 64)])
    for _ in range(3):
        taken = pool.take(0.1, 1)
        assert taken is not None
        pool = taken.rest
    assert pool.take(0.01, 1) is None


def test_revocable_resources_are_not_touched() -> None:
    assert Pool.of([scalar("cpus", 4, revocable={}), scalar("cpus", 1)]).scalar("cpus") == 1


def test_attributes_that_are_text_or_numbers() -> None:
    raw = [
        {"name": "rack", "type": "TEXT", "text": {"value": "r0"}},
        {"name": "level", "type": "SCALAR", "scalar": {"value": 10.0}},
        {"name": "range", "type": "RANGES", "ranges": {"range": []}},
    ]
    assert attributes(raw) == {"rack": "r0", "level": "10"}


def asks(cpu: str, **more: str) -> dict[str, Any]:
    return {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}, **more}


@pytest.mark.parametrize(
    ("init", "cpus"),
    [
        ([], 0.5),
        ([asks("200m")], 0.5),
        ([asks("2"), asks("1")], 2.0),
        ([asks("1", restartPolicy="Always")], 1.5),
        ([asks("1", restartPolicy="Always"), asks("2")], 3.0),
        ([asks("2"), asks("1", restartPolicy="Always")], 2.0),
    ],
)
def test_init_containers_and_sidecars_count(init: list[dict[str, Any]], cpus: float) -> None:
    spec = {"containers": [asks("500m")], "initContainers": init}
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": spec}
    assert pod_resources(pod, Defaults()).cpus == cpus
    assert cores(pod_amounts(spec, "requests")["cpu"]) == cpus
