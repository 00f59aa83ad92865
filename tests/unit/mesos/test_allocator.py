from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.mesos.master.allocator import Allocator, Grant, refuse_seconds
from k8slab.mesos.resources import NONE, Resources, total


def resources(cpus: float, mem: float = 0) -> Resources:
    return Resources.parse(f"cpus:{cpus};mem:{mem}")


AGENT = resources(4, 4096)


def cluster(agents: int = 1, *, frameworks: dict[str, str] | None = None) -> Allocator:
    allocator = Allocator(seed=1)
    for number in range(agents):
        allocator.add_agent(f"a{number}", AGENT)
    for framework, role in (frameworks or {"f": "*"}).items():
        allocator.add_framework(framework, [role])
    return allocator


def give_back(allocator: Allocator, grant: Grant, used: Resources = NONE, **kwargs: float) -> None:
    allocator.recover(grant.framework_id, grant.role, grant.agent_id, grant.resources - used, **kwargs)


def test_everything_free_is_offered_once() -> None:
    allocator = cluster(3)
    grants = allocator.allocate(0.0)
    assert {grant.agent_id for grant in grants} == {"a0", "a1", "a2"}
    assert all(grant.resources == AGENT for grant in grants)
    assert allocator.allocate(1.0) == []


def test_a_filter_ends() -> None:
    allocator = cluster()
    [grant] = allocator.allocate(0.0)
    give_back(allocator, grant, now=0.0, refuse_seconds=5.0)
    assert allocator.allocate(4.9) == []
    assert len(allocator.allocate(5.1)) == 1


def test_more_than_was_refused_passes_a_filter() -> None:
    allocator = cluster()
    [grant] = allocator.allocate(0.0)
    used = resources(2, 1024)
    give_back(allocator, grant, used, now=0.0, refuse_seconds=60.0)
    assert allocator.allocate(1.0) == []
    allocator.recover("f", "*", "a0", used)
    [again] = allocator.allocate(2.0)
    assert again.resources == AGENT


def test_reviving_forgets_filters_and_suppression() -> None:
    allocator = cluster()
    [grant] = allocator.allocate(0.0)
    allocator.suppress("f", ["*"])
    give_back(allocator, grant, now=0.0, refuse_seconds=60.0)
    assert allocator.allocate(1.0) == []
    allocator.revive("f", ["*"])
    assert len(allocator.allocate(1.0)) == 1


def test_the_least_served_comes_first() -> None:
    allocator = cluster(2, frameworks={"rich": "*", "poor": "*"})
    allocator.occupy("rich", "*", "a0", resources(1, 100))
    assert {grant.framework_id for grant in allocator.allocate(0.0, agents=["a0"])} == {"poor"}
    assert {grant.framework_id for grant in allocator.allocate(0.0, agents=["a1"])} == {"rich"}


def test_weights() -> None:
    allocator = cluster(30, frameworks={"heavy": "h", "light": "l"})
    allocator.set_weight("h", 2.0)
    grants = allocator.allocate(0.0)
    shares = {name: sum(grant.framework_id == name for grant in grants) for name in ("heavy", "light")}
    assert shares == {"heavy": 20, "light": 10}


def test_a_fair_share() -> None:
    allocator = cluster(40, frameworks=dict.fromkeys("abcd", "*"))
    grants = allocator.allocate(0.0)
    assert {name: sum(grant.framework_id == name for grant in grants) for name in "abcd"} == dict.fromkeys("abcd", 10)


def test_crumbs_are_not_offered() -> None:
    allocator = Allocator()
    allocator.add_agent("a", resources(0.009, 31))
    allocator.add_framework("f", ["*"])
    assert allocator.allocate(0.0) == []


def test_how_long_a_refusal_lasts() -> None:
    assert refuse_seconds(None) == refuse_seconds(-1.0) == refuse_seconds(float("nan")) == 5.0
    assert refuse_seconds(0.0) == 0.0
    assert refuse_seconds(float("inf")) == 365 * 86400.0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_history_makes_it_offer_more_than_there_is(data: st.DataObject) -> None:
    allocator = Allocator(seed=data.draw(st.integers(0, 1000)))
    agents = {f"a{n}": resources(data.draw(st.integers(1, 8)), data.draw(st.integers(64, 512))) for n in range(3)}
    frameworks = [f"f{n}" for n in range(3)]
    for agent_id, whole in agents.items():
        allocator.add_agent(agent_id, whole)
    for framework_id in frameworks:
        allocator.add_framework(framework_id, [data.draw(st.sampled_from(["*", "web"]))])
    held: list[Grant] = []
    for now in range(data.draw(st.integers(1, 15))):
        held += allocator.allocate(float(now))
        for agent_id, whole in agents.items():
            out = total(grant.resources for grant in held if grant.agent_id == agent_id)
            assert whole.contains(out)
            assert allocator.free(agent_id) == whole - out
        for grant in list(held):
            match data.draw(st.sampled_from(["keep", "decline", "use"])):
                case "decline":
                    held.remove(grant)
                    give_back(allocator, grant, now=float(now), refuse_seconds=data.draw(st.sampled_from([0.0, 2.0])))
                case "use":
                    used = resources(min(1.0, grant.resources.scalar("cpus")), 0)
                    held[held.index(grant)] = Grant(grant.framework_id, grant.role, grant.agent_id, used)
                    give_back(allocator, grant, used)
