from __future__ import annotations

import json

import pytest

from k8slab.lab.switch.config import CONFIG, Config, ConfigError, Route, WireSpec, lab_from_environment

GOOD = {
    "lab": "demo",
    "subnet": "10.9.0.0/24",
    "gateway": "10.9.0.1",
    "mtu": 1400,
    "egress": False,
    "pods": "10.1.0.0/16",
}
WIRE = {
    "address": "10.9.0.2",
    "prefix": 24,
    "mac": "02:0C:00:00:00:01",
    "routes": [{"to": "10.1.0.0/24", "via": "10.9.0.3"}],
}


def test_the_lab_comes_from_the_environment() -> None:
    config = Config.from_environment({CONFIG: json.dumps(GOOD)})
    assert (config.lab, str(config.subnet), str(config.gateway)) == ("demo", "10.9.0.0/24", "10.9.0.1")
    assert (config.mtu, config.egress) == (1400, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not set"),
        ("{", "not understood"),
        ("[]", "not understood"),
        ('{"lab": ""}', "names no lab"),
        (json.dumps({**GOOD, "subnet": "10.9.0.1/24"}), "not understood"),
        (json.dumps({**GOOD, "gateway": "10.8.0.1"}), "outside the subnet"),
    ],
)
def test_what_is_wrong_with_it_is_said(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Config.from_environment({CONFIG: text})


def test_cleaning_up_needs_the_labs_name_alone() -> None:
    assert lab_from_environment({CONFIG: '{"lab": "demo"}'}) == "demo"


def test_a_nodes_wire_comes_from_its_label() -> None:
    spec = WireSpec.from_label(json.dumps(WIRE))
    assert spec == WireSpec("10.9.0.2", 24, "02:0c:00:00:00:01", (Route("10.1.0.0/24", "10.9.0.3"),))
    assert WireSpec.from_label(json.dumps({**WIRE, "routes": None})).routes == ()
    on_the_wire = {**WIRE, "routes": [{"to": "10.0.0.0/16", "via": ""}]}
    assert WireSpec.from_label(json.dumps(on_the_wire)).routes == (Route("10.0.0.0/16", ""),)


@pytest.mark.parametrize(
    "changed",
    [
        {"address": "10.9.0"},
        {"mac": "03:00:00:00:00:01"},
        {"mac": "02:00"},
        {"mac": "no"},
        {"prefix": 33},
        {"routes": [{"to": "10.1.0.1/24", "via": "10.9.0.3"}]},
    ],
)
def test_a_label_that_cannot_be_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="label of its wire"):
        WireSpec.from_label(json.dumps({**WIRE, **changed}))
