"""What a kind is to the server: a declaration. The same code serves every kind; a new one is a page of data.

Objects are stored as JSON that begins with the kind, the version and the metadata, without the resource version: etcd
knows that one. Serving an object is then putting its version into the stored bytes, which are never decoded for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import orjson

from k8slab.kube.api import errors, validation
from k8slab.kube.api.errors import ApiFailure, FieldProblem
from k8slab.kube.api.meta import Object, age, dig, is_too_deep

log = logging.getLogger(__name__)

Reader = Callable[[Mapping[str, Any]], str]

ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
PROXY_VERBS: Final = ("create", "delete", "get", "patch", "update")
REGISTRY: Final = "/registry/"


@dataclass(frozen=True)
class Column:
    """A column of the table that kubectl prints. ``read`` gives an object's cell; ``wide`` shows with -o wide alone."""

    name: str
    read: Callable[[Object], Any]
    type: str = "string"
    format: str = ""
    description: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Subresource:
    """A path below an object: ``verbs`` as discovery lists them, ``kind`` what its bodies are, of the object's own
    group and version when it names none. ``has_paths``: more path may follow, and every method is passed on."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""
    has_paths: bool = False


def field_reader(*path: str) -> Reader:
    def read(obj: Mapping[str, Any]) -> str:
        value = dig(obj, *path)
        if isinstance(value, bool):
            return "true" if value else "false"
        return "" if value is None else str(value)

    return read


NAME: Final = Column("Name", lambda obj: obj["metadata"]["name"], format="name", description="Name of the object.")
AGE: Final = Column(
    "Age", lambda obj: age(obj["metadata"].get("creationTimestamp")), description="Time since creation."
)
METADATA_FIELDS: Final[Mapping[str, Reader]] = {
    "metadata.name": field_reader("metadata", "name"),
    "metadata.namespace": field_reader("metadata", "namespace"),
}
STATUS_VERBS: Final = ("get", "patch", "update")


def _nothing(obj: Object) -> None:
    return None


def _keep_status(new: Object, old: Object | None) -> None:
    """Status is written through its own subresource: a new object starts without, an update leaves it as it was."""
    new.pop("status", None)
    if old is not None and "status" in old:
        new["status"] = old["status"]


def _no_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    return []


@dataclass(frozen=True, eq=False)
class Kind:
    """``default`` fills in what was left out; ``prepare(new, old)`` decides what a client may not set; ``validate(new,
    old)`` judges the outcome; ``grace(obj, asked)`` gives the seconds a deletion waits for the kubelet. What is not
    ``stored`` is answered and forgotten. ``form`` names its type where that is not its kind's name. A deletion that
    does not say what becomes of the dependents leaves them, where the kind ``orphans_dependents``."""

    kind: str
    plural: str
    singular: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    columns: tuple[Column, ...] = (NAME, AGE)
    fields: Mapping[str, Reader] = field(default_factory=dict)
    default: Callable[[Object], None] = _nothing
    prepare: Callable[[Object, Object | None], None] = _keep_status
    validate: Callable[[Object, Object | None], list[FieldProblem]] = _no_problems
    validate_status: Callable[[Object, Object | None], list[FieldProblem]] = _no_problems
    name_problems: Callable[[str], list[str]] = validation.subdomain
    status: bool = False
    generation: bool = False
    annotations_raise_generation: bool = False
    grace: Callable[[Object, int | None], int] | None = None
    creates_on_update: bool = False
    unconditional_update: bool = True
    returns_deleted: bool = False
    ttl: int = 0
    subresources: tuple[Subresource, ...] = ()
    storage_name: str = ""
    stored: bool = True
    form: str = ""
    orphans_dependents: bool = False

    def is_raised(self, new: Object, old: Object) -> bool:
        """Whether the change is one that those who act on the object must notice: its generation tells them."""
        if not self.generation or new.get("spec") != old.get("spec"):
            return self.generation
        was, now = (one["metadata"].get("annotations") or {} for one in (old, new))
        return self.annotations_raise_generation and was != now

    @property
    def hub(self) -> Kind:
        """The kind in whose form the objects are kept."""
        return self

    @property
    def schema(self) -> str:
        return self.form or self.kind

    @cached_property
    def below(self) -> tuple[Subresource, ...]:
        status = (Subresource("status", self.kind, STATUS_VERBS),) if self.status else ()
        return tuple(sorted((*self.subresources, *status), key=lambda one: one.name))

    def subresource(self, name: str) -> Subresource | None:
        return next((one for one in self.below if one.name == name), None)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def readers(self) -> Mapping[str, Reader]:
        own = METADATA_FIELDS if self.namespaced else {"metadata.name": METADATA_FIELDS["metadata.name"]}
        return {**own, **self.fields}

    @cached_property
    def prefix(self) -> str:
        return f"{REGISTRY}{self.storage_name or self.plural}/"

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.namespaced else f"{self.prefix}{name}"

    def scope(self, namespace: str) -> str:
        """The prefix of the keys of a namespace's objects; of all of them without one."""
        return f"{self.prefix}{namespace}/" if namespace and self.namespaced else self.prefix

    @cached_property
    def _head(self) -> bytes:
        return orjson.dumps({"kind": self.kind, "apiVersion": self.api_version})[:-1] + b',"metadata":{'

    @cached_property
    def _list_item_head(self) -> bytes:
        return b'{"metadata":{"resourceVersion":"'

    @cached_property
    def _served_head(self) -> bytes:
        return self._head + b'"resourceVersion":"'

    def encode(self, obj: Object) -> bytes:
        """The stored form. Raises BadRequest for what is nested too deep to be served."""
        meta = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
        rest = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion", "metadata")}
        form = {"kind": self.kind, "apiVersion": self.api_version, "metadata": meta, **rest}
        try:
            value = orjson.dumps(form)
        except TypeError:
            raise errors.too_deep() from None
        if is_too_deep(form, value):
            raise errors.too_deep()
        return value

    def served(self, value: bytes, revision: int) -> bytes:
        """The stored form with its resource version; without one for revision 0, which nothing was stored at."""
        if not revision:
            return value
        return b'%s%d",%s' % (self._served_head, revision, value[len(self._head) :])

    def list_item(self, value: bytes, revision: int) -> bytes:
        return b'%s%d",%s' % (self._list_item_head, revision, value[len(self._head) :])

    def decode(self, value: bytes, revision: int) -> Object:
        obj: Object = orjson.loads(value)
        obj["metadata"]["resourceVersion"] = str(revision)
        return obj

    def stored_form(self, key: str, value: bytes) -> bytes | None:
        """The value in the form that the rest relies on; None, said in the log, for what is no object of this kind.

        Anyone can write to etcd: an object put there by hand is served like any other.
        """
        if value.startswith(self._head):
            return value
        try:
            obj = orjson.loads(value)
            if obj["metadata"]["name"] != key.rsplit("/", 1)[-1]:
                raise ValueError("its name is not its key's")
            return self.encode(obj)
        except (ApiFailure, KeyError, TypeError, AttributeError, ValueError) as trouble:
            log.warning("skipping %s: not a stored %s (%s)", key, self.kind, trouble)
            return None


@dataclass(frozen=True, eq=False)
class View(Kind):
    """A kind whose objects are another's, shown in another form: ``to_hub`` and ``from_hub`` convert whole objects."""

    of: Kind | None = None
    to_hub: Callable[[Object], Object] = dict
    from_hub: Callable[[Object], Object] = dict

    @property
    def hub(self) -> Kind:
        assert self.of is not None
        return self.of

    @cached_property
    def prefix(self) -> str:
        return self.hub.prefix

    def encode(self, obj: Object) -> bytes:
        return self.hub.encode(self.to_hub(obj))

    def decode(self, value: bytes, revision: int) -> Object:
        return {"kind": self.kind, "apiVersion": self.api_version, **self.from_hub(self.hub.decode(value, revision))}

    def served(self, value: bytes, revision: int) -> bytes:
        obj = self.decode(value, revision)
        if not revision:
            del obj["metadata"]["resourceVersion"]
        return orjson.dumps(obj)

    def list_item(self, value: bytes, revision: int) -> bytes:
        obj = self.decode(value, revision)
        return orjson.dumps({key: part for key, part in obj.items() if key not in ("kind", "apiVersion")})

    def stored_form(self, key: str, value: bytes) -> bytes | None:
        return self.hub.stored_form(key, value)
