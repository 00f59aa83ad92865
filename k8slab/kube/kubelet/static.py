"""Runs the pods that are files on the node, API or no API, and shows each to the API as a mirror pod.

A file that changes makes another pod, a file that goes ends it. A mirror that is deleted or changed is made anew.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.informer import Informer
from k8slab.kube.kubelet.kubelet import Kubelet
from k8slab.kube.kubelet.manifests import MIRROR, ManifestError, Stamp, is_mirror, mirror_of, mirrors, pod_in, stamps
from k8slab.kube.kubelet.naming import display_name
from k8slab.kube.kubelet.spec import termination_grace

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
RETRY: Final = 2.0


class StaticPods:
    """``pods``: the API's pods of this node, run by the owner."""

    def __init__(self, kubelet: Kubelet, client: KubeClient, directory: Path, pods: Informer) -> None:
        self._kubelet = kubelet
        self._client = client
        self._directory = directory
        self._shown = pods
        self._stamps: dict[Path, Stamp] = {}
        self._pods: dict[Path, Object] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    @property
    def any(self) -> bool:
        return bool(self._pods)

    def read(self) -> None:
        """Take over what is there; at the start before anybody collects containers that nobody wants."""
        found = stamps(self._directory)
        for path in self._stamps.keys() - found.keys():
            self._drop(path)
        changed = [path for path, stamp in found.items() if self._stamps.get(path) != stamp]
        self._stamps = found
        for path in changed:
            self._take(path)

    async def run(self) -> None:
        """Follow the directory and the mirrors until cancelled; the pods go on."""
        self._shown.subscribe(self._mirror_changed)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_directory(), name="static pods")
            group.create_task(self._follow_mirrors(), name="mirror pods")

    async def _follow_directory(self) -> None:
        while True:
            self.read()
            await asyncio.sleep(LOOK_EVERY)

    async def _follow_mirrors(self) -> None:
        await self._shown.synced()
        while True:
            self._wake.clear()
            try:
                await self._mend()
            except (ApiError, ApiUnavailable) as trouble:
                log.info("mirrors of static pods: %s; trying again", trouble)
                await asyncio.sleep(RETRY)
                continue
            await self._wake.wait()

    def _take(self, path: Path) -> None:
        try:
            pod = pod_in(path, self._kubelet.node)
        except ManifestError as error:
            # What ran so far goes on: a slip in an editor must not end it.
            log.error("no static pod: %s", error)
            return
        before = self._pods.get(path)
        if before is not None and before["metadata"]["uid"] == pod["metadata"]["uid"]:
            return
        self._pods[path] = pod
        self._start(pod, after=before)

    def _drop(self, path: Path) -> None:
        if pod := self._pods.pop(path, None):
            log.info("static pod %s has lost its file", display_name(pod))
            self._start(None, after=pod)

    def _start(self, pod: Object | None, *, after: Object | None) -> None:
        """Run ``pod`` once ``after``, which bears its name and holds its ports, has ended."""
        if after is None:
            assert pod is not None
            self._kubelet.add(pod)
            self._wake.set()
            return
        ending = self._replace(after, pod)
        self._ending[after["metadata"]["uid"]] = asyncio.create_task(ending, name=f"end of {display_name(after)}")

    async def _replace(self, before: Object, pod: Object | None) -> None:
        uid = before["metadata"]["uid"]
        await self._kubelet.kill(uid, termination_grace(before))
        self._ending.pop(uid, None)
        if pod is not None and pod in self._pods.values():
            self._kubelet.add(pod)
        self._wake.set()

    def _mirror_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        if is_mirror(pod) or any(_key(one) == _key(pod) for one in self._pods.values()):
            self._wake.set()

    async def _mend(self) -> None:
        """Make the API show every static pod as it is, and none that is not. Raises ApiError and ApiUnavailable."""
        wanted = {_key(pod): pod for pod in self._pods.values()}
        for key, shown in list(self._shown.cache.items()):
            if not is_mirror(shown):
                continue
            pod = wanted.get(key)
            if pod is None and shown["metadata"]["annotations"][MIRROR] in self._ending:
                continue
            if pod is None or not mirrors(shown, pod) or shown["metadata"].get("deletionTimestamp"):
                await self._remove(shown)
            else:
                self._kubelet.mirrored(pod, shown)
        for key, pod in wanted.items():
            if key not in self._shown.cache and pod["metadata"]["uid"] in self._kubelet.workers:
                await self._show(pod)

    async def _show(self, pod: Object) -> None:
        node = await self._client.get("nodes", self._kubelet.node)
        try:
            await self._client.create("pods", mirror_of(pod, node))
        except ApiError as error:
            if not error.is_already_exists:
                if error.code in (403, 422):
                    log.error("the API does not show static pod %s: %s", display_name(pod), error.message)
                    return
                raise

    async def _remove(self, shown: Object) -> None:
        meta = shown["metadata"]
        try:
            await self._client.delete("pods", meta["name"], meta["namespace"], grace_period_seconds=0, uid=meta["uid"])
        except ApiError as error:
            if not (error.is_not_found or error.is_conflict):
                raise


def _key(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
