"""A kubelet's watch is told of its node's pods and of no others."""

from __future__ import annotations

from typing import Any

import orjson

from k8slab.kube.api import selectors
from k8slab.kube.api.cache import KindCache, Watcher
from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.negotiation import Wanted
from k8slab.kube.api.storage.base import Change
from k8slab.kube.api.watching import Stream, WatchOptions


def change(name: str, revision: int, node: str | None) -> Change:
    pod: dict[str, Any] = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {"nodeName": node} if node else {},
    }
    return Change(f"{POD.prefix}n/{name}", orjson.dumps(pod), revision)


def gone(name: str, revision: int) -> Change:
    return Change(f"{POD.prefix}n/{name}", None, revision)


def told(watcher: Watcher, text: str) -> list[tuple[str, str]]:
    options = WatchOptions(selectors.parse("", text, POD.readers))
    stream = Stream(POD, POD.scope(""), options, Wanted())
    lines = [orjson.loads(line) for event in watcher.events if (line := stream.line(event))]
    return [(line["type"], line["object"]["metadata"]["name"]) for line in lines]


def test_a_watch_of_one_node_hears_of_its_pods_coming_and_going() -> None:
    held = KindCache(POD)
    mine, others, everyone = (Watcher(100) for _ in range(3))
    held.join(mine, "minion-0")
    held.join(others, "minion-1")
    held.join(everyone)
    for one in (
        change("a", 1, None),
        change("a", 2, "minion-0"),
        change("b", 3, "minion-1"),
        change("a", 4, "minion-0"),
        gone("a", 5),
    ):
        held.apply(one)
    assert [event.revision for event in mine.events] == [2, 4, 5]
    assert told(mine, "spec.nodeName=minion-0") == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert [event.revision for event in others.events] == [3]
    assert len(everyone.events) == 5
    held.leave(mine, "minion-0")
    held.apply(change("c", 6, "minion-0"))
    assert len(mine.events) == 3
    held.reset({}, 7)
    assert others.closed
    assert everyone.closed


def test_only_an_equality_gives_a_share() -> None:
    def share(text: str) -> str | None:
        return selectors.parse("", text, POD.readers).only("spec.nodeName")

    assert share("spec.nodeName=minion-0,status.phase!=Failed") == "minion-0"
    assert share("spec.nodeName=") == ""
    assert share("spec.nodeName!=minion-0") is None
    assert share("status.phase=Running") is None
