"""What may be a name, a label or a key of data."""

from __future__ import annotations

import pytest

from k8slab.kube.api import validation
from k8slab.kube.api.kinds.small import CONFIG_MAP
from k8slab.kube.api.meta import parse_quantity


@pytest.mark.parametrize("rule", [validation.subdomain, validation.label, validation.label_1035])
def test_a_line_break_at_the_end_is_no_part_of_a_name(rule: object) -> None:
    assert callable(rule)
    assert not rule("name")
    assert rule("name\n")


def test_nor_of_a_label_a_quantity_or_a_key_of_data() -> None:
    assert validation.qualified_name("key\n")
    assert validation.labels("metadata.labels", {"key": "value\n"})
    assert parse_quantity("1\n") is None
    data = {"metadata": {"name": "c", "namespace": "n"}, "data": {"key\n": "1"}}
    assert CONFIG_MAP.validate(data, None)
