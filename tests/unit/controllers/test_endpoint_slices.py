"""Slices change as little as can be, and hold what is wanted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.kube.controllers.endpoint_slices import Changes, endpoint, endpoints, head_of, reconcile
from tests.unit.controllers.test_endpoints import pod, service

Slices = dict[str, dict[str, Any]]


def apply(changes: Changes, slices: Slices) -> Slices:
    left = {
        name: one for name, one in slices.items() if name not in {one["metadata"]["name"] for one in changes.delete}
    }
    left |= {one["metadata"]["name"]: one for one in changes.update}
    for one in changes.create:
        name = f"slice-{len(left) + len(slices)}"
        left[name] = {**one, "metadata": {**one["metadata"], "name": name}}
    return left


def web(**more: Any) -> dict[str, Any]:
    made = service(**more)
    made["metadata"]["uid"] = "u-web"
    return made


def settled(slices: Slices, names: list[str], *, most: int = 3, **more: Any) -> Slices:
    wanted = endpoints(web(**more), [pod(name, ip=f"10.1.0.{name}") for name in names], {"minion-0": "z"})
    return apply(reconcile(head_of(web(**more)), list(slices.values()), wanted, most), slices)


def held(slices: Slices) -> list[str]:
    return sorted(end["targetRef"]["name"] for one in slices.values() for end in one["endpoints"])


NAMES = st.lists(st.integers(2, 40).map(str), unique=True)


@given(NAMES, NAMES)
def test_whatever_comes_after_whatever_is_held_once_and_then_nothing_changes(
    first: list[str], second: list[str]
) -> None:
    slices = settled(settled({}, first), second)
    assert held(slices) == sorted(second)
    assert all(len(one["endpoints"]) <= 3 for one in slices.values())
    assert slices, "a service has a slice even when it has no pods"
    wanted = endpoints(web(), [pod(name, ip=f"10.1.0.{name}") for name in second], {"minion-0": "z"})
    assert reconcile(head_of(web()), list(slices.values()), wanted, 3) == Changes([], [], [])


def test_one_pod_more_changes_one_slice() -> None:
    slices = settled({}, ["2", "3", "4", "5"])
    wanted = endpoints(web(), [pod(name, ip=f"10.1.0.{name}") for name in ("2", "3", "4", "5", "6")], {"minion-0": "z"})
    changes = reconcile(head_of(web()), list(slices.values()), wanted, 3)
    assert (changes.create, changes.delete, len(changes.update)) == ([], [], 1)


def test_a_slice_says_whose_it_is() -> None:
    (one,) = settled({}, ["2"], clusterIP="None").values()
    assert one["metadata"]["labels"] == {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "web",
        "service.kubernetes.io/headless": "",
    }
    (owner,) = one["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Service", "u-web", True)
    assert one["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    assert one["endpoints"][0]["zone"] == "z"


def test_named_ports_that_differ_are_in_slices_of_their_own() -> None:
    named = web(ports=[{"name": "web", "port": 80, "targetPort": "http"}])
    wanted = endpoints(named, [pod("a", port=8080), pod("b", ip="10.1.1.2", port=9090)], {})
    changes = reconcile(head_of(named), [], wanted, 100)
    assert sorted(one["ports"][0]["port"] for one in changes.create) == [8080, 9090]


@pytest.mark.parametrize(
    ("one", "spec", "conditions"),
    [
        (pod(), {}, (True, True, False)),
        (pod(ready=False), {}, (False, False, False)),
        (pod(deletionTimestamp="2016-01-02T15:04:05Z"), {}, (False, True, True)),
        (pod(ready=False), {"publishNotReadyAddresses": True}, (True, False, False)),
    ],
)
def test_conditions(one: dict[str, Any], spec: dict[str, Any], conditions: tuple[bool, bool, bool]) -> None:
    found = endpoint(web(**spec), one, "")["conditions"]
    assert (found["ready"], found["serving"], found["terminating"]) == conditions


def test_a_pod_with_a_hostname_below_the_service_is_known_by_it() -> None:
    one = pod()
    one["spec"] |= {"hostname": "web-0", "subdomain": "web"}
    assert endpoint(web(), one, "")["hostname"] == "web-0"
    one["spec"]["subdomain"] = "other"
    assert "hostname" not in endpoint(web(), one, "")
