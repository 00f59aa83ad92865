"""Offers that went back to Mesos: how long they are remembered, and when they are expected again."""

from __future__ import annotations

import pytest

from k8slab.k8sm.scheduler.offers import RETURN, OfferRegistry, parse
from tests.unit.k8sm.samples import an_offer

LINGER = 120.0


@pytest.fixture
def offers() -> OfferRegistry:
    """One offer came at 0 and was sent back at 5."""
    registry = OfferRegistry(linger=LINGER)
    registry.add(parse(an_offer(), 0.0))
    assert registry.expire(1.0, 5.0) == ["O0"]
    return registry


def test_what_was_sent_back_is_remembered_for_a_while(offers: OfferRegistry) -> None:
    assert list(offers.remembered(6.0)) == ["minion-0"]
    assert list(offers.remembered(5.0 + LINGER)) == []
    offers.add(parse(an_offer(1), 6.0))
    assert list(offers.remembered(6.0)) == []


def test_what_is_called_back_is_expected_once(offers: OfferRegistry) -> None:
    assert list(offers.expected(6.0)) == []
    offers.call_back(6.0)
    assert list(offers.expected(6.0)) == ["minion-0"]
    assert list(offers.remembered(6.0)) == ["minion-0"]
    offers.call_back(6.0 + RETURN)
    assert list(offers.expected(6.0 + RETURN)) == []


def test_what_is_remembered_no_more_can_still_be_called_back(offers: OfferRegistry) -> None:
    later = 5.0 + LINGER
    assert list(offers.remembered(later)) == []
    offers.call_back(later)
    assert list(offers.expected(later)) == ["minion-0"]


def test_nothing_is_expected_of_an_agent_that_is_gone(offers: OfferRegistry) -> None:
    assert offers.drop_agent("S0") == []
    offers.call_back(6.0)
    assert list(offers.expected(6.0)) == list(offers.remembered(6.0)) == []
