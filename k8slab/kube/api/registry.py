"""Creating and changing objects: the one path that every kind's writes take.

A change is a function from the newest object to the wanted one. It is tried on what the cache holds or this server has
just written, because that is nearly always the newest, and tried again on what the storage has when it refuses the
transaction, which it says with the refusal; what would be told
to a client (an error, "nothing changed") is never told on the cache's word alone.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from k8slab.kube.api import errors, validation
from k8slab.kube.api.admission import Admission
from k8slab.kube.api.admission.quota import Quotas
from k8slab.kube.api.allocation import Allocator, Claims
from k8slab.kube.api.apply.managed import Track
from k8slab.kube.api.blanks import with_stored_blanks
from k8slab.kube.api.cache import Cache, in_stored_form
from k8slab.kube.api.errors import ApiFailure, FieldProblem
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds.limits import LIMIT_RANGE, RESOURCE_QUOTA
from k8slab.kube.api.kinds.namespace import NAMESPACE
from k8slab.kube.api.kinds.scheduling import PRIORITY_CLASS
from k8slab.kube.api.kinds.service import SERVICE
from k8slab.kube.api.meta import Object, dig, generated_name, new_uid, now
from k8slab.kube.api.storage.base import Check, Record, Refused, Storage, Write
from k8slab.kube.api.written import Written

TRIES: Final = 8
PATIENCE: Final = 1.0
# A quota that many use at once refuses most of them at first; one of them gets on each time.
QUOTA_TRIES: Final = 256
# What judgements about other objects are made by.
JUDGED_BY: Final = frozenset({LIMIT_RANGE, PRIORITY_CLASS, RESOURCE_QUOTA})
SYSTEM_FIELDS: Final = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
)


@dataclass(frozen=True)
class Outcome:
    """The object as stored after a write; ``revision`` 0 when nothing was written (dry run)."""

    value: bytes
    revision: int
    created: bool = False
    deleted: bool = False


class Registry:
    def __init__(self, storage: Storage, cache: Cache, allocator: Allocator, admission: Admission) -> None:
        self.storage = storage
        self.cache = cache
        self.allocator = allocator
        self.admission = admission
        self._quotas = Quotas(cache, cache.kinds)
        self._written = Written(lambda: cache.revision)

    async def get(self, kind: Kind, namespace: str, name: str) -> Record:
        """The newest record. Raises NotFound."""
        record, _ = await self.cache.newest(kind, kind.key(namespace, name))
        if record is None:
            raise errors.not_found(kind.group, kind.plural, name)
        return record

    async def create(
        self, kind: Kind, namespace: str, obj: Object, *, dry_run: bool = False, track: Track | None = None
    ) -> Outcome:
        meta = obj["metadata"]
        if meta.pop("resourceVersion", ""):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        for field in (*SYSTEM_FIELDS[:-1], "selfLink", "managedFields"):
            meta.pop(field, None)
        if kind.namespaced:
            meta["namespace"] = namespace
        else:
            meta.pop("namespace", None)
        meta.update(uid=new_uid(), creationTimestamp=now())
        if kind.generation:
            meta["generation"] = 1
        generated = not meta.get("name") and bool(meta.get("generateName"))
        attempt = 0
        while True:
            attempt += 1
            if generated:
                meta["name"] = generated_name(meta["generateName"])
            if attempt == 1:
                kind.default(obj)
                # What the cluster adds is nobody's: whoever made the object may apply it again without.
                if track is not None and (owners := track(None, obj)):
                    meta["managedFields"] = owners
                await self.admission.change(kind, namespace, obj)
                kind.prepare(obj, None)
                self._judge(kind, obj, None)
                await self.admission.judge(kind, namespace, obj)
            claims = await self._claims(kind, obj, None, attempt)
            key, value = kind.key(namespace, meta["name"]), kind.encode(obj)
            if dry_run:
                await self._free(kind, key, meta["name"])
                return Outcome(value, 0, created=True)
            try:
                revision = await self.storage.commit(
                    (Check(key, 0), *claims.checks), (Write(key, value, kind.ttl), *claims.writes)
                )
                self._told(kind, claims, revision)
                self._written.keep(Record(key, value, revision))
                return Outcome(value, revision, created=True)
            except Refused as refused:
                if refused.found.get(key) is not None and not (generated and attempt < TRIES):
                    raise errors.already_exists(kind.group, kind.plural, meta["name"]) from None
                await self._give_back(kind, obj, claims, refused, attempt)

    async def change(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        mutate: Callable[[Object], Object],
        *,
        dry_run: bool = False,
        start: Record | None = None,
    ) -> Outcome:
        """Replace the object by ``mutate(newest)``, deleting it when that leaves it free of what kept it alive.

        ``mutate`` may be called several times and raises to refuse; ``start`` is a record just read. Raises NotFound,
        and Conflict when others keep changing the object faster than it can be changed.
        """
        key = kind.key(namespace, name)
        cached = self.cache.of(kind).entries.get(key)
        known = self._written.ahead(key) or (Record(key, cached.value, cached.revision) if cached else None)
        record = start or known
        fresh = start is not None
        attempt = 0
        while attempt < TRIES:
            attempt += 1
            if record is None:
                record, fresh = await self.get(kind, namespace, name), True
            old = kind.decode(record.value, record.revision)
            try:
                new = mutate(kind.decode(record.value, record.revision))
            except ApiFailure:
                if fresh:
                    raise
                record = None
                continue
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if new == old:
                if fresh:
                    return Outcome(record.value, record.revision)
                record = None
                continue
            gone = is_free(kind, new)
            claims = await self._claims(kind, None if gone else new, old, attempt)
            value = kind.encode(new)
            if dry_run:
                return Outcome(value, record.revision, deleted=gone)
            write = Write(key, None) if gone else Write(key, value, kind.ttl)
            try:
                revision = await self.storage.commit(
                    (Check(key, record.revision), *claims.checks), (write, *claims.writes)
                )
                self._told(kind, claims, revision)
                if gone:
                    self._written.forget(key)
                else:
                    self._written.keep(Record(key, value, revision))
                return Outcome(value, revision, deleted=gone)
            except Refused as refused:
                self._written.forget(key)
                await self._give_back(kind, None if gone else new, claims, refused, attempt)
                record, fresh = in_stored_form(kind, refused.found.get(key)), True
                if record is None:
                    raise errors.not_found(kind.group, kind.plural, name) from None
        raise errors.conflict(kind.group, kind.plural, name, errors.MODIFIED)

    async def remove(self, kind: Kind, record: Record, obj: Object) -> int:
        """Take an object out of the storage as it is in the record. Raises Refused when it has changed meanwhile."""
        claims = await self._claims(kind, None, obj, 1)
        try:
            revision = await self.storage.commit(
                (Check(record.key, record.revision), *claims.checks), (Write(record.key, None), *claims.writes)
            )
        except Refused as refused:
            await self._give_back(kind, None, claims, refused, 1)
            raise
        self._told(kind, claims, revision)
        return revision

    def replacement(
        self, kind: Kind, old: Object, wanted: Object, *, status_only: bool = False, track: Track | None = None
    ) -> Object:
        """What an update makes of the newest object and the one that a client sent; ``track`` says who then owns its
        fields, which otherwise stay whose they are. Raises Conflict and Invalid."""
        meta, was = wanted["metadata"], old["metadata"]
        name = was["name"]
        if meta.get("uid") and meta["uid"] != was["uid"]:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}"
            raise errors.conflict(kind.group, kind.plural, name, why)
        version = meta.get("resourceVersion") or ""
        if version and version != was["resourceVersion"]:
            raise errors.conflict(kind.group, kind.plural, name, errors.MODIFIED)
        if not version and not kind.unconditional_update:
            problem = validation.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise errors.invalid(kind.group, kind.kind, name, [problem])
        new = dict(wanted)
        if status_only:
            new = {**old, "status": wanted.get("status") or {}}
        kept = {field: was[field] for field in ("namespace", *SYSTEM_FIELDS) if field in was}
        # What is empty here is not written: as when the last owner was struck out.
        sent = {key: value for key, value in meta.items() if value not in ([], {}, "", None)}
        own = {key: value for key, value in sent.items() if key not in (*SYSTEM_FIELDS, "selfLink", "managedFields")}
        new["metadata"] = {**own, **kept}
        if status_only:
            problems = kind.validate_status(new, old)
            if problems:
                raise errors.invalid(kind.group, kind.kind, name, problems)
            new["metadata"]["finalizers"] = was.get("finalizers")
            new["metadata"]["ownerReferences"] = was.get("ownerReferences")
            for field in ("finalizers", "ownerReferences"):
                if new["metadata"][field] is None:
                    del new["metadata"][field]
            return _owned(new, old, track)
        new = with_stored_blanks(kind, new, old)
        kind.default(new)
        kind.prepare(new, old)
        if kind.is_raised(new, old):
            new["metadata"]["generation"] = was.get("generation", 0) + 1
        self._judge(kind, new, old)
        return _owned(new, old, track)

    def _judge(self, kind: Kind, new: Object, old: Object | None) -> None:
        problems = _problems(kind, new, old)
        if problems and old is not None:
            # What was stored under laxer rules is not held against whoever changes something else: it could not even
            # be scaled down, or lose its last finalizer.
            known = deepcopy(old)
            kind.default(known)
            before = _problems(kind, known, known)
            problems = [one for one in problems if one not in before]
        if problems:
            raise errors.invalid(kind.group, kind.kind, new["metadata"].get("name") or "", problems)

    async def _free(self, kind: Kind, key: str, name: str) -> None:
        record, _ = await self.storage.get(key)
        if record is not None:
            raise errors.already_exists(kind.group, kind.plural, name)

    async def _claims(self, kind: Kind, new: Object | None, old: Object | None, attempt: int) -> Claims:
        """What else the change's transaction must hold and write. Raises Forbidden for what exceeds a quota."""
        claims = await self.allocator.claims(new, old, attempt=attempt) if kind is SERVICE else Claims()
        if kind.namespaced and self.admission.has("ResourceQuota"):
            meta = (new or old or {})["metadata"]
            namespace, name = meta.get("namespace") or "", meta.get("name") or ""
            await self.admission.known.up_to_date()
            checks, writes = self._quotas.claims(kind.hub, namespace, name, _hub_form(kind, new), _hub_form(kind, old))
            claims.checks += checks
            claims.writes += writes
            if kind is RESOURCE_QUOTA and new is not None and (old is None or new.get("spec") != old.get("spec")):
                # It counts what was there before it.
                _, current = await self.storage.get(RESOURCE_QUOTA.prefix)
                await self.cache.wait_for(current, PATIENCE)
                new["status"] = self._quotas.counted(new)["status"]
        return claims

    def _told(self, kind: Kind, claims: Claims, revision: int) -> None:
        """Judgements look at what was written of these kinds."""
        if kind in JUDGED_BY or any(write.key.startswith(RESOURCE_QUOTA.prefix) for write in claims.writes):
            self.admission.known.wrote(revision)

    async def _give_back(self, kind: Kind, obj: Object | None, claims: Claims, refused: Refused, attempt: int) -> None:
        """Forget what was chosen in vain, so that the next try chooses anew. Raises when that cannot help."""
        quotas = [record for key, record in refused.found.items() if key.startswith(RESOURCE_QUOTA.prefix)]
        if quotas:
            # Somebody else has written a quota: what it is now must be known before it is counted again.
            await self.cache.wait_for(max(record.revision if record else 0 for record in quotas), PATIENCE)
            if attempt >= QUOTA_TRIES and obj is not None:
                raise errors.conflict(kind.group, kind.plural, obj["metadata"].get("name") or "", errors.MODIFIED)
        if kind is not SERVICE or obj is None:
            return
        failure = self.allocator.refusal(obj, claims, dict(refused.found))
        if failure is not None or attempt >= TRIES:
            raise failure or errors.internal("no address or port could be allocated")
        for key in claims.chosen:
            value = key.rsplit("/", 1)[-1]
            if obj["spec"].get("clusterIP") == value:
                obj["spec"].pop("clusterIP")
                obj["spec"].pop("clusterIPs", None)
            for port in obj["spec"].get("ports") or ():
                if str(port.get("nodePort")) == value:
                    port.pop("nodePort")


def _problems(kind: Kind, new: Object, old: Object | None) -> list[FieldProblem]:
    problems = validation.metadata(new, old, kind.name_problems, namespaced=kind.namespaced)
    return problems + kind.validate(new, old)


def _hub_form(kind: Kind, obj: Object | None) -> Object | None:
    if obj is None or kind.hub is kind:
        return obj
    return kind.hub.decode(kind.encode(obj), 0)


def _owned(new: Object, old: Object, track: Track | None) -> Object:
    owners = old["metadata"].get("managedFields") if track is None else track(old, new)
    if owners:
        new["metadata"]["managedFields"] = owners
    return new


def is_free(kind: Kind, obj: Object) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    meta: dict[str, Any] = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (kind is NAMESPACE and dig(obj, "spec", "finalizers"))
