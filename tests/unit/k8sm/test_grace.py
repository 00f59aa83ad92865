from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from k8slab.k8sm.executor.executor import _grace
from k8slab.kube.clock import rfc3339


def deleted(grace: int, *, ago: float) -> dict[str, Any]:
    """A pod that was deleted so many seconds ago; the API notes when its grace ends."""
    end = datetime.now(UTC) + timedelta(seconds=grace - ago)
    meta = {"deletionTimestamp": rfc3339(end), "deletionGracePeriodSeconds": grace}
    return {"metadata": meta, "spec": {"terminationGracePeriodSeconds": 50}}


@pytest.mark.parametrize(
    ("spec", "grace"),
    [({}, 30), ({"terminationGracePeriodSeconds": 7}, 7)],
)
def test_a_pod_that_is_not_deleted_has_all_of_its_grace(spec: dict[str, Any], grace: int) -> None:
    assert _grace({"metadata": {}, "spec": spec}) == grace


@pytest.mark.parametrize(
    ("grace", "ago", "least", "most"), [(20, 0, 20, 20), (20, 10, 7, 10), (20, 600, 1, 1), (0, 600, 0, 0)]
)
def test_what_is_left_of_a_deleted_pods_grace(grace: int, ago: float, least: int, most: int) -> None:
    assert least <= _grace(deleted(grace, ago=ago)) <= most
