"""The flags of the controllers' process."""

from __future__ import annotations

import pytest

from k8slab.kube.controllers.main import settings

API = "--master=http://127.0.0.1:8080"


def test_a_zone_is_large_from_some_number_of_nodes_on() -> None:
    assert settings([API]).eviction_rates.large == 50
    assert settings([API, "--large-cluster-size-threshold=0"]).eviction_rates.large == 0
    assert settings([API, "--unhealthy-zone-threshold=0.7"]).eviction_rates.unhealthy == 0.7


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--large-cluster-size-threshold=-1", "'-1' is not a whole number from 0 upwards"),
        ("--large-cluster-size-threshold=many", "'many' is not a whole number from 0 upwards"),
        ("--large-cluster-size-threshold=1.5", "'1.5' is not a whole number from 0 upwards"),
        ("--max-endpoints-per-slice=0", "'0' is not a whole number from 1 to 1000"),
        ("--max-endpoints-per-slice=1001", "'1001' is not a whole number from 1 to 1000"),
        ("--unhealthy-zone-threshold=-0.1", "'-0.1' is not a number from 0 upwards"),
        ("--node-eviction-rate=nan", "'nan' is not a number from 0 upwards"),
        ("--secondary-node-eviction-rate=inf", "'inf' is not a number from 0 upwards"),
    ],
)
def test_what_no_number_is_is_said(flag: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings([API, flag])
    assert ended.value.code == 2
    assert f"{flag.partition('=')[0]}: {why}" in capsys.readouterr().err
