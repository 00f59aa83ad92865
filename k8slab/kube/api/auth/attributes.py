"""What a request wants to do, in the words that authorization rules are written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.requests import Asked, is_watch
from k8slab.kube.api.selectors import field_terms, name_among

VERBS: Final[Mapping[str, str]] = {
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "GET": "get",
    "HEAD": "get",
}


@dataclass(frozen=True)
class Attributes:
    """``path`` is set for what is no resource; all else is then empty but the verb."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def refusal(self, user: str) -> str:
        """Why not, in the original's words."""
        if self.path:
            return f'User "{user}" cannot {self.verb} path "{self.path}"'
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'User "{user}" cannot {self.verb} resource "{self.full_resource}" in API group "{self.group}" {where}'


def of_path(method: str, path: str) -> Attributes:
    return Attributes(verb=method.lower(), path=path)


def of_resource(method: str, asked: Asked, query: Mapping[str, str]) -> Attributes:
    verb = VERBS.get(method, method.lower())
    name = asked.name
    if verb == "get" and not asked.subresource:
        if method == "GET" and is_watch(asked, query):
            verb = "watch"
            name = name or _named(query)
        elif not name:
            verb = "list"
            name = _named(query)
    elif verb == "delete" and not name:
        verb = "deletecollection"
    return Attributes(
        verb,
        asked.group,
        asked.version,
        asked.resource,
        asked.subresource,
        # A namespace is a resource that lies in itself, as far as rules are concerned.
        asked.namespace or (name if asked.resource == "namespaces" and not asked.group else ""),
        name,
    )


def _named(query: Mapping[str, str]) -> str:
    """The one object that a field selector names: reading it so is allowed to whoever may read that one."""
    try:
        return name_among(field_terms(query.get("fieldSelector", "")))
    except ApiFailure:
        # It names nothing, and will be refused where it is used.
        return ""
