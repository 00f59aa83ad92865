from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.mesos.master.allocator import Allocator, Grant, minimums, refuse_seconds
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


def shares_by_role(grants: list[Grant]) -> dict[str, int]:
    return {role: sum(grant.role == role for grant in grants) for role in sorted({grant.role for grant in grants})}


def test_weights_hold_at_each_level_of_the_tree() -> None:
    allocator = Allocator(seed=1)
    for number in range(60):
        allocator.add_agent(f"a{number}", AGENT)
    for role in ("eng/web", "eng/batch", "sales"):
        allocator.add_framework(role, [role])
    allocator.set_weight("eng", 2.0)
    allocator.set_weight("eng/web", 3.0)
    assert shares_by_role(allocator.allocate(0.0)) == {"eng/web": 30, "eng/batch": 10, "sales": 20}


def test_frameworks_of_a_role_share_with_the_roles_below_it() -> None:
    allocator = cluster(30, frameworks={"own": "eng", "below": "eng/web", "else": "ops"})
    assert shares_by_role(allocator.allocate(0.0)) == {"eng": 8, "eng/web": 7, "ops": 15}


def test_a_role_without_members_is_forgotten() -> None:
    allocator = cluster(1, frameworks={"f": "/".join("a" * 5000)})
    [grant] = allocator.allocate(0.0)
    allocator.remove_framework("f")
    give_back(allocator, grant)
    assert not allocator._tree._nodes


def test_dominant_resources() -> None:
    """Of 9 CPUs and 18 GB, tasks of <1, 4> and <3, 1> end at 3 and 2: a dominant share of two thirds each."""
    allocator = Allocator(seed=1)
    allocator.add_agent("a", resources(9, 18))
    demands = {"mem-heavy": resources(1, 4), "cpu-heavy": resources(3, 1)}
    for name in demands:
        allocator.add_framework(name, [name])
    launched = dict.fromkeys(demands, 0)
    for now in range(5):
        [grant] = allocator.allocate(float(now))
        give_back(allocator, grant, demands[grant.framework_id])
        launched[grant.framework_id] += 1
    assert launched == {"mem-heavy": 3, "cpu-heavy": 2}


def test_what_is_worth_an_offer_can_be_said() -> None:
    allocator = Allocator(min_allocatable=minimums("cpus:2;mem:100|gpus:1"))
    allocator.add_framework("f", ["*"], capabilities=["GPU_RESOURCES"])
    allocator.add_agent("few", resources(4, 99))
    allocator.add_agent("enough", resources(2, 100))
    allocator.add_agent("gpu", Resources.parse("gpus:1"))
    assert {grant.agent_id for grant in allocator.allocate(0.0)} == {"enough", "gpu"}


def test_agents_with_gpus_wait_for_who_can_use_them() -> None:
    allocator = cluster(0, frameworks={"plain": "*"})
    allocator.add_agent("gpu", Resources.parse("cpus:4;mem:100;gpus:1"))
    assert allocator.allocate(0.0) == []
    allocator.add_framework("render", ["*"], capabilities=["GPU_RESOURCES"])
    assert [grant.framework_id for grant in allocator.allocate(1.0)] == ["render"]


def test_reserved_resources_are_for_their_role_and_those_below_it() -> None:
    allocator = cluster(0, frameworks={"below": "web/shop", "beside": "webshop"})
    allocator.add_agent("a", Resources.parse("cpus(web):2;mem(web):64;cpus:1;mem:32"))
    allocator.suppress("beside", ["webshop"])
    assert [grant.resources.scalar("cpus") for grant in allocator.allocate(0.0)] == [3.0]
    allocator.recover("below", "web/shop", "a", Resources.parse("cpus(web):2;mem(web):64;cpus:1;mem:32"))
    allocator.suppress("below", ["web/shop"])
    allocator.revive("beside", ["webshop"])
    assert [grant.resources.scalar("cpus") for grant in allocator.allocate(1.0)] == [1.0]


def test_roles_are_suppressed_one_by_one() -> None:
    allocator = cluster(0)
    allocator.add_framework("two", ["a", "b"])
    allocator.remove_framework("f")
    allocator.suppress("two", ["a"])
    allocator.add_agent("x", AGENT)
    [grant] = allocator.allocate(0.0)
    assert grant.role == "b"
    give_back(allocator, grant, refuse_seconds=60.0)
    allocator.revive("two", ["a"])
    assert [grant.role for grant in allocator.allocate(1.0)] == ["a"]


def test_a_filter_lasts_until_the_next_cycle_at_least() -> None:
    allocator = cluster()
    [grant] = allocator.allocate(10.0)
    give_back(allocator, grant, now=10.0, refuse_seconds=0.001)
    assert allocator.allocate(10.9) == []
    assert len(allocator.allocate(11.1)) == 1


demands = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(demands, st.integers(1, 4)), min_size=2, max_size=5), st.integers(0, 100), st.booleans())
def test_shares_stay_within_one_task_of_fair(
    frameworks: list[tuple[tuple[int, int], int]], seed: int, nested: bool
) -> None:
    """Each takes one task of what it is offered, for as long as all of their tasks fit."""
    whole = resources(60, 60)
    allocator = Allocator(seed=seed)
    allocator.add_agent("a", whole)
    sizes, weights = {}, {}
    for number, ((cpus, mem), weight) in enumerate(frameworks):
        role = f"top/r{number}" if nested else f"r{number}"
        allocator.add_framework(role, [role])
        allocator.set_weight(role, float(weight))
        sizes[role], weights[role] = resources(cpus, mem), weight
    dominant = {role: max(size.totals().values()) / 60_000 for role, size in sizes.items()}
    launched = dict.fromkeys(sizes, 0)
    while all(allocator.free("a").contains(size) for size in sizes.values()):
        [grant] = allocator.allocate(0.0)
        launched[grant.role] += 1
        give_back(allocator, grant, sizes[grant.role])
        shares = {role: count * dominant[role] / weights[role] for role, count in launched.items()}
        for role, share in shares.items():
            assert share - dominant[role] / weights[role] <= min(shares.values()) + 1e-9
    assert sum(launched.values()) >= 5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 6))
def test_a_seed_decides(seed: int, agents: int, frameworks: int) -> None:
    def history() -> list[Grant]:
        allocator = Allocator(seed=seed)
        for number in range(agents):
            allocator.add_agent(f"a{number}", AGENT)
        for number in range(frameworks):
            allocator.add_framework(f"f{number}", [f"r{number % 3}", "r/below"])
        seen: list[Grant] = []
        for now in range(3):
            grants = allocator.allocate(float(now))
            seen += grants
            for grant in grants[::2]:
                give_back(allocator, grant, now=float(now), refuse_seconds=float(now))
        return seen

    assert history() == history()
