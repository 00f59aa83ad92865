from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k8slab.lab.switch import names

LABS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)


@given(LABS, LABS)
def test_names_fit_an_interface_and_lead_back_to_their_lab(lab: str, node: str) -> None:
    name = names.link_name(lab, node)
    assert len(name) <= 15
    assert names.owner(name, names.link_altname(lab, node)) == lab
    assert len(names.bridge_name(lab)) <= 15
    assert names.owner(names.bridge_name(lab), names.bridge_altname(lab)) == lab


def test_a_dot_in_a_name_does_not_make_one_lab_the_owner_of_anothers_wire() -> None:
    assert names.owner(names.link_name("a.b", "c"), "k8slab.a.b.c") == "a.b"
    assert names.owner(names.link_name("a", "b.c"), "k8slab.a.b.c") == "a"


def test_a_strangers_interface_has_no_owner() -> None:
    assert names.owner("eth0", "") == ""
    assert names.owner("eth0", "k8slab.demo.etcd-0") == ""
    assert names.owner(names.link_name("demo", "etcd-0"), "enp3s0") == ""


def test_groups_are_the_labs_own_and_never_everybodys() -> None:
    groups = names.groups("demo")
    assert groups == names.groups("demo")
    assert len(set(groups)) == len(groups)
    assert set(groups).isdisjoint(names.groups("other"))
    assert min(groups) > 0xFFFF
    assert max(groups) < 1 << 31


def test_a_bridges_mac_is_local_and_unicast() -> None:
    octets = bytes.fromhex(names.bridge_mac("demo").replace(":", ""))
    assert len(octets) == 6
    assert octets[0] == 0x02


def test_comments_lead_back_to_their_lab() -> None:
    assert names.lab_of_comment(names.comment("demo")) == "demo"
    assert names.lab_of_comment("someone else's") == ""
