"""Services, slices and a world of them as the API has them."""

from __future__ import annotations

import itertools
from typing import Any

from k8slab.kube.dns.index import Index

DOMAIN = "lab.local"
_VERSIONS = itertools.count(1)

HTTP = {"name": "http", "port": 80, "protocol": "TCP"}


def namespace(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def service(name: str, *, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    made = {"clusterIP": "10.0.0.7", "type": "ClusterIP", "ports": [HTTP], **spec}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": made}


def endpoint_slice(
    owner: str, *members: dict[str, Any], namespace: str = "default", ports: Any = (HTTP,), kind: str = "IPv4"
) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": owner}
    meta = {"name": f"{owner}-{next(_VERSIONS)}", "namespace": namespace, "labels": labels}
    return {"metadata": meta, "addressType": kind, "endpoints": list(members), "ports": list(ports)}


def endpoints(name: str, *addresses: str, not_ready: tuple[str, ...] = ()) -> dict[str, Any]:
    subset = {
        "addresses": [{"ip": one} for one in addresses],
        "notReadyAddresses": [{"ip": one} for one in not_ready],
        "ports": [HTTP],
    }
    return {"metadata": {"name": name, "namespace": "default"}, "subsets": [subset]}


def member(address: str, hostname: str = "", *, ready: bool | None = True) -> dict[str, Any]:
    return {"addresses": [address], "conditions": {"ready": ready}, **({"hostname": hostname} if hostname else {})}


def world() -> Index:
    """A bit of everything."""
    index = Index(DOMAIN, f"kube-dns.kube-system.svc.{DOMAIN}")
    for one in ("default", "kube-system", "svc", "pod", "empty"):
        index.namespace_changed("ADDED", namespace(one), None)
    for one in (
        service("web", ports=[HTTP, {"port": 81}]),
        service("pets", clusterIP="None"),
        service("idle", clusterIP="None"),
        service("all", clusterIP="None", publishNotReadyAddresses=True),
        service("hand"),
        service("out", type="ExternalName", externalName="WWW.example.org.", clusterIP=""),
        service("in", type="ExternalName", externalName="web.default.svc.lab.local", clusterIP=""),
        service("gone", type="ExternalName", externalName="nobody.default.svc.lab.local", clusterIP=""),
        service("round", type="ExternalName", externalName="round.default.svc.lab.local", clusterIP=""),
        service("wrong", type="ExternalName", externalName="a" * 64, clusterIP=""),
        service("six", clusterIP="fd00::7"),
        service("x", namespace="svc", clusterIP="10.0.0.8"),
        service("y", namespace="pod", clusterIP="10.0.0.9"),
        service("svc", clusterIP="10.0.0.6", ports=[]),
        service("kube-dns", namespace="kube-system", clusterIP="10.0.0.10", ports=[]),
    ):
        index.service_changed("ADDED", one, None)
    for one in (
        endpoint_slice("web", member("10.1.0.1")),
        endpoint_slice("pets", member("10.1.0.2", "Cat"), member("10.1.0.3"), member("10.1.0.4", "dog", ready=False)),
        endpoint_slice("pets", member("10.1.0.3"), ports=[]),
        endpoint_slice("pets", member("fd00::1"), kind="IPv6"),
        endpoint_slice("idle", member("10.1.0.5", "late", ready=False)),
        endpoint_slice("all", member("10.1.0.6", ready=False)),
    ):
        index.slice_changed("ADDED", one, None)
    index.endpoints_changed("ADDED", endpoints("hand", "10.1.0.7", not_ready=("10.1.0.8",)), None)
    index.endpoints_changed("ADDED", endpoints("web", "9.9.9.9"), None)
    return index
