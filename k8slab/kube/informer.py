"""A local copy of a resource that follows the server: one list, then a watch, resumed for as long as it runs.

The copy survives the server: while it is away the last known objects stay, and when it is back the differences are
told to the subscribers as if they had been watched.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from k8slab.kube.client import ApiError, ApiUnavailable, KubeClient, Object
from k8slab.kube.resource_paths import RESOURCES

log = logging.getLogger(__name__)

# event type (ADDED, MODIFIED, DELETED), the object, the object before (None for ADDED)
Callback = Callable[[str, Object, Object | None], None]
Trim = Callable[[Object], Object]

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 3.0


def key_of(obj: Object) -> str:
    """ "namespace/name", or "name" for what has no namespace."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])


def without_managed_fields(obj: Object) -> Object:
    """What nobody asks for who only reads, and is half of an object."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    def __init__(
        self,
        client: KubeClient,
        resource: str,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        trim: Trim | None = None,
    ) -> None:
        """``trim``: what is kept of each object, and told; for copies that would be large."""
        self._trim = trim
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._objects: dict[str, Object] = {}
        self._callbacks: list[Callback] = []
        self._synced = asyncio.Event()
        self._version = ""
        self._pause = FIRST_PAUSE

    @property
    def resource(self) -> str:
        return self._resource

    @property
    def type(self) -> tuple[str, str]:
        """The apiVersion and kind of its objects."""
        where = RESOURCES[self._resource]
        return where.api_version, where.kind

    def has_seen(self, resource_version: str) -> bool:
        """Whether everything up to this version of anything is in the copy: one number counts all changes."""
        return bool(self._version) and int(self._version) >= int(resource_version)

    @property
    def cache(self) -> Mapping[str, Object]:
        """The live copy, read-only; its objects must not be changed either."""
        return MappingProxyType(self._objects)

    def subscribe(self, callback: Callback) -> None:
        """Call back for every change from now on; what is there already is told at once as ADDED."""
        self._callbacks.append(callback)
        for obj in list(self._objects.values()):
            self._tell(callback, "ADDED", obj, None)

    async def synced(self) -> None:
        """Wait for the first complete list."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the server until cancelled."""
        while True:
            began = asyncio.get_running_loop().time()
            try:
                if not self._version:
                    await self._relist()
                await self._follow()
                if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                    self._pause = FIRST_PAUSE
            except ApiError as error:
                if error.is_expired:
                    self._version = ""
                else:
                    log.warning("%s: %s", self._resource, error)
            except ApiUnavailable as trouble:
                log.info("%s: %s; trying again", self._resource, trouble)
            await asyncio.sleep(self._pause * random.uniform(0.7, 1.3))
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _relist(self) -> None:
        listed = await self._client.list(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        found = {key_of(obj): obj for obj in listed.items}
        for key in self._objects.keys() - found.keys():
            self._change("DELETED", self._objects[key])
        for obj in found.values():
            self._change("MODIFIED", obj)
        self._version = listed.resource_version
        self._synced.set()

    async def _follow(self) -> None:
        events = self._client.watch(
            self._resource,
            self._namespace,
            resource_version=self._version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_seconds=random.randint(300, 600),
            bookmarks=True,
        )
        async for event in events:
            # Only now the server is known to serve: one that accepts a watch and breaks it must not be hurried.
            self._pause = FIRST_PAUSE
            if event.type != "BOOKMARK":
                self._change(event.type, event.object)
            self._version = event.object["metadata"]["resourceVersion"]

    def _change(self, kind: str, obj: Object) -> None:
        key = key_of(obj)
        if self._trim is not None:
            obj = self._trim(obj)
        old = self._objects.get(key)
        if kind == "DELETED":
            if old is None:
                return
            del self._objects[key]
        else:
            if old is not None and old["metadata"].get("resourceVersion") == obj["metadata"].get("resourceVersion"):
                return
            if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
                # The name was given to another object while nobody watched.
                self._change("DELETED", old)
                old = None
            kind = "ADDED" if old is None else "MODIFIED"
            self._objects[key] = obj
        for callback in list(self._callbacks):
            self._tell(callback, kind, obj, old)

    def _tell(self, callback: Callback, kind: str, obj: Object, old: Object | None) -> None:
        try:
            callback(kind, obj, old)
        except Exception:
            # One subscriber's mistake must not stop the copy that the others rely on.
            log.exception("%s: a subscriber failed on %s %s", self._resource, kind, key_of(obj))
