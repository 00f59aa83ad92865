"""Service and Endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kind import AGE, NAME, PROXY_VERBS, Column, Kind, Subresource, field_reader
from k8slab.kube.api.kinds.service_families import family_defaults, family_problems, is_headless
from k8slab.kube.api.meta import Object, dig

TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
WITH_NODE_PORTS: Final = ("NodePort", "LoadBalancer")
TRAFFIC: Final = ("Cluster", "Local")
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
NODE_PORTS: Final = range(30000, 32768)
LONGEST_AFFINITY: Final = 86400


def needs_cluster_ip(spec: Mapping[str, Any]) -> bool:
    return spec.get("type") != "ExternalName" and not is_headless(spec)


def reaches_outside(spec: Mapping[str, Any]) -> bool:
    kind = spec.get("type")
    return kind in WITH_NODE_PORTS or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        config.setdefault("timeoutSeconds", 10800)
    elif spec["sessionAffinity"] == "None":
        # Whoever turns it off need not take out what was filled in for it.
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, "", 0) and port.get("port"):
            port["targetPort"] = port["port"]
    kind = spec["type"]
    if reaches_outside(spec):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    if kind != "ExternalName":
        family_defaults(spec)


def _prepare(new: Object, old: Object | None) -> None:
    if old is None:
        new["status"] = {"loadBalancer": {}}
        return
    new["status"] = old.get("status") or {"loadBalancer": {}}
    spec, was = new["spec"], old["spec"]
    if "ExternalName" not in (spec["type"], was["type"]) and not spec.get("clusterIP"):
        spec["clusterIP"], spec["clusterIPs"] = was.get("clusterIP"), was.get("clusterIPs")
    if spec["type"] in WITH_NODE_PORTS and was["type"] in WITH_NODE_PORTS:
        before = {(one.get("port"), one.get("protocol")): one.get("nodePort") for one in was.get("ports") or ()}
        for port in spec.get("ports") or ():
            kept = before.get((port.get("port"), port.get("protocol")))
            if kept and not port.get("nodePort"):
                port["nodePort"] = kept
    policy = "externalTrafficPolicy"
    if reaches_outside(was) and not reaches_outside(spec) and spec.get(policy) == was.get(policy):
        spec.pop(policy, None)
    if spec["type"] not in WITH_NODE_PORTS and was["type"] in WITH_NODE_PORTS:
        freed = {one.get("nodePort") for one in was.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in freed:
                port.pop("nodePort", None)
    if spec["type"] != "LoadBalancer" and was["type"] == "LoadBalancer":
        field = "allocateLoadBalancerNodePorts"
        if spec.get(field) == was.get(field):
            spec.pop(field, None)
    if spec["type"] == "ExternalName" and was["type"] != "ExternalName":
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if spec.get(field) == was.get(field):
                spec.pop(field, None)


def _problems(new: Object, old: Object | None) -> list[FieldProblem]:
    spec = new["spec"]
    kind = spec["type"]
    if kind != "ExternalName" and (found := family_problems(spec)) and found != _family_problems_before(old):
        # The original hands out addresses before it looks at anything else.
        return found
    found = validation.one_of("spec.type", kind, TYPES)
    found += validation.one_of("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    found += _ports(spec)
    found += validation.labels("spec.selector", spec.get("selector"))
    if kind == "ExternalName":
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field):
                found.append(validation.forbidden(f"spec.{field}", "may not be set when `type` is 'ExternalName'"))
        name = (spec.get("externalName") or "").rstrip(".")
        if not name:
            found.append(validation.required("spec.externalName"))
        else:
            found += validation.checked("spec.externalName", name, validation.subdomain)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        found += validation.address(f"spec.externalIPs[{index}]", address)
    found += _traffic(spec) + _source_ranges(spec)
    if spec["sessionAffinity"] == "ClientIP":
        seconds = dig(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds") or 0
        if not 0 < seconds <= LONGEST_AFFINITY:
            why = f"must be greater than 0 and less than {LONGEST_AFFINITY}"
            found.append(validation.invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, why))
    address, addresses = spec.get("clusterIP"), spec.get("clusterIPs") or ()
    if old is None and addresses and addresses[0] != (address or ""):
        shown = validation.go_strings(addresses)
        found.append(validation.invalid("spec.clusterIPs", shown, "first value must match `clusterIP`"))
    if is_headless(spec) and len(addresses) > 1:
        shown = validation.go_strings(addresses)
        found.append(validation.invalid("spec.clusterIPs", shown, "'None' must be the first and only value"))
    if address and address != "None":
        found += validation.address("spec.clusterIPs[0]", address)
    if is_headless(spec) and kind in WITH_NODE_PORTS:
        found.append(validation.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if old is not None and "ExternalName" not in (kind, old["spec"]["type"]):
        was = old["spec"].get("clusterIP")
        if was and was != address:
            shown = validation.go_strings([address] if address else None)
            why = "may not change once set" if address else "primary clusterIP can not be unset"
            found.append(validation.invalid("spec.clusterIPs[0]", shown, why))
    return found


def _family_problems_before(old: Object | None) -> list[FieldProblem]:
    """Those of a service that was stored when fewer were looked for."""
    if old is None or old["spec"].get("type") == "ExternalName":
        return []
    spec = dict(old["spec"])
    family_defaults(spec)
    return family_problems(spec)


def _traffic(spec: Mapping[str, Any]) -> list[FieldProblem]:
    outer, inner = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    found: list[FieldProblem] = []
    if outer and not reaches_outside(spec):
        why = "may only be set for externally-accessible services"
        found.append(validation.invalid("spec.externalTrafficPolicy", outer, why))
    elif outer:
        found += validation.one_of("spec.externalTrafficPolicy", outer, TRAFFIC)
    if inner:
        found += validation.one_of("spec.internalTrafficPolicy", inner, TRAFFIC)
    return found


def _source_ranges(spec: Mapping[str, Any]) -> list[FieldProblem]:
    ranges, path = spec.get("loadBalancerSourceRanges") or (), "spec.LoadBalancerSourceRanges"
    found: list[FieldProblem] = []
    if ranges and spec["type"] != "LoadBalancer":
        found.append(validation.forbidden(path, "may only be used when `type` is 'LoadBalancer'"))
    for index, value in enumerate(ranges):
        found += validation.network(f"{path}[{index}]", value.strip())
    return found


def _status_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    ingress, path = dig(new, "status", "loadBalancer", "ingress") or (), "status.loadBalancer.ingress"
    if ingress and new["spec"]["type"] != "LoadBalancer":
        return [validation.forbidden(path, 'may only be used when `spec.type` is "LoadBalancer"')]
    found: list[FieldProblem] = []
    for index, one in enumerate(ingress):
        if one.get("ip"):
            found += validation.address(f"{path}[{index}].ip", one["ip"])
    return found


def _ports(spec: Mapping[str, Any]) -> list[FieldProblem]:
    ports = spec.get("ports") or ()
    found: list[FieldProblem] = []
    if not ports and spec["type"] != "ExternalName" and not is_headless(spec):
        found.append(validation.required("spec.ports"))
    names: set[str] = set()
    taken: set[tuple[Any, Any]] = set()
    numbers: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if len(ports) > 1 and not name:
            found.append(validation.required(f"{path}.name"))
        elif name:
            found += validation.checked(f"{path}.name", name, validation.label)
            if name in names:
                found.append(validation.duplicate(f"{path}.name", name))
            names.add(name)
        found += validation.port(f"{path}.port", port.get("port", 0))
        found += validation.one_of(f"{path}.protocol", port["protocol"], PROTOCOLS)
        target = port.get("targetPort")
        if isinstance(target, int):
            found += validation.port(f"{path}.targetPort", target)
        elif target:
            found += validation.port_name(f"{path}.targetPort", target)
        if port.get("nodePort") and spec["type"] not in WITH_NODE_PORTS:
            why = "may not be used when `type` is 'ClusterIP'"
            found.append(validation.forbidden(f"{path}.nodePort", why))
        if number := port.get("nodePort"):
            if (number, port["protocol"]) in numbers:
                found.append(validation.duplicate(f"{path}.nodePort", number))
            numbers.add((number, port["protocol"]))
        pair = (port.get("port"), port["protocol"])
        if pair in taken:
            found.append(validation.duplicate(path, {"port": pair[0], "protocol": pair[1]}))
        taken.add(pair)
    return found


def _external(obj: Object) -> str:
    spec = obj["spec"]
    listed = list(spec.get("externalIPs") or ())
    if spec["type"] == "ExternalName":
        return spec.get("externalName") or "<none>"
    if spec["type"] == "LoadBalancer":
        for ingress in dig(obj, "status", "loadBalancer", "ingress") or ():
            listed.append(ingress.get("ip") or ingress.get("hostname") or "")
        return ",".join(listed) or "<pending>"
    return ",".join(listed) or "<none>"


def _shown_ports(obj: Object) -> str:
    shown = []
    for port in obj["spec"].get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port['port']}{node}/{port['protocol']}")
    return ",".join(shown) or "<none>"


def shown_labels(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


SERVICE: Final = Kind(
    kind="Service",
    plural="services",
    singular="service",
    short_names=("svc",),
    categories=("all",),
    columns=(
        NAME,
        Column("Type", lambda obj: obj["spec"]["type"]),
        Column("Cluster-IP", lambda obj: obj["spec"].get("clusterIP") or "<none>"),
        Column("External-IP", _external),
        Column("Port(s)", _shown_ports),
        AGE,
        Column("Selector", lambda obj: shown_labels(obj["spec"].get("selector")), wide=True),
    ),
    fields={"spec.clusterIP": field_reader("spec", "clusterIP"), "spec.type": field_reader("spec", "type")},
    default=_defaults,
    prepare=_prepare,
    validate=_problems,
    validate_status=_status_problems,
    name_problems=validation.label_1035,
    status=True,
    creates_on_update=True,
    returns_deleted=True,
    subresources=(Subresource("proxy", "ServiceProxyOptions", PROXY_VERBS, has_paths=True),),
)


def _endpoint_defaults(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _endpoint_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    for index, subset in enumerate(new.get("subsets") or ()):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.append(validation.required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for place, address in enumerate(subset.get(field) or ()):
                found += _endpoint_address_problems(address, f"{path}.{field}[{place}]")
        ports = subset.get("ports") or ()
        for place, port in enumerate(ports):
            where = f"{path}.ports[{place}]"
            if len(ports) > 1 and not port.get("name"):
                found.append(validation.required(f"{where}.name"))
            found += validation.port(f"{where}.port", port.get("port", 0))
            found += validation.one_of(f"{where}.protocol", port["protocol"], PROTOCOLS)
    return found


def _endpoint_address_problems(address: Mapping[str, Any], path: str) -> list[FieldProblem]:
    ip = address.get("ip") or ""
    found = validation.address(f"{path}.ip", ip)
    for field, check in (("hostname", validation.label), ("nodeName", validation.subdomain)):
        if name := address.get(field):
            found += validation.checked(f"{path}.{field}", name, check)
    return found + validation.reachable_address(f"{path}.ip", ip)


def _shown_endpoints(obj: Object) -> str:
    shown: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [address["ip"] for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        shown += [f"{ip}:{port['port']}" for port in ports for ip in addresses] if ports else addresses
    if not shown:
        return "<none>"
    return ",".join(shown[:3]) + (f" + {len(shown) - 3} more..." if len(shown) > 3 else "")


ENDPOINTS: Final = Kind(
    kind="Endpoints",
    plural="endpoints",
    singular="endpoints",
    short_names=("ep",),
    columns=(NAME, Column("Endpoints", _shown_endpoints), AGE),
    default=_endpoint_defaults,
    validate=_endpoint_problems,
    creates_on_update=True,
)
