from __future__ import annotations

import pytest

from k8slab.kube.kubelet import naming
from tests.unit.kubelet.pods import a_pod


def test_a_container_is_named_after_its_pod() -> None:
    assert str(naming.container_name(a_pod(), "web", 3)) == "k8s_web_nginx_default_u-1_3"
    assert str(naming.container_name(a_pod(), naming.SANDBOX, 0)) == "k8s_POD_nginx_default_u-1_0"


def test_a_name_reads_back() -> None:
    name = naming.container_name(a_pod(), "web", 12)
    assert naming.parse(f"/{name}") == name


@pytest.mark.parametrize("foreign", ["nginx", "k8s_web", "x_web_nginx_default_u-1_0", "k8s_web_nginx_default_u-1_x"])
def test_foreign_names_are_no_pods(foreign: str) -> None:
    assert naming.parse(foreign) is None


def test_labels_find_the_pod_again() -> None:
    labels = naming.labels(naming.container_name(a_pod(), "web", 2), "minion-0")
    assert labels[naming.LABEL_UID] == "u-1"
    assert labels[naming.LABEL_NODE] == "minion-0"
    assert labels[naming.LABEL_ATTEMPT] == "2"


def test_the_full_name_is_pod_and_namespace() -> None:
    assert naming.full_name(a_pod()) == "nginx_default"
