"""What a pod must be like, with the original's sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kinds.lifecycle_rules import lifecycle_problems
from k8slab.kube.api.kinds.placement_rules import affinity_problems, spread_problems
from k8slab.kube.api.kinds.pod_updates import update_problems
from k8slab.kube.api.kinds.resource_rules import resource_problems
from k8slab.kube.api.kinds.security_rules import container_security_problems, pod_security_problems
from k8slab.kube.api.kinds.volume_rules import env_from_problems, env_problems, source_problems
from k8slab.kube.api.meta import Object, dig

RESTART: Final = ("Always", "Never", "OnFailure")
DNS: Final = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
PULL: Final = ("Always", "IfNotPresent", "Never")
EFFECTS: Final = ("NoExecute", "NoSchedule", "PreferNoSchedule")
MESSAGES: Final = ("FallbackToLogsOnError", "File")
PROPAGATION: Final = ("Bidirectional", "HostToContainer", "None")
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")

_MOST_SERVERS: Final = 3
_MOST_SEARCHES: Final = 32
_VARIABLE: Final = re.compile(r"[ -<>-~]+\Z")
VARIABLE_RULE: Final = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)


def pod_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found = spec_problems(new["spec"], "spec")
    if old is not None:
        return found + update_problems(new["spec"], old["spec"])
    if new["spec"].get("ephemeralContainers"):
        found.append(validation.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return found


def status_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    """A pod's addresses are handed on to services: one that is none would keep all of theirs from being written."""
    status, was = new.get("status") or {}, (old or {}).get("status") or {}
    given = [one.get("ip") or "" for one in status.get("podIPs") or ()] or [*filter(None, [status.get("podIP")])]
    if status.get("podIP") == was.get("podIP") and status.get("podIPs") == was.get("podIPs"):
        return []
    return [one for index, ip in enumerate(given) for one in validation.address(f"status.podIPs[{index}]", ip)]


def spec_problems(spec: Mapping[str, Any], path: str) -> list[FieldProblem]:
    volumes = spec.get("volumes") or ()
    found, volume_names = _volumes(volumes, f"{path}.volumes")
    seen: set[str] = set()
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if not spec.get("containers"):
        found.append(validation.required(f"{path}.containers"))
    taken: set[str] = set()
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            found += _container(container, f"{path}.{field}[{index}]", seen, volume_names)
            where, initial = f"{path}.{field}[{index}]", field == "initContainers"
            found += lifecycle_problems(container, where, initial=initial, grace=grace)
            # Init containers run one after the other.
            taken = set() if initial else taken
            found += _host_port_twice(container.get("ports") or (), f"{where}.ports", taken)
            if spec.get("hostNetwork"):
                found += _host_ports(container.get("ports") or (), f"{where}.ports")
    found += validation.one_of(f"{path}.restartPolicy", spec["restartPolicy"], RESTART)
    found += validation.one_of(f"{path}.dnsPolicy", spec["dnsPolicy"], DNS)
    if spec["dnsPolicy"] == "None" and not dig(spec, "dnsConfig", "nameservers"):
        why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        found.append(validation.required(f"{path}.dnsConfig.nameservers", why))
    found += _resolver(spec.get("dnsConfig") or {}, f"{path}.dnsConfig")
    found += pod_security_problems(spec.get("securityContext") or {}, f"{path}.securityContext")
    found += _gates(spec, path)
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        found += _toleration(toleration, f"{path}.tolerations[{index}]")
    found += validation.labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    found += affinity_problems(spec.get("affinity") or {}, f"{path}.affinity")
    found += spread_problems(spec.get("topologySpreadConstraints") or (), f"{path}.topologySpreadConstraints")
    for field, check in (
        ("serviceAccountName", validation.subdomain),
        ("nodeName", validation.subdomain),
        ("hostname", validation.label),
        ("subdomain", validation.label),
    ):
        if spec.get(field):
            found += validation.checked(f"{path}.{field}", spec[field], check)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 0 < deadline < 2**31:
        found.append(
            validation.invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        where = f"{path}.hostAliases[{index}]"
        found += validation.address(f"{where}.ip", alias.get("ip") or "")
        for place, name in enumerate(alias.get("hostnames") or ()):
            found += validation.checked(f"{where}.hostnames[{place}]", name, validation.subdomain)
    return found


def _toleration(toleration: Mapping[str, Any], path: str) -> list[FieldProblem]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    value, effect = toleration.get("value") or "", toleration.get("effect") or ""
    found: list[FieldProblem] = []
    if key:
        found += validation.checked(f"{path}.key", key, validation.qualified_name)
    elif operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        found.append(validation.invalid(f"{path}.operator", operator, why))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        found.append(validation.invalid(f"{path}.effect", effect, why))
    if operator in ("", "Equal"):
        found += validation.checked(f"{path}.operator", value, validation.label_value)
    elif operator == "Exists" and value:
        why = "value must be empty when `operator` is 'Exists'"
        found.append(
            validation.invalid(f"{path}.operator", validation.Literal(f'core.Toleration{{Key:"{key}", …}}'), why)
        )
    elif operator != "Exists":
        found.append(validation.not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect:
        found += validation.one_of(f"{path}.effect", effect, EFFECTS)
    return found


def _host_ports(ports: Sequence[Mapping[str, Any]], path: str) -> list[FieldProblem]:
    return [
        validation.invalid(f"{path}[{index}].containerPort", port["containerPort"], "must match `hostPort`")
        for index, port in enumerate(ports)
        if port.get("hostPort") != port.get("containerPort") and port.get("containerPort")
    ]


def _host_port_twice(ports: Sequence[Mapping[str, Any]], path: str, taken: set[str]) -> Iterator[FieldProblem]:
    """``taken``: those of the containers before it, and then its own as well."""
    for index, port in enumerate(ports):
        if port.get("hostPort"):
            shown = f"{port['protocol']}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if shown in taken:
                yield validation.duplicate(f"{path}[{index}].hostPort", shown)
            taken.add(shown)


def _resolver(config: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    for field, listed, most in (("nameservers", servers, _MOST_SERVERS), ("searches", searches, _MOST_SEARCHES)):
        if len(listed) > most:
            what = "nameservers" if field == "nameservers" else "search paths"
            yield validation.invalid(f"{path}.{field}", listed, f"must not have more than {most} {what}")
    for index, server in enumerate(servers):
        yield from validation.address(f"{path}.nameservers[{index}]", server)
    for index, domain in enumerate(searches):
        yield from validation.checked(f"{path}.searches[{index}]", domain.removesuffix("."), validation.subdomain)
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            yield validation.required(f"{path}.options[{index}]", "must not be empty")


def _gates(spec: Mapping[str, Any], path: str) -> Iterator[FieldProblem]:
    """What must come before the pod is scheduled, and before it is ready."""
    names: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name, where = gate.get("name") or "", f"{path}.schedulingGates[{index}]"
        yield from validation.checked(where, name, validation.qualified_name)
        if name in names:
            yield validation.duplicate(where, name)
        names.add(name)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        where = f"{path}.readinessGates[{index}].conditionType"
        yield from validation.checked(where, gate.get("conditionType") or "", validation.qualified_name)


def _volumes(volumes: Sequence[Mapping[str, Any]], path: str) -> tuple[list[FieldProblem], set[str]]:
    found: list[FieldProblem] = []
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        name = volume.get("name") or ""
        if not name:
            found.append(validation.required(f"{path}[{index}].name"))
        elif wrong := validation.checked(f"{path}[{index}].name", name, validation.label):
            found += wrong
        elif name in names:
            found.append(validation.duplicate(f"{path}[{index}].name", name))
        names.add(name)
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            found.append(
                validation.forbidden(f"{path}[{index}].{sources[1]}", "may not specify more than 1 volume type")
            )
        if (size := (volume.get("emptyDir") or {}).get("sizeLimit")) is not None:
            found += validation.quantity(f"{path}[{index}].emptyDir.sizeLimit", size)
        found += source_problems(volume, f"{path}[{index}]")
    return found, names


def _container(container: Mapping[str, Any], path: str, seen: set[str], volumes: set[str]) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    name = container.get("name") or ""
    if not name:
        found.append(validation.required(f"{path}.name"))
    elif wrong := validation.checked(f"{path}.name", name, validation.label):
        found += wrong
    elif name in seen:
        found.append(validation.duplicate(f"{path}.name", name))
    seen.add(name)
    image = container.get("image") or ""
    if not image:
        found.append(validation.required(f"{path}.image"))
    elif image.strip() != image:
        found.append(validation.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy"):
        found += validation.one_of(f"{path}.imagePullPolicy", container["imagePullPolicy"], PULL)
    found += validation.one_of(f"{path}.terminationMessagePolicy", container["terminationMessagePolicy"], MESSAGES)
    found += _ports(container.get("ports") or (), f"{path}.ports")
    for index, variable in enumerate(container.get("env") or ()):
        where = f"{path}.env[{index}]"
        name = variable.get("name") or ""
        if not name:
            found.append(validation.required(f"{where}.name"))
        elif not _VARIABLE.match(name):
            found.append(validation.invalid(f"{where}.name", name, VARIABLE_RULE))
        found += env_problems(variable, where)
    for index, source in enumerate(container.get("envFrom") or ()):
        found += env_from_problems(source, f"{path}.envFrom[{index}]")
    mounted: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        where = f"{path}.volumeMounts[{index}]"
        if not mount.get("name"):
            found.append(validation.required(f"{where}.name"))
        elif mount["name"] not in volumes:
            found.append(validation.missing(f"{where}.name", mount["name"]))
        if not mount.get("mountPath"):
            found.append(validation.required(f"{where}.mountPath"))
        elif mount["mountPath"] in mounted:
            found.append(validation.invalid(f"{where}.mountPath", mount["mountPath"], "must be unique"))
        mounted.add(mount.get("mountPath") or "")
        found += _sub_paths(mount, where)
        if (mode := mount.get("mountPropagation")) is not None:
            # The original names no index here.
            shared = f"{path}.volumeMounts.mountPropagation"
            found += validation.one_of(shared, mode, PROPAGATION)
            if mode == "Bidirectional" and not dig(container, "securityContext", "privileged"):
                why = "Bidirectional mount propagation is available only to privileged containers"
                found.append(validation.forbidden(shared, why))
    found += resource_problems(container.get("resources") or {}, f"{path}.resources")
    found += container_security_problems(container.get("securityContext") or {}, f"{path}.securityContext")
    return found


def _sub_paths(mount: Mapping[str, Any], path: str) -> list[FieldProblem]:
    plain, expanded = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    found: list[FieldProblem] = []
    if plain and expanded:
        why = "subPathExpr and subPath are mutually exclusive"
        found.append(validation.invalid(f"{path}.subPathExpr", expanded, why))
    for field, value in (("subPath", plain), ("subPathExpr", expanded)):
        if value.startswith("/"):
            found.append(validation.invalid(f"{path}.{field}", value, "must be a relative path"))
        elif ".." in value.split("/"):
            found.append(validation.invalid(f"{path}.{field}", value, "must not contain '..'"))
    return found


def _ports(ports: Sequence[Mapping[str, Any]], path: str) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        name = port.get("name")
        if name:
            if wrong := validation.port_name(f"{where}.name", name):
                found += wrong
            elif name in names:
                found.append(validation.duplicate(f"{where}.name", name))
            names.add(name)
        if not port.get("containerPort"):
            found.append(validation.required(f"{where}.containerPort"))
        else:
            found += validation.port(f"{where}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            found += validation.port(f"{where}.hostPort", port["hostPort"])
        found += validation.one_of(f"{where}.protocol", port["protocol"], PROTOCOLS)
    return found
