"""What may be said of a node."""

from __future__ import annotations

from k8slab.kube.api.kinds.node import NODE


def test_a_taint_s_value_is_one_that_a_toleration_can_name() -> None:
    def said(value: str) -> list[str]:
        taint = {"key": "a", "value": value, "effect": "NoSchedule"}
        return [str(one) for one in NODE.validate({"metadata": {"name": "n"}, "spec": {"taints": [taint]}}, None)]

    assert said("") == said("b") == []
    (why,) = said("b c")
    assert why.startswith('spec.taints[0].value: Invalid value: "b c": a valid label must be an empty string or ')
