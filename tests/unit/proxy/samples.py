"""Services and endpoints as the API has them."""

from __future__ import annotations

from typing import Any


def service(name: str = "web", *, address: str = "10.0.0.7", port: int = 80, **spec: Any) -> dict[str, Any]:
    given = {"clusterIP": address, "type": "ClusterIP", "ports": [{"port": port, "protocol": "TCP"}], **spec}
    return {"metadata": {"namespace": "default", "name": name}, "spec": given}


def endpoints(name: str = "web", *addresses: str, port: int = 8080, node: str = "") -> dict[str, Any]:
    members = [{"ip": one, **({"nodeName": node} if node else {})} for one in addresses]
    subsets = [{"addresses": members, "ports": [{"port": port, "protocol": "TCP"}]}] if members else []
    return {"metadata": {"namespace": "default", "name": name}, "subsets": subsets}


def endpoint_slice(owner: str = "web", *members: dict[str, Any], name: str = "web-1", **more: Any) -> dict[str, Any]:
    """``members``: endpoints as a slice has them."""
    labels = {"kubernetes.io/service-name": owner}
    return {
        "metadata": {"namespace": "default", "name": name, "labels": labels},
        "addressType": "IPv4",
        "endpoints": list(members),
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        **more,
    }
