from __future__ import annotations

import pytest

from k8slab.kube.kubelet.decision import decide
from k8slab.kube.kubelet.observation import CREATED, EXITED, Seen
from tests.unit.kubelet.pods import a_container, a_pod, dead, observed, running, sandbox


def no_delay(seen: Seen) -> float:
    return 0.0


def test_a_new_pod_gets_a_sandbox_and_its_containers() -> None:
    decision = decide(a_pod(a_container("a"), a_container("b")), observed(), no_delay)
    assert decision.sandbox == 0
    assert decision.start == (("a", 0), ("b", 0))
    assert not decision.finished


def test_a_running_pod_is_left_alone() -> None:
    decision = decide(a_pod(), observed(sandbox(), running()), no_delay)
    assert (decision.sandbox, decision.start, decision.remove, decision.wait) == (None, (), (), ())


@pytest.mark.parametrize(
    ("policy", "code", "restarts"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_the_restart_policy_decides(policy: str, code: int, restarts: bool) -> None:
    decision = decide(a_pod(restartPolicy=policy), observed(sandbox(), dead(code=code)), no_delay)
    assert decision.start == ((("web", 1),) if restarts else ())
    assert decision.finished is not restarts


def test_a_restart_waits_for_its_back_off() -> None:
    decision = decide(a_pod(), observed(sandbox(), dead(attempt=4, code=1)), lambda seen: 7.0)
    assert decision.start == ()
    assert decision.wait == (("web", 7.0),)
    assert not decision.finished


def test_only_the_last_dead_attempt_is_kept() -> None:
    old = [dead(attempt=number, code=1) for number in range(3)]
    decision = decide(a_pod(), observed(sandbox(), *old, running(attempt=3)), no_delay)
    assert {seen.attempt for seen in decision.remove} == {0, 1}


def test_a_dead_sandbox_takes_its_containers_with_it() -> None:
    decision = decide(a_pod(), observed(sandbox(state=EXITED), running()), no_delay)
    assert decision.sandbox == 1
    assert [kill.seen.id for kill in decision.kill] == ["web0"]
    assert [seen.id for seen in decision.remove] == ["pause0"]
    assert decision.start == (("web", 1),)


def test_after_an_engine_restart_everything_starts_again() -> None:
    decision = decide(a_pod(), observed(sandbox(state=EXITED), dead(code=137)), no_delay)
    assert decision.sandbox == 1
    assert decision.start == (("web", 1),)


def test_a_finished_pod_loses_its_sandbox_and_keeps_its_containers() -> None:
    decision = decide(a_pod(restartPolicy="Never"), observed(sandbox(), dead()), no_delay)
    assert decision.finished
    assert [seen.id for seen in decision.remove] == ["pause0"]
    again = decide(a_pod(restartPolicy="Never"), observed(dead()), no_delay)
    assert again.finished
    assert again.sandbox is None
    assert again.remove == ()


def test_one_that_was_created_and_never_started_is_made_again() -> None:
    created = Seen("x", "web", 2, CREATED, "k8slab/nginx:1.22", "sha256:n")
    decision = decide(a_pod(), observed(sandbox(), created), no_delay)
    assert decision.remove == (created,)
    assert decision.start == (("web", 2),)
