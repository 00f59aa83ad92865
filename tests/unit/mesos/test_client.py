from __future__ import annotations

from typing import Any

import pytest

from k8slab.mesos.client.acknowledgements import REMEMBERED, Acknowledgements
from k8slab.mesos.client.detector import MasterDetector
from k8slab.mesos.client.offers import left, take


def scalar(name: str, value: float, **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, **fields}


PORTS = {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}, {"begin": 9, "end": 20}]}}


def test_reserved_resources_are_taken_first() -> None:
    offered = [scalar("cpus", 2.0, role="*"), scalar("cpus", 0.5, role="batch"), scalar("mem", 64.0), PORTS]
    taken = take(offered, {"cpus": 0.6, "mem": 32}, ports=3)
    assert taken == [
        scalar("cpus", 0.5, role="batch"),
        scalar("cpus", 0.1, role="*"),
        scalar("mem", 32.0),
        {**PORTS, "ranges": {"range": [{"begin": 1, "end": 2}, {"begin": 9, "end": 9}]}},
    ]
    rest = left(offered, taken[:3])
    assert [piece["scalar"]["value"] for piece in rest[:3]] == [1.9, 0.0, 32.0]


@pytest.mark.parametrize(("amounts", "ports"), [({"cpus": 2.001}, 0), ({"gpus": 1}, 0), ({"cpus": 1}, 15)])
def test_what_is_not_offered_cannot_be_taken(amounts: dict[str, float], ports: int) -> None:
    assert take([scalar("cpus", 2.0), PORTS], amounts, ports=ports) is None


def test_tenths_add_up() -> None:
    offered = [scalar("cpus", 0.3)]
    for _ in range(3):
        taken = take(offered, {"cpus": 0.1})
        assert taken is not None
        offered = left(offered, taken)
    assert take(offered, {"cpus": 0.001}) is None


def update(uuid: str | None, task: str = "t") -> dict[str, Any]:
    status = {"task_id": {"value": task}, "agent_id": {"value": "a"}, "state": "TASK_RUNNING"}
    return {"type": "UPDATE", "update": {"status": {**status, "uuid": uuid} if uuid else status}}


def test_updates_with_a_uuid_are_acknowledged_and_told_once() -> None:
    known = Acknowledgements()
    call = known.call(update("u1"))
    assert call == ("ACKNOWLEDGE", {"agent_id": {"value": "a"}, "task_id": {"value": "t"}, "uuid": "u1"})
    assert not known.repeated(update("u1"))
    known.note(update("u1"))
    assert known.repeated(update("u1"))
    assert not known.repeated(update("u2"))


def test_what_needs_no_acknowledgement_gets_none() -> None:
    known = Acknowledgements()
    for event in (update(None), {"type": "OFFERS", "offers": {}}, {"type": "DISCONNECTED"}):
        assert known.call(event) is None
        known.note(event)
        assert not known.repeated(event)


def test_operations_are_acknowledged_by_their_own_call() -> None:
    status = {
        "operation_id": {"value": "o"},
        "agent_id": {"value": "a"},
        "uuid": {"value": "u"},
        "state": "OPERATION_FINISHED",
    }
    event = {"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": status}}
    call = Acknowledgements().call(event)
    assert call is not None
    assert (call[0], set(call[1])) == ("ACKNOWLEDGE_OPERATION_STATUS", {"operation_id", "agent_id", "uuid"})


def test_the_memory_of_acknowledgements_has_an_end() -> None:
    known = Acknowledgements()
    for number in range(REMEMBERED + 1):
        known.note(update(f"u{number}"))
    assert not known.repeated(update("u0"))
    assert known.repeated(update("u1"))


async def test_several_addresses_are_tried_in_turn() -> None:
    detector = MasterDetector("a,b:1,c:2")
    seen = []
    for _ in range(4):
        seen.append(await detector.leader())
        detector.give_up(seen[-1])
    assert seen == ["a:5050", "b:1", "c:2", "a:5050"]
    detector.redirect("//elsewhere:5050/api/v1/scheduler")
    assert await detector.leader() == "elsewhere:5050"
    detector.give_up("b:1")
    assert await detector.leader() == "elsewhere:5050", "only what was tried is given up"
    detector.give_up("elsewhere:5050")
    assert await detector.leader() == "c:2", "b:1 sent us there and would again"


@pytest.mark.parametrize("location", ["", "//", "http:///api/v1", "//a:x/api/v1"])
def test_a_redirect_to_nobody_is_worth_no_answer(location: str) -> None:
    detector = MasterDetector("a,b")
    detector.redirect(location)
    assert detector.current == "b:5050"


@pytest.mark.parametrize("master", ["", "a:5²", "a,,b", "a:x", "zk://h:1", ":5050"])
def test_what_is_no_address_is_refused(master: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        MasterDetector(master)


def test_a_leader_that_a_redirect_names_and_nobody_can_find_is_looked_for_at_the_next_address() -> None:
    detector = MasterDetector("10.0.0.1,10.0.0.2,10.0.0.3")
    seen = []
    for _ in range(3):
        seen.append(detector.current)
        detector.redirect("//a-name-of-the-lab:5050/api/v1/scheduler")
        detector.give_up("a-name-of-the-lab:5050")
    assert seen == ["10.0.0.1:5050", "10.0.0.2:5050", "10.0.0.3:5050"]
    assert detector.current == "10.0.0.1:5050"
