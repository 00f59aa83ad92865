from __future__ import annotations

from k8slab.kube.kubelet.backoff import BackOff


def test_the_way_is_free_until_something_failed() -> None:
    assert BackOff().remaining("a", since=0, now=0) == 0


def test_delays_double_up_to_the_longest() -> None:
    backoff = BackOff(initial=10, longest=60)
    assert [backoff.failed("a", now) for now in (0, 20, 60, 130, 200)] == [10, 20, 40, 60, 60]


def test_the_wait_counts_from_the_end_of_the_last_run() -> None:
    backoff = BackOff(initial=10, longest=300)
    backoff.failed("a", 100)
    assert backoff.remaining("a", since=105, now=107) == 8
    assert backoff.remaining("a", since=105, now=116) == 0


def test_a_long_time_without_failure_forgives() -> None:
    backoff = BackOff(initial=10, longest=300)
    backoff.failed("a", 0)
    backoff.failed("a", 10)
    assert backoff.failed("a", 10 + 601) == 10


def test_keys_are_independent_and_can_be_forgotten() -> None:
    backoff = BackOff(initial=10, longest=300)
    backoff.failed("a", 0)
    assert backoff.delay("b") == 0
    backoff.forget("a")
    assert backoff.failed("a", 1) == 10
