"""From a request's path and query to what is asked: which kind, which object, which verb, with which options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from k8slab.kube.api import errors, selectors, validation
from k8slab.kube.api.kind import Kind
from k8slab.kube.api.kinds import KINDS
from k8slab.kube.api.lists import ListOptions
from k8slab.kube.api.meta import is_number
from k8slab.kube.api.watching import WatchOptions

BY_PATH: Final[Mapping[tuple[str, str, str], Kind]] = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
GROUPS: Final = frozenset((kind.group, kind.version) for kind in KINDS)
INTEGER: Final = re.compile(r"[+-]?[0-9]+\Z")
LARGEST_INTEGER: Final = (1 << 63) - 1
LONGEST_INTEGER: Final = 20
FALSE: Final = frozenset({"false", "0"})


@dataclass(frozen=True)
class Asked:
    """``resource`` is the path's plural, which may name no kind ("bindings"); empty parts are not in the path."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watching: bool = False

    @property
    def kind(self) -> Kind:
        """Raises NotFound for a resource that is not served."""
        kind = BY_PATH.get((self.group, self.version, self.resource))
        if kind is None or (kind.namespaced is False and self.namespace):
            raise errors.unknown_resource()
        return kind


def parse(request: web.BaseRequest) -> Asked | None:
    """None for a path that is no resource's of the served groups, such as a group's own."""
    asked = parse_any(request)
    return asked if asked is not None and (asked.group, asked.version) in GROUPS else None


def parse_any(request: web.BaseRequest) -> Asked | None:
    """The same of groups that are not served: who may not ask for a resource is not told whether there is one."""
    parts = request.path.strip("/").split("/")
    if parts[0] == "api":
        group, version, parts = "", parts[1] if len(parts) > 1 else "", parts[2:]
    else:
        if len(parts) < 3:
            return None
        group, version, parts = parts[1], parts[2], parts[3:]
    if not parts:
        return None
    watching = parts[0] == "watch" and len(parts) > 1
    if watching:
        parts = parts[1:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
        namespace, parts = parts[1], parts[2:]
    resource, name, subresource, rest = (*parts[:3], *("",) * (3 - len(parts)), "/".join(parts[3:]))
    return Asked(group, version, resource, namespace, name, subresource, rest, watching)


def truthy(query: Mapping[str, str], key: str) -> bool:
    """Whatever is there and does not say no."""
    return key in query and query[key].lower() not in FALSE


def is_watch(asked: Asked, query: Mapping[str, str]) -> bool:
    return asked.watching or truthy(query, "watch")


def is_dry_run(query: Mapping[str, str], form: str) -> bool:
    """Raises Invalid for anything but "All"; ``form`` names the options in the error."""
    asked = query.get("dryRun", "")
    if asked not in ("", "All"):
        problem = validation.not_supported("dryRun", [asked], ("All",))
        raise errors.invalid("meta.k8s.io", form, "", [problem])
    return asked == "All"


def list_options(kind: Kind, query: Mapping[str, str]) -> ListOptions:
    if "sendInitialEvents" in query:
        problem = validation.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
        raise errors.invalid("meta.k8s.io", "ListOptions", "", [problem])
    return ListOptions(
        selector=_selector(kind, query, ""),
        limit=max(_number(query, "limit"), 0),
        token=query.get("continue", ""),
        version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
    )


def watch_options(kind: Kind, query: Mapping[str, str], name: str) -> WatchOptions:
    version = query.get("resourceVersion", "")
    if version and not is_number(version):
        raise errors.bad_request(f"invalid resource version: {version!r}")
    initial, match = _tristate(query, "sendInitialEvents"), query.get("resourceVersionMatch", "")
    problems = []
    if initial is not None and match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        problems.append(validation.forbidden("resourceVersionMatch", why))
    if initial is None and match:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        problems.append(validation.forbidden("resourceVersionMatch", why))
    if query.get("continue"):
        problems.append(validation.forbidden("continue", "continue is forbidden for watch"))
    if problems:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", problems)
    return WatchOptions(
        selector=_selector(kind, query, name),
        version=version,
        seconds=float(_number(query, "timeoutSeconds")),
        bookmarks=truthy(query, "allowWatchBookmarks"),
        include=query.get("includeObject", ""),
        initial=initial,
    )


def _tristate(query: Mapping[str, str], key: str) -> bool | None:
    return truthy(query, key) if key in query else None


def _selector(kind: Kind, query: Mapping[str, str], name: str) -> selectors.Selector:
    fields = query.get("fieldSelector", "")
    if name:
        fields = f"metadata.name={name}" + (f",{fields}" if fields else "")
    return selectors.parse(query.get("labelSelector", ""), fields, kind.readers)


def _number(query: Mapping[str, str], key: str) -> int:
    text = query.get(key) or "0"
    if not INTEGER.match(text):
        raise errors.bad_request(f"{key}: strconv.ParseInt: parsing {text!r}: invalid syntax")
    number = int(text) if len(text) <= LONGEST_INTEGER else LARGEST_INTEGER + 1
    if abs(number) > LARGEST_INTEGER:
        raise errors.bad_request(f"{key}: strconv.ParseInt: parsing {text!r}: value out of range")
    return number
