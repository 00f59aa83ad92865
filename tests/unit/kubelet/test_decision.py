from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.kubelet.decision import decide
from k8slab.kube.kubelet.observation import CREATED, EXITED, Health, Seen
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


def with_init(*init: dict[str, Any], policy: str = "Always") -> dict[str, Any]:
    return a_pod(initContainers=list(init), restartPolicy=policy)


def sidecar(name: str = "side") -> dict[str, Any]:
    return a_container(name, restartPolicy="Always")


ONE, TWO = a_container("one"), a_container("two")
STARTING = Health(started=False)
UNWELL = Health(failed="liveness")


@pytest.mark.parametrize(
    ("pod", "seen", "start"),
    [
        pytest.param(with_init(ONE, TWO), [], [("one", 0)], id="the first comes first"),
        pytest.param(with_init(ONE, TWO), [running("one")], [], id="the others wait for it"),
        pytest.param(with_init(ONE, TWO), [dead("one")], [("two", 0)], id="then comes the second"),
        pytest.param(with_init(ONE, TWO), [dead("one", code=1)], [("one", 1)], id="one that failed is tried again"),
        pytest.param(with_init(ONE, TWO), [dead("one"), dead("two")], [("web", 0)], id="then come the main ones"),
        pytest.param(with_init(ONE), [running("web")], [], id="what is initialized stays so without its remains"),
        pytest.param(
            with_init(ONE), [dead("one"), dead("web", code=1)], [("web", 1)], id="a restart does not begin anew"
        ),
        pytest.param(
            with_init(sidecar(), ONE), [running("side", health=STARTING)], [], id="a sidecar that starts is waited for"
        ),
        pytest.param(with_init(sidecar(), ONE), [running("side")], [("one", 0)], id="a started one is not"),
        pytest.param(
            with_init(sidecar()), [dead("side"), running("web")], [("side", 1)], id="a dead sidecar comes back"
        ),
        pytest.param(
            with_init(sidecar(), policy="Never"),
            [dead("side"), running("web")],
            [("side", 1)],
            id="also in a pod that never restarts",
        ),
    ],
)
def test_init_containers_have_their_order(pod: dict[str, Any], seen: list[Seen], start: list[tuple[str, int]]) -> None:
    decision = decide(pod, observed(sandbox(), *seen), no_delay)
    assert list(decision.start) == start
    assert (decision.kill, decision.remove, decision.finished) == ((), (), False)


def test_a_new_sandbox_is_initialized_anew() -> None:
    pod = with_init(ONE, TWO)
    before = [dead("one"), dead("two"), dead("web", code=137)]
    decision = decide(pod, observed(sandbox(state=EXITED), *before), no_delay)
    assert (decision.sandbox, decision.start) == (1, (("one", 1),))
    again = [*before, dead("one", attempt=1, sandbox="pause1")]
    assert decide(pod, observed(sandbox(attempt=1), *again), no_delay).start == (("two", 1),)
    both = [*again, dead("two", attempt=1, sandbox="pause1")]
    assert decide(pod, observed(sandbox(attempt=1), *both), no_delay).start == (("web", 1),)


def test_an_init_container_that_fails_ends_a_pod_that_never_restarts() -> None:
    decision = decide(with_init(ONE, TWO, policy="Never"), observed(sandbox(), dead("one", code=1)), no_delay)
    assert decision.finished
    assert decision.start == ()


def test_sidecars_end_after_the_pod_in_reverse() -> None:
    pod = with_init(sidecar("a"), sidecar("b"), policy="Never")
    decision = decide(pod, observed(sandbox(), running("a"), running("b"), dead()), no_delay)
    assert decision.finished
    assert [kill.seen.container for kill in decision.kill] == ["b", "a"]
    assert [seen.id for seen in decision.remove] == ["pause0"]


@pytest.mark.parametrize(("policy", "words"), [("Always", ", will be restarted"), ("Never", "")])
def test_what_is_not_well_ends_first(policy: str, words: str) -> None:
    probe = {"terminationGracePeriodSeconds": 3}
    pod = a_pod(a_container(livenessProbe=probe), restartPolicy=policy)
    decision = decide(pod, observed(sandbox(), running(health=UNWELL)), no_delay)
    (kill,) = decision.kill
    assert (kill.why, kill.grace) == (f"Container web failed liveness probe{words}", 3)
    assert decision.start == ()
    assert not decision.finished


def test_what_was_not_well_counts_as_failed() -> None:
    decision = decide(a_pod(restartPolicy="OnFailure"), observed(sandbox(), dead(health=UNWELL)), no_delay)
    assert decision.start == (("web", 1),)


def test_a_pod_that_never_restarts_does_not_outlive_its_sandbox() -> None:
    pod = a_pod(restartPolicy="Never")
    decision = decide(pod, observed(sandbox(state=EXITED), running()), no_delay)
    assert [kill.seen.id for kill in decision.kill] == ["web0"]
    assert (decision.sandbox, decision.start) == (None, ())
    assert decide(pod, observed(sandbox(state=EXITED), dead(code=137)), no_delay).finished


def test_another_image_is_another_container() -> None:
    pod = a_pod(a_container() | {"image": "k8slab/nginx:1.23"})
    decision = decide(pod, observed(sandbox(), running()), no_delay)
    assert [kill.why for kill in decision.kill] == ["Container web definition changed, will be restarted"]
    assert decision.start == (("web", 1),)


def test_a_doomed_pod_ends() -> None:
    decision = decide(with_init(sidecar()), observed(sandbox(), running(), running("side")), no_delay, doomed=True)
    assert [kill.seen.container for kill in decision.kill] == ["web", "side"]
    assert decision.finished


def test_a_doomed_pod_without_any_container_makes_none() -> None:
    decision = decide(a_pod(), observed(), no_delay, doomed=True)
    assert (decision.finished, decision.sandbox, decision.start) == (True, None, ())


def test_an_engine_that_has_lost_everything_does_not_make_it_a_new_pod() -> None:
    pod = a_pod()
    pod["status"] = {"containerStatuses": [{"name": "web", "restartCount": 3, "containerID": "docker://gone"}]}
    decision = decide(pod, observed(), no_delay)
    assert (decision.sandbox, decision.start) == (0, (("web", 4),))
