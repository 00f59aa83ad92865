"""Taking a pod's object out of the API."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.k8sm import pod_objects
from k8slab.k8sm.pod_objects import delete_object
from k8slab.kube.client import ApiError, ApiUnavailable

POD = {"metadata": {"namespace": "default", "name": "web", "uid": "u"}}
AWAY = ApiUnavailable("nobody is there")
BUSY = ApiError(429, "TooManyRequests", "later")


class Api:
    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)

    async def delete(self, *what: Any, **how: Any) -> None:
        assert (what, how) == (("pods", "web", "default"), {"grace_period_seconds": 0, "uid": "u"})
        if (answer := self.answers.pop(0)) is not None:
            raise answer


@pytest.mark.parametrize(
    ("answers", "gone"),
    [
        ([None], True),
        ([AWAY, BUSY, None], True),
        ([ApiError(404, "NotFound", "no such pod")], True),
        ([ApiError(409, "Conflict", "another pod has its name")], True),
        ([AWAY, ApiError(403, "Forbidden", "not this one")], False),
    ],
)
async def test_an_object_goes_as_soon_as_the_api_can_be_told(
    answers: list[Exception | None], gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_objects, "FIRST_PAUSE", 0.0)
    api: Any = Api(*answers)
    assert await delete_object(api, POD) is gone
    assert api.answers == []
