from __future__ import annotations

from typing import Any

import pytest

from k8slab.mesos.messages import TABLE, ConversionError, convert

TASK = {"name": "n", "task_id": {"value": "t"}, "agent_id": {"value": "a"}}


def test_unknown_keys_and_nulls_are_dropped() -> None:
    assert convert("TaskInfo", {**TASK, "nonsense": 1, "command": None}) == TASK


def test_one_may_stand_for_a_list() -> None:
    assert convert("Launch", {"task_infos": TASK}) == {"task_infos": [TASK]}


def test_an_unknown_name_in_an_optional_enum_is_unset_and_in_a_required_one_wrong() -> None:
    assert convert("SchedulerCall", {"type": "FOO"}) == {}
    with pytest.raises(ConversionError):
        convert("Resource", {"name": "cpus", "type": "FOO"})


def test_printed_defaults() -> None:
    info = convert("FrameworkInfo", {"user": "u", "name": "n"})
    assert info == {"user": "u", "name": "n", "failover_timeout": 0.0, "checkpoint": False}
    assert convert("CommandInfo", {"value": "true"}) == {"value": "true", "shell": True}


def test_numbers_and_booleans_may_be_text() -> None:
    info = convert("FrameworkInfo", {"user": "u", "name": "n", "failover_timeout": "5", "checkpoint": "true"})
    assert (info["failover_timeout"], info["checkpoint"]) == (5.0, True)
    assert convert("Range", {"begin": "1", "end": 2.9}) == {"begin": 1, "end": 2}
    assert convert("Filters", {"refuse_seconds": "Infinity"}) == {"refuse_seconds": float("inf")}


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ("TaskInfo", {"name": "n"}),
        ("TaskInfo", []),
        ("TaskInfo", {**TASK, "task_id": "t"}),
        ("TaskInfo", {**TASK, "name": 3}),
        ("TaskInfo", {**TASK, "command": [{}]}),
        ("SchedulerCall", {"type": 1}),
        ("FrameworkInfo", {"user": "u", "name": "n", "checkpoint": 1}),
        ("FrameworkInfo", {"user": "u", "name": "n", "failover_timeout": "soon"}),
        ("ExecutorMessage", {"data": "###"}),
        ("Range", {"begin": True, "end": 1}),
    ],
)
def test_what_cannot_be_converted(message: str, value: Any) -> None:
    with pytest.raises(ConversionError):
        convert(message, value)


def test_every_message_of_the_table_is_readable() -> None:
    for message in TABLE:
        try:
            convert(message, {})
        except ConversionError as error:
            assert "required" in str(error)
