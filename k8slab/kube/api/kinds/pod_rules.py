"""What a pod must be like, with the original's sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from k8slab.kube.api import validation
from k8slab.kube.api.errors import FieldProblem
from k8slab.kube.api.kinds.lifecycle_rules import lifecycle_problems
from k8slab.kube.api.kinds.volume_rules import env_from_problems, env_problems, source_problems
from k8slab.kube.api.meta import Object, parse_quantity

RESTART: Final = ("Always", "Never", "OnFailure")
DNS: Final = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
PULL: Final = ("Always", "IfNotPresent", "Never")
MESSAGES: Final = ("FallbackToLogsOnError", "File")
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")

UPDATE_RULE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_problems(new: Object, old: Object | None) -> list[FieldProblem]:
    found = spec_problems(new["spec"], "spec")
    if old is not None and _frozen(new["spec"], old["spec"]) != _frozen(old["spec"], old["spec"]):
        found.append(validation.forbidden("spec", UPDATE_RULE))
    return found


def _frozen(spec: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with what an update may change set back to what it was."""
    shown = dict(spec)
    for field in ("containers", "initContainers"):
        if field in shown:
            shown[field] = [{key: value for key, value in one.items() if key != "image"} for one in shown[field]]
    shown.pop("activeDeadlineSeconds", None)
    was = old.get("tolerations") or []
    shown["tolerations"] = [one for one in was if one in (shown.get("tolerations") or ())]
    if old.get("terminationGracePeriodSeconds", 0) < 0 and shown.get("terminationGracePeriodSeconds") == 1:
        shown["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    if old.get("schedulingGates"):
        shown["schedulingGates"] = None
    return shown


def spec_problems(spec: Mapping[str, Any], path: str) -> list[FieldProblem]:
    volumes = spec.get("volumes") or ()
    found, volume_names = _volumes(volumes, f"{path}.volumes")
    seen: set[str] = set()
    if not spec.get("containers"):
        found.append(validation.required(f"{path}.containers"))
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            found += _container(container, f"{path}.{field}[{index}]", seen, volume_names)
            found += lifecycle_problems(container, f"{path}.{field}[{index}]", initial=field == "initContainers")
    found += validation.one_of(f"{path}.restartPolicy", spec["restartPolicy"], RESTART)
    found += validation.one_of(f"{path}.dnsPolicy", spec["dnsPolicy"], DNS)
    found += validation.labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    for field, check in (
        ("serviceAccountName", validation.subdomain),
        ("nodeName", validation.subdomain),
        ("hostname", validation.label),
        ("subdomain", validation.label),
    ):
        if spec.get(field):
            found += [validation.invalid(f"{path}.{field}", spec[field], why) for why in check(spec[field])]
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 0 < deadline < 2**31:
        found.append(
            validation.invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    return found


def _volumes(volumes: Sequence[Mapping[str, Any]], path: str) -> tuple[list[FieldProblem], set[str]]:
    found: list[FieldProblem] = []
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        name = volume.get("name") or ""
        if not name:
            found.append(validation.required(f"{path}[{index}].name"))
        elif wrong := validation.label(name):
            found += [validation.invalid(f"{path}[{index}].name", name, why) for why in wrong]
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
    elif wrong := validation.label(name):
        found += [validation.invalid(f"{path}.name", name, why) for why in wrong]
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
        if not variable.get("name"):
            found.append(validation.required(f"{where}.name"))
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
    found += _resources(container.get("resources") or {}, f"{path}.resources")
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


def _resources(resources: Mapping[str, Any], path: str) -> list[FieldProblem]:
    found: list[FieldProblem] = []
    amounts: dict[tuple[str, str], Any] = {}
    for field in ("limits", "requests"):
        for name, value in (resources.get(field) or {}).items():
            amounts[field, name] = parse_quantity(value)
            found += validation.quantity(f"{path}.{field}[{name}]", value)
    for name, value in (resources.get("requests") or {}).items():
        request, limit = amounts.get(("requests", name)), amounts.get(("limits", name))
        if request is not None and limit is not None and request > limit:
            why = f"must be less than or equal to {name} limit of {(resources.get('limits') or {})[name]}"
            found.append(validation.invalid(f"{path}.requests", value, why))
    return found
