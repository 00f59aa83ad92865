"""Moments at which cron jobs are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.kube.controllers.cron_schedule import MOST_MISSED, Missed, Schedule, UnknownZone

NOON = datetime(2016, 1, 2, 12, 0, 30, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("*/5 * * * *", "", "2016-01-02T12:05:00"),
        ("0 3 * * *", "", "2016-01-03T03:00:00"),
        ("0 3 * * *", "Europe/Berlin", "2016-01-03T02:00:00"),
        ("0 3 * * *", "America/New_York", "2016-01-03T08:00:00"),
        ("@hourly", "", "2016-01-02T13:00:00"),
        ("@weekly", "", "2016-01-03T00:00:00"),
        ("0 0 ? feb mon", "", "2016-02-01T00:00:00"),
        ("10/20 * * * *", "", "2016-01-02T12:10:00"),
        ("0 0 29 2 *", "", "2016-02-29T00:00:00"),
        ("0 0 13 * 5", "", "2016-01-08T00:00:00"),
        ("@every 90m", "", "2016-01-02T13:30:30"),
    ],
)
def test_the_next_moment(text: str, zone: str, expected: str) -> None:
    assert Schedule(text, zone).upcoming(NOON, NOON) == at(expected)


def test_every_is_counted_from_the_last_time() -> None:
    since = NOON - timedelta(minutes=25)
    assert Schedule("@every 10m").upcoming(since, NOON) == since + timedelta(minutes=30)
    assert Schedule("@every 10m").missed(since, NOON) == Missed(since + timedelta(minutes=20), 2)


def test_what_was_missed_is_the_last_moment_and_how_many_there_were() -> None:
    assert Schedule("*/5 * * * *").missed(at("2016-01-02T11:43:00"), NOON) == Missed(at("2016-01-02T12:00:00"), 4)
    assert Schedule("*/5 * * * *").missed(at("2016-01-02T12:00:00"), NOON) == Missed(None, 0)


def test_a_moment_that_is_now_is_due() -> None:
    now = at("2016-01-02T12:00:00")
    assert Schedule("0 12 * * *").missed(now - timedelta(hours=1), now).last == now


def test_no_more_are_counted_than_tell_that_they_are_too_many() -> None:
    found = Schedule("* * * * *").missed(NOON - timedelta(days=400), NOON)
    assert (found.last, found.count) == (at("2016-01-02T12:00:00"), MOST_MISSED + 1)


def test_over_the_change_of_the_clock_a_nightly_job_runs_once_a_night() -> None:
    """In Berlin there was no 02:30 on that day, and on the other there were two."""
    for day in (datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC)):
        assert Schedule("30 2 * * *", "Europe/Berlin").missed(day - timedelta(days=1), day).count == 1


@given(st.integers(1, 59), st.integers(0, 5000))
def test_what_was_upcoming_has_been_missed_when_its_time_has_come(minutes: int, offset: int) -> None:
    schedule, now = Schedule(f"*/{minutes} * * * *"), NOON + timedelta(minutes=offset)
    due = schedule.upcoming(now, now)
    assert due is not None
    assert schedule.missed(now, due) == Missed(due, 1)
    assert schedule.missed(now, due - timedelta(seconds=1)) == Missed(None, 0)


@pytest.mark.parametrize("text", ["", "* * * *", "61 * * * *", "0 0 31 2 *", "@every soon", "@never"])
def test_what_cannot_be_understood_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Schedule(text)


def test_an_unknown_zone_is_said() -> None:
    with pytest.raises(UnknownZone, match="unknown time zone Mars/Olympus"):
        Schedule("@daily", "Mars/Olympus")
