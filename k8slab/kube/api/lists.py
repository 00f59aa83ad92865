"""Lists: from the storage as of one revision, page by page, or from the cache when any state will do."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import orjson

from k8slab.kube.api import errors, validation
from k8slab.kube.api.cache import Cache
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.meta import Object, is_number
from k8slab.kube.api.selectors import Selector
from k8slab.kube.api.storage.base import Compacted, FutureRevision, Page, Record, Storage

TOKEN_VERSION: Final = "meta.k8s.io/v1"
# A selective list reads on in chunks of at least this many until its page is full.
CHUNK: Final = 500
PATIENCE: Final = 3.0
TOKEN_TOO_OLD: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True)
class ListOptions:
    """``version`` and ``match`` as in the query; ``limit`` 0 means all."""

    selector: Selector
    limit: int = 0
    token: str = ""
    version: str = ""
    match: str = ""


@dataclass(frozen=True)
class Listing:
    records: list[Record]
    revision: int
    token: str = ""
    remaining: int | None = None


class Lister:
    def __init__(self, storage: Storage, cache: Cache) -> None:
        self._storage = storage
        self._cache = cache

    async def read(self, kind: Kind, namespace: str, options: ListOptions) -> Listing:
        """Raises BadRequest, Expired, TooManyRequests, and Timeout for a version that does not come."""
        _judge(options)
        scope = kind.scope(namespace)
        if not options.token and options.match != "Exact" and await self._may_be_known(options.version):
            found = self._from_cache(kind, scope, options.selector, 0 if options.version == "0" else options.limit)
            if found is not None:
                return found
        name = options.selector.only_name()
        if name and (namespace or not kind.namespaced) and not options.token and options.match != "Exact":
            if options.version:
                await self._reached(int(options.version))
            return await self._single(kind, namespace, name, options)
        start, revision = "", 0
        if options.token:
            revision, start = _decode_token(options.token, scope)
        elif options.match == "Exact":
            revision = int(options.version)
        elif options.version:
            await self._reached(int(options.version))
        try:
            return await self._pages(kind, scope, start, max(revision, 0), options)
        except Compacted:
            if not options.token:
                raise errors.expired(
                    f"The provided resource version {revision} is no longer available: too old resource version"
                ) from None
            raise errors.expired(
                TOKEN_TOO_OLD,
                fresh_token=_encode_token(-1, start, scope),
            ) from None
        except FutureRevision:
            raise errors.too_large_version(revision, self._cache.revision) from None

    async def _may_be_known(self, version: str) -> bool:
        """Whether the cache is as new as the list has to be. Raises TooManyRequests when any state would do, and none
        is known."""
        if version == "0" and not await self._cache.is_loaded(PATIENCE):
            raise errors.initializing()
        if version:
            return int(version) <= self._cache.revision
        return await self._cache.is_current()

    def _from_cache(self, kind: Kind, scope: str, selector: Selector, limit: int) -> Listing | None:
        """None for more than ``limit`` objects: pages that follow are read from the storage, and so is the first."""
        found: list[Record] = []
        for entry in self._cache.of(kind).scan(scope):
            if selector.everything or selector.matches(entry.obj):
                if limit and len(found) >= limit:
                    return None
                found.append(Record(entry.key, entry.value, entry.revision))
        return Listing(found, self._cache.revision)

    async def _single(self, kind: Kind, namespace: str, name: str, options: ListOptions) -> Listing:
        record, revision = await self._cache.newest(kind, kind.key(namespace, name))
        chosen = self._chosen(kind, (record,) if record else (), options.selector)
        return Listing(chosen, revision)

    async def _pages(self, kind: Kind, scope: str, start: str, revision: int, options: ListOptions) -> Listing:
        selector, limit = options.selector, options.limit
        found: list[Record] = []
        while True:
            wanted = limit - len(found) if limit else 0
            asked = max(wanted, CHUNK) if wanted and not selector.everything else wanted
            page = await self._storage.page(scope, after=start, limit=asked, revision=revision)
            revision = page.revision
            chosen = self._chosen(kind, page.records, selector)
            if limit and len(chosen) > wanted:
                found += chosen[:wanted]
                return Listing(found, revision, _encode_token(revision, found[-1].key, scope))
            found += chosen
            start = page.records[-1].key if page.records else start
            if not page.remaining:
                return Listing(found, revision)
            if limit and len(found) >= limit:
                return self._more(found, page, scope, selector)

    def _more(self, found: list[Record], page: Page, scope: str, selector: Selector) -> Listing:
        token = _encode_token(page.revision, page.records[-1].key, scope)
        return Listing(found, page.revision, token, page.remaining if selector.everything else None)

    def _chosen(self, kind: Kind, records: Iterable[Record], selector: Selector) -> list[Record]:
        found: list[Record] = []
        entries = self._cache.of(kind).entries
        for record in records:
            value = kind.stored_form(record.key, record.value)
            if not value:
                continue
            if not selector.everything:
                # What the cache has decoded already need not be decoded again.
                entry = entries.get(record.key)
                obj: Object
                if entry is not None and entry.revision == record.revision:
                    obj = entry.obj
                else:
                    obj = kind.hub.decode(value, record.revision)
                if not selector.matches(obj):
                    continue
            found.append(record if value is record.value else Record(record.key, value, record.revision))
        return found

    async def _reached(self, revision: int) -> None:
        """Wait for the storage to know a revision that a client has seen elsewhere."""
        if revision <= self._cache.revision:
            return
        _, current = await self._storage.get(f"/registry/revision/{revision}")
        if current < revision and not await self._cache.wait_for(revision, PATIENCE):
            raise errors.too_large_version(revision, self._cache.revision)


def _judge(options: ListOptions) -> None:
    if options.version and not is_number(options.version):
        problem = validation.invalid("resourceVersion", options.version, "strconv.ParseUint: parsing: invalid syntax")
        raise errors.ApiFailure(500, "InternalError", str(problem))
    problems = []
    if options.match and not options.version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        problems.append(validation.forbidden("resourceVersionMatch", why))
    if options.match and options.token:
        why = "resourceVersionMatch is forbidden when continue is provided"
        problems.append(validation.forbidden("resourceVersionMatch", why))
    if options.match not in ("", "Exact", "NotOlderThan"):
        problems.append(validation.not_supported("resourceVersionMatch", options.match, ("Exact", "NotOlderThan")))
    if options.match == "Exact" and options.version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        problems.append(validation.forbidden("resourceVersionMatch", why))
    if problems:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", problems)


def _encode_token(revision: int, last_key: str, scope: str) -> str:
    raw = orjson.dumps({"v": TOKEN_VERSION, "rv": revision, "start": last_key.removeprefix(scope) + "\0"})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode_token(token: str, scope: str) -> tuple[int, str]:
    """The revision and the key after which to go on. Raises BadRequest."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        form = orjson.loads(raw)
        version, revision, start = form["v"], int(form["rv"]), str(form["start"])
    except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as trouble:
        raise errors.bad_request(f"continue key is not valid: {trouble}") from None
    if version != TOKEN_VERSION or not start or start.startswith("/") or ".." in start.split("/"):
        raise errors.bad_request("continue key is not valid: it was not made by this server")
    return revision, scope + start.removesuffix("\0")
