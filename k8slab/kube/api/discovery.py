"""What there is to ask for: groups, versions and resources, in the aggregated form and in the old one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from k8slab.kube.api.kind import ALL_VERBS, Kind
from k8slab.kube.api.negotiation import Wanted


class Discovery:
    """Documents are made once; ``kinds`` do not change while the server runs."""

    def __init__(self, kinds: Iterable[Kind], address: str) -> None:
        self._groups: dict[str, dict[str, list[Kind]]] = {}
        for kind in kinds:
            self._groups.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
        self._address = address

    def document(self, path: str, wanted: Wanted) -> tuple[bytes, str, str] | None:
        """Body, content type and entity tag of /api, /apis, /api/v1, /apis/G or /apis/G/V; None for anything else."""
        if wanted.form == "APIGroupDiscoveryList" and path in ("/api", "/apis"):
            version = wanted.version.partition("/")[2]
            body = self._aggregated(path, wanted.version)
            media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        else:
            plain = self._plain(path)
            if plain is None:
                return None
            body, media = plain, "application/json"
        raw = orjson.dumps(body) + b"\n"
        return raw, media, '"' + hashlib.sha256(raw).hexdigest()[:32].upper() + '"'

    def _aggregated(self, path: str, api_version: str) -> dict[str, Any]:
        items: list[dict[str, Any]] = []
        for group, versions in self._groups.items():
            if bool(group) != (path == "/apis"):
                continue
            metadata: dict[str, Any] = {"name": group} if group else {}
            listed = [self._aggregated_version(version, kinds) for version, kinds in versions.items()]
            metadata["creationTimestamp"] = None
            items.append({"metadata": metadata, "versions": listed})
        return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}

    def _aggregated_version(self, version: str, kinds: Iterable[Kind]) -> dict[str, Any]:
        resources = [_aggregated_kind(kind) for kind in sorted(kinds, key=lambda kind: kind.plural)]
        return {"version": version, "freshness": "Current", "resources": resources}

    def _plain(self, path: str) -> dict[str, Any] | None:
        parts = path.strip("/").split("/")
        match parts:
            case ["api"]:
                client = {"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [client]}
            case ["apis"]:
                groups = [_group(name, versions) for name, versions in self._groups.items() if name]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if group in self._groups:
                return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, self._groups[group])}
            case ["api", version] if version in self._groups.get("", {}):
                return self._resource_list("", version)
            case ["apis", group, version] if group and version in self._groups.get(group, {}):
                return self._resource_list(group, version)
        return None

    def _resource_list(self, group: str, version: str) -> dict[str, Any]:
        resources: list[dict[str, Any]] = []
        for kind in sorted(self._groups[group][version], key=lambda kind: kind.plural):
            resources += _listed_kind(kind)
        group_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _group(name: str, versions: Mapping[str, Any]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _verbs(kind: Kind) -> list[str]:
    return [verb for verb in ALL_VERBS if verb in kind.verbs]


def _aggregated_kind(kind: Kind) -> dict[str, Any]:
    described: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        described["shortNames"] = list(kind.short_names)
    if kind.categories:
        described["categories"] = list(kind.categories)
    below = [
        {
            "subresource": one.name,
            "responseKind": {
                "group": one.group or ("" if one.version else kind.group),
                "version": one.version or kind.version,
                "kind": one.kind,
            },
            "verbs": list(one.verbs),
        }
        for one in kind.below
    ]
    if below:
        described["subresources"] = below
    return described


def _listed_kind(kind: Kind) -> list[dict[str, Any]]:
    own: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        own["shortNames"] = list(kind.short_names)
    if kind.categories:
        own["categories"] = list(kind.categories)
    below = []
    for one in kind.below:
        listed: dict[str, Any] = {
            "name": f"{kind.plural}/{one.name}",
            "singularName": "",
            "namespaced": kind.namespaced,
        }
        if one.version:
            listed |= {"group": one.group, "version": one.version}
        below.append({**listed, "kind": one.kind, "verbs": list(one.verbs)})
    return [own, *below]
