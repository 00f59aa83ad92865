from __future__ import annotations

from itertools import pairwise

from k8slab.k8sm.scheduler.offers import OfferRegistry
from k8slab.k8sm.scheduler.queue import PodQueue
from tests.unit.k8sm.samples import a_pod, an_offer, parsed


def test_first_come_first_served() -> None:
    queue = PodQueue()
    for name in ("c", "a", "b"):
        queue.put(a_pod(name), 0)
    assert not queue.put(a_pod("a"), 5)
    assert [pod["metadata"]["name"] for pod in queue.pods(0)] == ["c", "a", "b"]


def test_those_that_waited_while_nobody_listened_are_served_in_the_order_of_their_creation() -> None:
    queue = PodQueue()
    for name, second, version in (("a", 2, "20"), ("b", 3, "30"), ("c", 1, "10"), ("d", 1, "9")):
        pod = a_pod(name)
        pod["metadata"] |= {"creationTimestamp": f"2026-11-27T03:59:0{second}Z", "resourceVersion": version}
        queue.put(pod, 0)
    assert [pod["metadata"]["name"] for pod in queue.pods(0)] == ["d", "c", "a", "b"]
    pod["metadata"]["resourceVersion"] = "40"
    queue.put(pod, 1)
    assert [pod["metadata"]["name"] for pod in queue.pods(0)] == ["d", "c", "a", "b"]


def test_those_of_a_higher_priority_go_first() -> None:
    queue = PodQueue()
    for name, priority in (("a", None), ("b", 1000), ("c", -5), ("d", 1000)):
        queue.put(a_pod(name, **({} if priority is None else {"priority": priority})), 0)
    assert [pod["metadata"]["name"] for pod in queue.pods(0)] == ["b", "d", "a", "c"]


def test_the_newer_form_of_a_pod_is_taken_over_in_place() -> None:
    queue = PodQueue()
    queue.put(a_pod("a"), 0)
    assert queue.put(a_pod("a", nodeName="minion-0"), 1)
    assert not queue.put(a_pod("a", nodeName="minion-0"), 1)
    assert queue.pods(1)[0]["spec"]["nodeName"] == "minion-0"


def test_complaints_come_after_a_moment_and_then_ever_less_often() -> None:
    queue = PodQueue()
    queue.put(a_pod("a"), 0)
    assert queue.failed("uid-a", "full", 0.5) is None
    assert queue.entries[0].reason == "full"
    complaints = []
    for tenth in range(10, 3000):
        if queue.failed("uid-a", "full", tenth / 10):
            complaints.append(tenth / 10)
    gaps = [after - before for before, after in pairwise(complaints)]
    assert complaints[0] == 2.0
    assert 0.8 <= gaps[0] <= 1.2
    assert all(after > before for before, after in pairwise(gaps[:6]))
    assert max(gaps) <= 66.1
    assert gaps[-1] >= 54


def test_a_pod_that_left_says_nothing() -> None:
    queue = PodQueue()
    queue.put(a_pod("a"), 0)
    queue.remove("uid-a")
    assert queue.failed("uid-a", "full", 10) is None
    assert queue.next_due(10) is None


def test_offers_expire_by_age_and_go_with_their_agent() -> None:
    registry = OfferRegistry()
    for number in range(3):
        registry.add(parsed(an_offer(number, agent=number), now=float(number)))
    assert registry.oldest() == 0
    assert registry.expire(0.5, 6) == ["O0"]
    assert list(registry.remembered(7)) == ["minion-0"]
    assert registry.remembered(1000) == {}
    registry.drop_agent("S1")
    assert [slot.agent for slot in registry.slots()] == ["S2"]
    registry.remove("O2")
    registry.remove("O2")
    assert len(registry) == 0


def test_a_master_just_found_gets_time_to_offer() -> None:
    queue = PodQueue()
    queue.put(a_pod("a"), 0)
    queue.expect_offers(10)
    assert queue.failed("uid-a", "full", 11) is None
    assert queue.failed("uid-a", "full", 12) is not None


def test_a_pod_whose_launches_fail_is_held_back_ever_longer() -> None:
    queue = PodQueue()
    held = []
    for _ in range(9):
        queue.launch_failed("uid-a")
        queue.put(a_pod("a"), 100)
        held.append(queue.entries[0].not_before - 100)
        queue.remove("uid-a")
    assert held == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    queue.put(a_pod("a"), 100)
    assert queue.pods(159) == []
    assert not queue.any_released(100, 159)
    assert queue.any_released(159, 160)
    assert not queue.any_released(160, 200)
    assert queue.next_due(100) == 160
    assert len(queue.pods(160)) == 1
    queue.remove("uid-a")
    queue.launched("uid-a")
    queue.put(a_pod("a"), 200)
    assert len(queue.pods(200)) == 1
