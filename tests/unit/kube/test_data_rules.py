"""How much a config map or a secret may hold, and what a secret of a type must."""

from __future__ import annotations

import base64
from typing import Any

import pytest

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


EMPTY, OBJECT = "", base64.b64encode(b"{}").decode()


@pytest.mark.parametrize(
    ("kind", "data", "lacking"),
    [
        ("Opaque", {}, []),
        ("example.com/own", {}, []),
        ("kubernetes.io/tls", {"tls.crt": EMPTY, "tls.key": EMPTY}, []),
        ("kubernetes.io/tls", {"tls.crt": EMPTY}, ["tls.key"]),
        ("kubernetes.io/ssh-auth", {}, ["ssh-privatekey"]),
        ("kubernetes.io/basic-auth", {"password": EMPTY}, []),
        ("kubernetes.io/basic-auth", {}, ["username", "password"]),
        ("kubernetes.io/dockercfg", {".dockercfg": OBJECT}, []),
        ("kubernetes.io/dockerconfigjson", {"a": OBJECT}, [".dockerconfigjson"]),
    ],
)
def test_a_secret_of_a_type_has_what_is_looked_for(kind: str, data: dict[str, str], lacking: list[str]) -> None:
    assert problems(SECRET, type=kind, data=data) == [f"data[{key}]: Required value" for key in lacking]


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_what_registries_are_told_is_an_object(text: str) -> None:
    data = {".dockerconfigjson": base64.b64encode(text.encode()).decode()}
    (why,) = problems(SECRET, type="kubernetes.io/dockerconfigjson", data=data)
    shown = 'Invalid value: "<secret contents redacted>"'
    assert why == f"data[.dockerconfigjson]: {shown}: must be a JSON object"


def test_an_account_s_token_names_the_account() -> None:
    (why,) = problems(SECRET, type="kubernetes.io/service-account-token")
    assert why == "metadata.annotations[kubernetes.io/service-account.name]: Required value"
    named = {"name": "x", "annotations": {"kubernetes.io/service-account.name": "robot"}}
    assert problems(SECRET, type="kubernetes.io/service-account-token", metadata=named) == []


def test_an_object_has_one_controller() -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b", "controller": True}
    owned: dict[str, Any] = {"metadata": {"name": "x", "ownerReferences": [owner, {**owner, "controller": False}]}}
    assert metadata(owned, None, subdomain, namespaced=False) == []
    owned["metadata"]["ownerReferences"].append({**owner, "name": "c"})
    (why,) = metadata(owned, None, subdomain, namespaced=False)
    assert str(why).endswith('Found "true" in references for Pod/a and Pod/c')
