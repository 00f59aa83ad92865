"""Runs the pods it is given in the node's Docker Engine. Where pods come from is its owner's business.

add(pod)            run it; one that the engine has already is taken over as it is
update(pod)         the API's newer view of a pod
kill(uid, grace)    end it and remove every trace of it
collect(wanted)     end the containers of pods that are neither known here nor wanted
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.events import EventRecorder
from k8slab.kube.informer import Informer
from k8slab.kube.kubelet import naming
from k8slab.kube.kubelet.context import INFRA_IMAGE, ROOT, Context, Pod
from k8slab.kube.kubelet.engine import Engine, EngineError, EngineUnavailable
from k8slab.kube.kubelet.images import Images
from k8slab.kube.kubelet.resolver import DnsConfig
from k8slab.kube.kubelet.spec import is_static
from k8slab.kube.kubelet.status import ENDED
from k8slab.kube.kubelet.supplies import ApiSupplies
from k8slab.kube.kubelet.volumes import PodDirectory, remains
from k8slab.kube.kubelet.worker import PodWorker
from k8slab.kube.kubelet.writer import StatusWriter

log = logging.getLogger(__name__)

_RECONNECT: Final = 0.5
_PATIENCE: Final = 3.0
_INSIST_PERIOD: Final = 5.0
_LAST_WORDS: Final = 2.0
_ENDS: Final = frozenset({"die", "destroy", "oom", "pause", "unpause"})

StatusListener = Callable[[Pod, Object], None]


class Kubelet:
    def __init__(
        self,
        client: KubeClient,
        engine: Engine,
        *,
        node: str,
        address: str,
        image_store: Path,
        infra_image: str = INFRA_IMAGE,
        root: Path = ROOT,
        dns: DnsConfig | None = None,
        on_status: StatusListener | None = None,
    ) -> None:
        self._client = client
        self._engine = engine
        self._recorder = EventRecorder(client, "kubelet", host=node)
        self._writer = StatusWriter(client)
        self._services = Informer(client, "services")
        self._supplies = ApiSupplies(client, node, self._supplies_changed)
        self._listener = on_status
        self._workers: dict[str, PodWorker] = {}
        # Of static pods: by their uids those of the mirrors that the API shows for them.
        self._mirrors: dict[str, str] = {}
        self._context = Context(
            engine=engine,
            images=Images(engine, image_store),
            recorder=self._recorder,
            node=node,
            address=address,
            services=self._list_services,
            supplies=self._supplies,
            publish=self._publish,
            root=root,
            infra_image=infra_image,
            dns=dns or DnsConfig(),
        )

    @property
    def workers(self) -> Mapping[str, PodWorker]:
        """By uid."""
        return MappingProxyType(self._workers)

    @property
    def node(self) -> str:
        return self._context.node

    @property
    def engine(self) -> Engine:
        return self._engine

    async def run(self) -> None:
        """Follow the engine and write statuses and events until cancelled; pods then go on without a kubelet."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_engine(), name="engine events")
                group.create_task(self._writer.run(), name="pod statuses")
                group.create_task(self._recorder.run(), name="events")
                group.create_task(self._insist(), name="insistence")
                group.create_task(self._services.run(), name="services")
        finally:
            await asyncio.gather(*(worker.stop_watching() for worker in self._workers.values()))
            await self._supplies.close()

    def add(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        if uid in self._workers:
            self._workers[uid].update(pod)
            return
        self._workers[uid] = PodWorker(self._context, pod)
        self._workers[uid].start()

    def update(self, pod: Pod) -> None:
        if worker := self._workers.get(pod["metadata"]["uid"]):
            worker.update(pod)

    def mirrored(self, pod: Pod, shown: Pod) -> None:
        """The API shows the static pod as ``shown``: that one gets its statuses."""
        uid, mirror = pod["metadata"]["uid"], shown["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is None:
            return
        worker.update({**pod, "status": shown.get("status") or {}})
        if self._mirrors.get(uid) != mirror:
            self._mirrors[uid] = mirror
            worker.repeat()

    async def kill(self, uid: str, grace: int) -> None:
        """Returns when no container of it is left. Killing again, with less grace, hurries the first call up."""
        worker = self._workers.get(uid)
        if worker is None:
            return
        await worker.kill(grace)
        with contextlib.suppress(TimeoutError):
            # How it ended is worth a moment: with its object gone, nobody will know.
            async with asyncio.timeout(_LAST_WORDS):
                await self._writer.written(self._mirrors.get(uid, uid))
        self._writer.forget(self._mirrors.pop(uid, uid))
        self._supplies.forget(uid)
        if self._workers.get(uid) is worker:
            del self._workers[uid]

    async def collect(self, wanted: set[str]) -> None:
        """Remove what is left of this node's pods that nobody wants any more: containers, and directories without any.

        Raises EngineError and EngineUnavailable.
        """
        for summary in await self._engine.containers({naming.LABEL_NODE: self._context.node}):
            labels = summary["Labels"]
            uid = labels.get(naming.LABEL_UID, "")
            if uid in wanted or uid in self._workers:
                continue
            pod = f"{labels.get(naming.LABEL_NAMESPACE)}/{labels.get(naming.LABEL_POD)}"
            log.info("removing container %s of pod %s, which is no more", labels.get(naming.LABEL_CONTAINER), pod)
            try:
                await self._engine.remove(summary["Id"])
            except EngineError as error:
                log.warning("container %s not removed: %s", summary["Id"][:12], error)
        for uid in remains(self._context.root) - wanted - set(self._workers):
            if await self._engine.containers({naming.LABEL_UID: uid}):
                continue
            log.info("removing the directory of pod %s, which is no more", uid)
            try:
                await PodDirectory(self._context.root, uid, self._supplies).remove()
            except OSError as trouble:
                log.warning("directory of pod %s not removed: %s", uid, trouble)

    async def flush(self, seconds: float) -> None:
        """Wait, at most so long, until the statuses and events are written."""
        try:
            async with asyncio.timeout(seconds):
                await self._writer.flushed()
        except TimeoutError:
            log.warning("some pod statuses were not written in time")
        await self._recorder.drain(seconds)

    def _publish(self, pod: Pod, status: Object) -> None:
        if is_static(pod):
            self._publish_mirror(pod, status)
        else:
            self._writer.publish(pod, status)
        if status["phase"] in ENDED:
            # Nothing of it is ever made again.
            self._supplies.forget(pod["metadata"]["uid"])
        if self._listener is not None:
            self._listener(pod, status)

    def _publish_mirror(self, pod: Pod, status: Object) -> None:
        meta = pod["metadata"]
        if mirror := self._mirrors.get(meta["uid"]):
            self._writer.publish({**pod, "metadata": {**meta, "uid": mirror}}, status)

    def _supplies_changed(self, uid: str) -> None:
        if worker := self._workers.get(uid):
            worker.supplied()

    async def _list_services(self) -> list[Object]:
        """As the API last told them: a container that crashed while it is away must come back."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._services.synced()
        except TimeoutError:
            raise ApiUnavailable("the services of the cluster are not known yet") from None
        return list(self._services.cache.values())

    async def _insist(self) -> None:
        """Say again what the API has otherwise: a node that was silent for a while finds its pods marked unready.

        Only once the node itself counts as ready again, lest two writers take turns.
        """
        while True:
            await asyncio.sleep(_INSIST_PERIOD)
            contradicted = [worker for worker in self._workers.values() if worker.contradicted]
            if not contradicted:
                continue
            try:
                node = await self._client.get("nodes", self._context.node)
            except (ApiError, ApiUnavailable) as trouble:
                log.info("node %s not read: %s", self._context.node, trouble)
                continue
            conditions = (node.get("status") or {}).get("conditions") or ()
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                for worker in contradicted:
                    worker.repeat()

    async def _follow_engine(self) -> None:
        labels = {naming.LABEL_NODE: self._context.node}
        while True:
            try:
                async for event in self._engine.events(labels, _ENDS):
                    if not event:
                        # The stream stands anew: whatever happened before it did is found by looking.
                        for worker in self._workers.values():
                            worker.poke()
                    elif told := self._workers.get(event["Actor"]["Attributes"].get(naming.LABEL_UID, "")):
                        told.poke()
                log.info("the engine ended its event stream; connecting again")
            except (EngineUnavailable, EngineError, ValueError) as trouble:
                # Also what cannot be understood is only a reason to look for oneself: the stream is begun anew.
                log.info("the engine's events are away: %s", trouble)
            await asyncio.sleep(_RECONNECT)
