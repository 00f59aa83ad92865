"""How much a config map or a secret may hold."""

from __future__ import annotations

import base64
from typing import Any

from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.small import CONFIG_MAP, LARGEST, SECRET
from k8slab.kube.api.validation import LONGEST_ANNOTATIONS, metadata, subdomain


def problems(kind: Kind, **fields: Any) -> list[str]:
    return [str(one) for one in kind.validate({"metadata": {"name": "x"}, **fields}, None)]


def test_what_a_secret_holds_is_measured_as_the_bytes_that_it_stands_for() -> None:
    full = base64.b64encode(bytes(LARGEST)).decode()
    assert problems(SECRET, data={"a": full}) == []
    assert problems(CONFIG_MAP, binaryData={"a": full}) == []
    over = base64.b64encode(bytes(LARGEST + 1)).decode()
    assert problems(SECRET, data={"a": over}) == ["data: Too long: may not be more than 1048576 bytes"]


def test_text_is_measured_in_bytes() -> None:
    assert problems(CONFIG_MAP, data={"a": "é" * (LARGEST // 2)}) == []
    (why,) = problems(CONFIG_MAP, data={"a": "é" * (LARGEST // 2 + 1)})
    assert why == "[]: Too long: may not be more than 1048576 bytes"
    annotated = {"metadata": {"name": "x", "annotations": {"a": "é" * (LONGEST_ANNOTATIONS // 2)}}}
    (problem,) = metadata(annotated, None, subdomain, namespaced=False)
    assert str(problem) == "metadata.annotations: Too long: may not be more than 262144 bytes"
