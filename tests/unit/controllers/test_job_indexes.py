"""Indexes as pods and statuses say them, by whoever may have written them."""

from __future__ import annotations

import pytest

from k8slab.kube.controllers.job_indexes import COMPLETION_INDEX, INDEX_FAILURES, NONE, failures_before, index_of, runs


@pytest.mark.parametrize("text", ["²", "-1", "x", "9" * 5000])
def test_what_is_no_number_is_no_index(text: str) -> None:
    pod = {"metadata": {"annotations": {COMPLETION_INDEX: text, INDEX_FAILURES: text}}}
    assert (index_of(pod), failures_before(pod), runs(text, 9)) == (NONE, 0, [])
