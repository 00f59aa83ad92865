"""What can be done with a kind, as operations of OpenAPI: paths, parameters, bodies, answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from k8slab.kube.api.kind import Kind, Subresource
from k8slab.kube.api.openapi.models import Models
from k8slab.kube.api.schemas import types

JSON: Final = ("application/json", "application/yaml")
READ: Final = (*JSON, "application/vnd.kubernetes.protobuf")
WATCHED: Final = (*JSON, "application/json;stream=watch")
PATCHES: Final = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
METHODS: Final = {"create": "post", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}

# name → type and what it says.
_TEXTS: Final = {
    "pretty": ("string", "If 'true', then the output is pretty printed."),
    "dryRun": (
        "string",
        "When present, indicates that modifications should not be persisted. The only valid value is All.",
    ),
    "fieldManager": (
        "string",
        "fieldManager is a name associated with the actor or entity that is making these changes. The value must be "
        "less than or 128 characters long, and only contain printable characters.",
    ),
    "fieldValidation": (
        "string",
        "fieldValidation instructs the server on how to handle unknown or duplicate fields: Ignore, Warn (the default) "
        "or Strict.",
    ),
    "force": (
        "boolean",
        'Force is going to "force" Apply requests. It means user will re-acquire conflicting fields owned by other '
        "people. Force flag must be unset for non-apply patch requests.",
    ),
    "gracePeriodSeconds": ("integer", "The duration in seconds before the object should be deleted."),
    "orphanDependents": ("boolean", "Deprecated: please use the PropagationPolicy."),
    "propagationPolicy": ("string", "Whether and how garbage collection will be performed."),
    "allowWatchBookmarks": ("boolean", 'allowWatchBookmarks requests watch events with type "BOOKMARK".'),
    "continue": ("string", "The continue option should be set when retrieving more results from the server."),
    "fieldSelector": ("string", "A selector to restrict the list of returned objects by their fields."),
    "labelSelector": ("string", "A selector to restrict the list of returned objects by their labels."),
    "limit": ("integer", "limit is a maximum number of responses to return for a list call."),
    "resourceVersion": ("string", "resourceVersion constrains what resource versions a request may be served from."),
    "resourceVersionMatch": ("string", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    "sendInitialEvents": ("boolean", "Begin a watch with events of what exists already."),
    "timeoutSeconds": ("integer", "Timeout for the list/watch call."),
    "watch": ("boolean", "Watch for changes to the described resources and return them as a stream."),
}
_WRITING: Final = ("dryRun", "fieldManager", "fieldValidation")
_LISTING: Final = (
    *("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion"),
    *("resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"),
)
_DELETING: Final = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_QUERY: Final = {
    "create": _WRITING,
    "update": _WRITING,
    "patch": (*_WRITING, "force"),
    "delete": _DELETING,
    "get": (),
    "list": _LISTING,
    "deletecollection": (*_DELETING, *_LISTING),
}


class Operations:
    def __init__(self, kind: Kind, models: Models) -> None:
        self._kind = kind
        self._models = models

    def paths(self) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = self._kind
        root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
        scope = "/namespaces/{namespace}" if kind.namespaced else ""
        whole, one = f"{root}{scope}/{kind.plural}", f"{root}{scope}/{kind.plural}/{{name}}"
        if kind.namespaced and "list" in kind.verbs:
            yield f"{root}/{kind.plural}", self._item(("list",), (), across=True)
        named = ("namespace",) if kind.namespaced else ()
        if together := self._item(("list", "create", "deletecollection"), named):
            yield whole, together
        if alone := self._item(("get", "update", "patch", "delete"), (*named, "name")):
            yield one, alone
        for below in kind.below:
            if item := self._subresource(below, (*named, "name")):
                yield f"{one}/{below.name}", item

    def _item(self, verbs: Sequence[str], named: Sequence[str], *, across: bool = False) -> dict[str, Any]:
        kind = self._kind
        item: dict[str, Any] = {}
        for verb in verbs:
            if verb not in kind.verbs:
                continue
            method = {"list": "get", "deletecollection": "delete"}.get(verb) or METHODS[verb]
            scope = "ForAllNamespaces" if across else ""
            item[method] = self._operation(verb, kind.schema, kind.group, kind.version, kind.kind, "", scope)
        return self._located(item, named)

    def _subresource(self, below: Subresource, named: Sequence[str]) -> dict[str, Any]:
        kind = self._kind
        group, version = (below.group, below.version) if below.version else (kind.group, kind.version)
        form = kind.schema if below.kind == kind.kind else below.kind
        qualified = f"{group}/{version}.{below.kind}" if group else form
        form = qualified if qualified in types() else form
        if form not in types():
            return {}
        suffix = "".join(part.capitalize() for part in below.name.split("-"))
        item = {
            METHODS[verb]: self._operation(verb, form, group, version, below.kind, suffix, "")
            for verb in below.verbs
            if verb in METHODS
        }
        return self._located(item, named)

    def _located(self, item: dict[str, Any], named: Sequence[str]) -> dict[str, Any]:
        if not item:
            return item
        texts = {
            "name": f"name of the {self._kind.kind}",
            "namespace": "object name and auth scope, such as for teams and projects",
        }
        places = [self._parameter(name, "string", texts[name], "path") for name in sorted(named)]
        return {**item, "parameters": [*places, self._query("pretty")]}

    def _operation(
        self, verb: str, form: str, group: str, version: str, kind: str, suffix: str, scope: str
    ) -> dict[str, Any]:
        action = {"create": "post", "update": "put", "get": "get", "patch": "patch"}.get(verb, verb)
        word = {"create": "Create", "update": "Replace", "get": "Read", "patch": "Patch", "list": "List"}.get(verb)
        word = word or ("Delete" if verb == "delete" else "DeleteCollection")
        owner = "Core" if not self._kind.group else self._kind.group.partition(".")[0].capitalize()
        namespaced = "Namespaced" if self._kind.namespaced and not scope else ""
        name = word[0].lower() + word[1:]
        operation: dict[str, Any] = {
            "description": _said(verb, kind, suffix),
            "operationId": f"{name}{owner}{version.capitalize()}{namespaced}{self._kind.kind}{suffix}{scope}",
            "tags": [f"{owner.lower()}_{version}"],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
        }
        body = {"create": form, "update": form, "patch": "Patch"}.get(verb)
        body = body or ("DeleteOptions" if verb in ("delete", "deletecollection") else None)
        parameters = [self._query(one) for one in _QUERY[verb]]
        media = PATCHES if verb == "patch" else READ
        if body and self._models.wrapped:
            content = {one: {"schema": self._models.reference(body)} for one in media}
            operation["requestBody"] = {"content": content, **({} if body == "DeleteOptions" else {"required": True})}
        elif body:
            schema = self._models.reference(body)
            needed = {} if body == "DeleteOptions" else {"required": True}
            parameters.insert(0, {"in": "body", "name": "body", **needed, "schema": schema})
        if parameters:
            operation["parameters"] = parameters
        if not self._models.wrapped:
            operation["consumes"] = list(media) if verb == "patch" else ["*/*"]
            operation["produces"] = list(WATCHED if verb == "list" else JSON)
        operation["responses"] = self._responses(verb, form)
        return operation

    def _responses(self, verb: str, form: str) -> dict[str, Any]:
        answered = f"{form}List" if verb == "list" else form
        if verb in ("delete", "deletecollection") or answered not in types():
            answered = "Status"
        codes = {"create": ("200", "201", "202"), "update": ("200", "201"), "patch": ("200", "201")}
        said = {"200": "OK", "201": "Created", "202": "Accepted", "401": "Unauthorized"}
        found: dict[str, Any] = {}
        for code in codes.get(verb, ("200", "202") if verb == "delete" else ("200",)):
            schema = self._models.reference(answered)
            content = {one: {"schema": schema} for one in (WATCHED if verb == "list" else JSON)}
            found[code] = {
                "description": said[code],
                **({"content": content} if self._models.wrapped else {"schema": schema}),
            }
        return {**found, "401": {"description": said["401"]}}

    def _query(self, name: str) -> dict[str, Any]:
        kind, text = _TEXTS[name]
        return self._parameter(name, kind, text, "query")

    def _parameter(self, name: str, kind: str, text: str, place: str) -> dict[str, Any]:
        kind_of = {"schema": {"type": kind, "uniqueItems": True}} if self._models.wrapped else {"type": kind}
        needed = {"required": True} if place == "path" else {}
        unique = {} if self._models.wrapped else {"uniqueItems": True}
        return {"name": name, "in": place, "description": text, **needed, **kind_of, **unique}


def _said(verb: str, kind: str, suffix: str) -> str:
    below = f"{suffix.lower()} of " if suffix else ""
    match verb:
        case "create":
            return f"create {below}a {kind}"
        case "update":
            return f"replace {below}the specified {kind}"
        case "patch":
            return f"partially update {below}the specified {kind}"
        case "get":
            return f"read {below}the specified {kind}"
        case "list":
            return f"list or watch objects of kind {kind}"
        case "delete":
            return f"delete a {kind}"
    return f"delete collection of {kind}"
