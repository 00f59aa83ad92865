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
    ("pod", "least", "most"),
    [
        ({"metadata": {}, "spec": {}}, 30, 30),
        ({"metadata": {}, "spec": {"terminationGracePeriodSeconds": 7}}, 7, 7),
        (deleted(20, ago=0), 20, 20),
        (deleted(20, ago=10), 8, 10),
        (deleted(20, ago=600), 1, 1),
        (deleted(0, ago=600), 0, 0),
    ],
)
def test_what_is_left_of_a_pods_grace(pod: dict[str, Any], least: int, most: int) -> None:
    assert least <= _grace(pod) <= most
