"""Ingress, its classes, and NetworkPolicy: kept for whoever acts on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, Column, Kind
from k8slab.kube.api.kinds.service import PROTOCOLS
from k8slab.kube.api.kinds.template import starts_with_status
from k8slab.kube.api.meta import Object, dig
from k8slab.kube.api.selectors import shown_requirements

GROUP: Final = "networking.k8s.io"
PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
POLICY_TYPES: Final = ("Egress", "Ingress")
SHOWN: Final = 3


def _ingress_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new.get("spec") or {}
    found: list[FieldProblem] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        found.append(
            validation.invalid("spec", validation.Literal("[]"), "either `defaultBackend` or `rules` must be specified")
        )
    if spec.get("defaultBackend") is not None:
        found += _backend_problems(spec["defaultBackend"], "spec.defaultBackend")
    for index, rule in enumerate(spec.get("rules") or ()):
        path = f"spec.rules[{index}]"
        host = rule.get("host")
        if host:
            found += validation.checked(f"{path}.host", host, _host)
        http = rule.get("http")
        if http is not None and not http.get("paths"):
            found.append(validation.required(f"{path}.http.paths"))
        for place, one in enumerate((http or {}).get("paths") or ()):
            found += _path_problems(one, f"{path}.http.paths[{place}]")
    name = spec.get("ingressClassName")
    if name is not None:
        found += validation.checked("spec.ingressClassName", name, validation.subdomain)
    return found


def _path_problems(one: Mapping[str, Any], path: str) -> list[FieldProblem]:
    kind, wanted = one.get("pathType"), one.get("path") or ""
    found: list[FieldProblem] = []
    if kind is None:
        found.append(validation.required(f"{path}.pathType", "pathType must be specified"))
    else:
        found += validation.one_of(f"{path}.pathType", kind, PATH_TYPES)
    if kind in ("Exact", "Prefix") and not wanted.startswith("/"):
        found.append(validation.invalid(f"{path}.path", wanted, "must be an absolute path"))
    return found + _backend_problems(one.get("backend") or {}, f"{path}.backend")


def _backend_problems(backend: Mapping[str, Any], path: str) -> list[FieldProblem]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [validation.invalid(path, "", "cannot set both resource and service backends")]
    if service is None and resource is None:
        return [validation.required(path, "resource or service backend is required")]
    if service is None:
        return []
    found: list[FieldProblem] = []
    if not service.get("name"):
        found.append(validation.required(f"{path}.service.name"))
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        found.append(validation.invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        found += validation.port_name(f"{path}.service.port.name", port["name"])
    elif port.get("number"):
        found += validation.port(f"{path}.service.port.number", port["number"])
    else:
        found.append(validation.required(path, "port name or number is required"))
    return found


def _hosts(obj: Object) -> str:
    hosts = [rule.get("host") or "" for rule in dig(obj, "spec", "rules") or ()]
    hosts = list(dict.fromkeys(filter(None, hosts)))
    if not hosts:
        return "*"
    return ",".join(hosts[:SHOWN]) + (f" + {len(hosts) - SHOWN} more..." if len(hosts) > SHOWN else "")


def _address(obj: Object) -> str:
    return ",".join(
        one.get("ip") or one.get("hostname") or "" for one in dig(obj, "status", "loadBalancer", "ingress") or ()
    )


def _network_policy_defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _network_policy_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    found = validation.selector("spec.podSelector", spec["podSelector"])
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(field) or ()):
            path = f"spec.{field}[{index}]"
            for place, port in enumerate(rule.get("ports") or ()):
                found += validation.one_of(f"{path}.ports[{place}].protocol", port["protocol"], PROTOCOLS)
            for place, peer in enumerate(rule.get(peers) or ()):
                found += _peer_problems(peer, f"{path}.{peers}[{place}]")
    if len(spec["policyTypes"]) > len(POLICY_TYPES):
        why = "may not specify more than two policyTypes"
        found.append(validation.invalid("spec.policyTypes", spec["policyTypes"], why))
    for index, kind in enumerate(spec["policyTypes"]):
        found += validation.one_of(f"spec.policyTypes[{index}]", kind, POLICY_TYPES)
    return found


def _peer_problems(peer: Mapping[str, Any], path: str) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    given = [field for field in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(field) is not None]
    if not given:
        found.append(validation.required(path, "must specify a peer"))
    if "ipBlock" in given and len(given) > 1:
        found.append(validation.forbidden(path, "may not specify both ipBlock and another peer"))
    for field in given:
        if field != "ipBlock":
            found += validation.selector(f"{path}.{field}", peer[field])
            continue
        found += validation.network(f"{path}.ipBlock.cidr", peer["ipBlock"].get("cidr") or "")
    return found


def _host(name: str) -> list[str]:
    return validation.subdomain(name.removeprefix("*."))


def _class_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    controller = dig(new, "spec", "controller") or ""
    found = validation.domain_path("spec.controller", controller)
    if old is not None and controller != dig(old, "spec", "controller"):
        found.append(validation.immutable("spec.controller", controller))
    return found


def _parameters(obj: Object) -> str:
    about = dig(obj, "spec", "parameters")
    if not about:
        return "<none>"
    group = f".{about['apiGroup']}" if about.get("apiGroup") else ""
    return f"{about.get('kind')}{group}/{about.get('name')}"


INGRESS: Final = Kind(
    kind="Ingress",
    plural="ingresses",
    singular="ingress",
    group=GROUP,
    short_names=("ing",),
    columns=(
        NAME,
        Column("Class", lambda obj: dig(obj, "spec", "ingressClassName") or "<none>"),
        Column("Hosts", _hosts),
        Column("Address", _address),
        Column("Ports", lambda obj: "80, 443" if dig(obj, "spec", "tls") else "80"),
        AGE,
    ),
    prepare=starts_with_status(loadBalancer={}),
    validate=_ingress_problems,
    status=True,
    generation=True,
)

INGRESS_CLASS: Final = Kind(
    kind="IngressClass",
    plural="ingressclasses",
    singular="ingressclass",
    group=GROUP,
    namespaced=False,
    columns=(
        NAME,
        Column("Controller", lambda obj: dig(obj, "spec", "controller") or ""),
        Column("Parameters", _parameters),
        AGE,
    ),
    validate=_class_problems,
    generation=True,
)

NETWORK_POLICY: Final = Kind(
    kind="NetworkPolicy",
    plural="networkpolicies",
    singular="networkpolicy",
    group=GROUP,
    short_names=("netpol",),
    columns=(
        NAME,
        Column("Pod-Selector", lambda obj: shown_requirements(dig(obj, "spec", "podSelector") or {}) or "<none>"),
        AGE,
    ),
    default=_network_policy_defaults,
    validate=_network_policy_problems,
    generation=True,
)

NETWORKING: Final = (INGRESS_CLASS, INGRESS, NETWORK_POLICY)
