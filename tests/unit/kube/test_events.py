from __future__ import annotations

import pytest

from k8slab.kube.events import reference


@pytest.mark.parametrize(
    ("container", "path"),
    [("", None), ("main", "spec.containers{main}"), ("first", "spec.initContainers{first}")],
)
def test_what_an_event_is_about(container: str, path: str | None) -> None:
    spec = {"initContainers": [{"name": "first"}], "containers": [{"name": "main"}]}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}
    shown = reference(pod, container)
    assert shown.pop("fieldPath", None) == path
    assert shown == {"kind": "Pod", "apiVersion": "v1", "namespace": "n", "name": "p", "uid": "u"}
