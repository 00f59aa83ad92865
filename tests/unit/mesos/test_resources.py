from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.mesos.attributes import parse_attributes, summary
from k8slab.mesos.durations import format_duration, parse_duration
from k8slab.mesos.reservations import DYNAMIC, STATIC, Reservation
from k8slab.mesos.resources import NONE, Resources, cut, join, with_reservations

names = st.sampled_from(["cpus", "mem", "disk"])
stacks = (
    (Reservation(DYNAMIC, "web", "me"),),
    (Reservation(DYNAMIC, "web", None, (("a", "b"), ("c", None))),),
    (Reservation(STATIC, "web"), Reservation(DYNAMIC, "web/shop", "me")),
)
keys = st.tuples(names, st.sampled_from(["*", "web", *stacks]))
spans = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 5)).map(lambda pair: (pair[0], sum(pair))), max_size=6
).map(join)
bundles = st.builds(
    Resources,
    scalars=st.dictionaries(keys, st.integers(1, 10_000), max_size=4),
    ranges=st.dictionaries(st.just(("ports", "*")), spans.filter(bool), max_size=1),
    sets=st.dictionaries(st.just(("zones", "*")), st.frozensets(st.sampled_from("abcd"), min_size=1), max_size=1),
)


def test_flag_text() -> None:
    parsed = Resources.parse("cpus:4;mem:1024; disk(web):0.5 ;ports:[31000-31005, 8080-8080];zones(web):{a, b}")
    assert parsed.scalars == {("cpus", "*"): 4000, ("mem", "*"): 1_024_000, ("disk", "web"): 500}
    assert parsed.ranges == {("ports", "*"): ((8080, 8080), (31000, 31005))}
    assert parsed.sets == {("zones", "web"): frozenset("ab")}
    assert parsed.summary()["ports"] == "[8080-8080, 31000-31005]"
    assert parsed.summary()["gpus"] == 0


def test_flag_json() -> None:
    text = '[{"name":"cpus","type":"SCALAR","scalar":{"value":2.5},"role":"web"}]'
    assert Resources.parse(text).scalars == {("cpus", "web"): 2500}


@pytest.mark.parametrize("text", ["cpus", "cpus:x", "cpus:-1", "ports:[1-]", "ports:[5-1]", ":3", "cpus:nan"])
def test_what_is_no_resource(text: str) -> None:
    with pytest.raises(ValueError):
        Resources.parse(text)


def test_fractions_do_not_drift() -> None:
    tenth = Resources.parse("cpus:0.1")
    whole = NONE
    for _ in range(10):
        whole += tenth
    assert whole == Resources.parse("cpus:1")


@given(bundles)
def test_json_round_trip(bundle: Resources) -> None:
    assert Resources.from_json(bundle.to_json()) == bundle
    assert Resources.from_json(bundle.to_json(refined=True, allocation_role="web")) == bundle


@given(bundles, bundles)
def test_what_is_left_and_what_is_taken_make_the_whole(whole: Resources, taken: Resources) -> None:
    left = whole - taken
    assert whole.contains(left)
    if whole.contains(taken):
        assert left + taken == whole
        assert not (left - left)


@given(spans, spans)
def test_cutting_ranges(given_spans: tuple[tuple[int, int], ...], taken: tuple[tuple[int, int], ...]) -> None:
    def numbers(of: tuple[tuple[int, int], ...]) -> set[int]:
        return {number for low, high in of for number in range(low, high + 1)}

    left = cut(given_spans, taken)
    assert numbers(left) == numbers(given_spans) - numbers(taken)
    assert left == join(left)


def test_attributes() -> None:
    attributes = parse_attributes("rack:abc;level:10;range:[1-5];odd:a:b")
    assert summary(attributes) == {"rack": "abc", "level": 10.0, "range": "[1-5]", "odd": "a:b"}
    assert attributes[0] == {"name": "rack", "type": "TEXT", "text": {"value": "abc"}}
    with pytest.raises(ValueError, match="name:value"):
        parse_attributes("rack")


@pytest.mark.parametrize(("text", "seconds"), [("10secs", 10), ("1.5mins", 90), ("250ms", 0.25), ("2weeks", 1209600)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


def test_durations_as_text() -> None:
    assert format_duration(900) == "15mins"
    assert format_duration(5) == "5secs"
    with pytest.raises(ValueError, match="secs"):
        parse_duration("10")


@given(bundles)
def test_reservations_are_taken_off_one_by_one(bundle: Resources) -> None:
    assert bundle.stripped().totals() == bundle.popped().totals() == bundle.totals()
    assert not bundle.stripped().dynamic()
    assert not bundle.popped().popped().reserved()
    assert with_reservations(bundle.stripped(), bundle) == bundle
    assert total_of(bundle) == bundle


def total_of(bundle: Resources) -> Resources:
    whole = bundle.unreserved()
    for part in bundle.reserved().values():
        whole += part
    return whole


def test_reservations_in_both_forms() -> None:
    old = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}, "role": "web", "reservation": {"principal": "p"}}
    new = {
        "name": "cpus",
        "type": "SCALAR",
        "scalar": {"value": 1.0},
        "reservations": [{"type": "DYNAMIC", "role": "web", "principal": "p"}],
    }
    assert Resources.from_json([old]) == Resources.from_json([new])
    assert Resources.from_json([new]).to_json() == [old]
    assert Resources.from_json([old]).to_json(refined=True) == [new]


def test_more_reserved_than_there_is() -> None:
    reserved = Resources({("cpus", (Reservation(DYNAMIC, "web"),)): 2000})
    with pytest.raises(ValueError, match="only cpus:1"):
        with_reservations(Resources.parse("cpus:1"), reserved)


def test_nothing_is_reserved_for_everybody() -> None:
    with pytest.raises(ValueError, match="other than"):
        Resources.from_json(
            [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "reservations": [{"role": "*"}]}]
        )
