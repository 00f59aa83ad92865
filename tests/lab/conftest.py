"""Whole labs on the real engine, up for as long as a module's tests need them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from driving import NGINX, is_running, k8slab, pod, until

# A shell that runs the tests in the background ignores Ctrl-C for them, and so for every command that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The default lab's name, unless the caller's environment gives it another one.
LAB = os.environ.get("K8SLAB_LAB", "k8s-mesos")


@pytest.fixture(scope="session")
def hermetic() -> None:
    """Labs of tests have no way out, whatever the caller's environment says."""
    os.environ.setdefault("K8SLAB_SET", "egress=false")


@pytest.fixture(scope="module")
def lab(hermetic: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The default lab, up and whole; removed when the module's tests are done."""
    k8slab("rm", "--lab", LAB)
    try:
        yield k8slab("run", "-o", "json").json
    finally:
        k8slab("rm", "--lab", LAB)


@pytest.fixture
def whole(lab: dict[str, Any]) -> dict[str, Any]:
    """The lab, made whole again if an earlier test left it otherwise."""
    return dict(k8slab("run", "-o", "json").json)


@pytest.fixture
def nginx(whole: dict[str, Any]) -> dict[str, Any]:
    """The nginx pod, created with kubectl if it is not there, and running."""
    if not pod():
        k8slab("kubectl", "create", "-f", str(NGINX))
    return until("nginx is Running", is_running, within=20)
