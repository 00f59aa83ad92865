"""However late the counts come and in whatever order pods come up, a rolling update keeps its bounds and ends."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.kube.client import Object
from k8slab.kube.controllers.deployment_scaling import Bounds, bounds, new_size, roll
from k8slab.kube.controllers.deployment_sets import ReplicaSets

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {}}


@dataclass
class Set:
    """``ready`` of ``size`` pods are so; ``told``: how many are said to be."""

    name: str
    size: int
    ready: int
    told: int

    def shown(self) -> Object:
        meta = {"name": self.name, "uid": self.name, "creationTimestamp": self.name}
        status = {"replicas": self.size, "availableReplicas": self.told}
        return {"metadata": meta, "spec": {"replicas": self.size, "template": TEMPLATE}, "status": status}


def deployment(replicas: int, surge: int | str, unavailable: int | str) -> Object:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return {"metadata": {"name": "web"}, "spec": {"replicas": replicas, "strategy": strategy}}


def look(wanted: Object, new: Set, old: list[Set]) -> bool:
    """One step of the controller, and the pods follow it: those that are not ready go first."""
    sets = ReplicaSets(new.shown(), tuple(one.shown() for one in old))
    resizes = roll(wanted, sets)
    for resize in resizes:
        one = next(one for one in (new, *old) if one.name == resize.set["metadata"]["name"])
        one.size = resize.replicas
        one.ready = min(one.ready, one.size)
    return bool(resizes)


def check(limits: Bounds, least: int, new: Set, old: list[Set]) -> None:
    assert sum(one.size for one in (new, *old)) <= limits.most
    assert sum(one.ready for one in (new, *old)) >= least


shares = st.one_of(st.integers(0, 4), st.integers(0, 100).map(lambda share: f"{share}%"))


@settings(max_examples=400, deadline=None)
@given(replicas=st.integers(0, 9), surge=shares, unavailable=shares, data=st.data())
def test_bounds_hold_and_the_update_ends(
    replicas: int, surge: int | str, unavailable: int | str, data: st.DataObject
) -> None:
    wanted = deployment(replicas, surge, unavailable)
    limits = bounds(wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, replicas), max_size=2)))
    parts = [after - before for before, after in zip([0, *cuts], [*cuts, replicas], strict=True)]
    old = [Set(f"old{number}", part, part, part) for number, part in enumerate(parts)]
    for one in old:
        one.ready = one.told = data.draw(st.one_of(st.just(one.size), st.integers(0, one.size)))
    least = min(limits.least, sum(one.ready for one in old))
    new = Set("new", new_size(wanted, [one.shown() for one in old], 0), 0, 0)
    check(limits, least, new, old)
    for act in data.draw(
        st.lists(
            st.sampled_from(["look", "look", "ready", "tell new", "tell new", "tell old"]), min_size=12, max_size=40
        )
    ):
        if act == "look":
            look(wanted, new, old)
        elif act == "ready":
            new.ready = min(new.size, new.ready + 1)
        elif act == "tell new":
            new.told = new.ready
        else:
            for one in old:
                one.told = one.ready
        check(limits, least, new, old)
    for _ in range(4 * replicas + 4):
        new.ready = new.told = new.size
        for one in old:
            one.told = one.ready
        look(wanted, new, old)
        check(limits, least, new, old)
    assert (new.size, [one.size for one in old]) == (replicas, [0] * len(old))
