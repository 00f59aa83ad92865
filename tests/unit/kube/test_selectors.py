from __future__ import annotations

import pytest

from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.selectors import parse, parse_labels


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ("a=b", {"a": "b"}, True),
        ("a == b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a in (b, c),d", {"a": "c", "d": "1"}, True),
        ("a in (b,c)", {"a": "d"}, False),
        ("a notin (b)", {}, True),
        ("a in (,b)", {"a": ""}, True),
        ("example.com/app=x", {"example.com/app": "x"}, True),
        ("a=", {"a": ""}, True),
        ("n>3", {"n": "4"}, True),
        ("n<3", {"n": "4"}, False),
        ("n>3", {"n": "many"}, False),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], holds: bool) -> None:
    assert parse(text, "", {}).matches({"metadata": {"labels": labels}}) is holds


@pytest.mark.parametrize("text", ["a,,b", "a in b", "a in (b", "=b", "a b", "a=b,", "(", "a>x", "-a=b", "a=b c"])
def test_what_is_no_label_selector(text: str) -> None:
    with pytest.raises(ApiFailure) as failure:
        parse_labels(text)
    assert failure.value.code == 400


def test_field_selectors_read_the_kinds_fields() -> None:
    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "m"}, "status": {"phase": "Running"}}
    assert parse("", "spec.nodeName=m,status.phase!=Failed", POD.readers).matches(pod)
    assert not parse("", "spec.nodeName=", POD.readers).matches(pod)
    assert parse("", "metadata.name=p", POD.readers).only_name() == "p"
    with pytest.raises(ApiFailure, match=r"field label not supported: spec\.foo"):
        parse("", "spec.foo=1", POD.readers)
