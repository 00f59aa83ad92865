"""Pod: the declaration, what is filled in, and what kubectl prints of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from k8slab.kube.api.kind import AGE, NAME, PROXY_VERBS, Column, Kind, Subresource, field_reader
from k8slab.kube.api.kinds.lifecycle_rules import PROBES
from k8slab.kube.api.kinds.placement_rules import with_label_keys
from k8slab.kube.api.kinds.pod_rules import pod_problems, status_problems
from k8slab.kube.api.meta import Object, age, dig, parse_quantity


def containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _defaults(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec_defaults(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in containers(spec):
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def spec_defaults(spec: dict[str, Any]) -> None:
    """What pods and templates of pods have in common."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in containers(spec):
        _container_defaults(container, host_network=bool(spec.get("hostNetwork")))
    for volume in spec.get("volumes") or ():
        _volume_defaults(volume)


def _container_defaults(container: dict[str, Any], *, host_network: bool) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    image = container.get("image") or ""
    if image and not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = "Always" if _is_latest(image) else "IfNotPresent"
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if host_network and port.get("containerPort") and not port.get("hostPort"):
            port["hostPort"] = port["containerPort"]
    for name in PROBES:
        if probe := container.get(name):
            for field, value in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                probe.setdefault(field, value)
            _handler_defaults(probe)
            if grpc := probe.get("grpc"):
                grpc.setdefault("service", "")
    for hook in ("postStart", "preStop"):
        _handler_defaults(dig(container, "lifecycle", hook) or {})
    for variable in container.get("env") or ():
        if field_ref := dig(variable, "valueFrom", "fieldRef"):
            field_ref.setdefault("apiVersion", "v1")


def _handler_defaults(handler: dict[str, Any]) -> None:
    if http := handler.get("httpGet"):
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")


def _is_latest(image: str) -> bool:
    if "@" in image:
        return False
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return tag in ("", "latest")


def _volume_defaults(volume: dict[str, Any]) -> None:
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if source in volume:
            volume[source].setdefault("defaultMode", 0o644)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    projections = dig(volume, "projected", "sources") or ()
    for projection in projections:
        if "serviceAccountToken" in projection:
            projection["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    for downward in (volume.get("downwardAPI"), *(one.get("downwardAPI") for one in projections)):
        for item in (downward or {}).get("items") or ():
            if "fieldRef" in item:
                item["fieldRef"].setdefault("apiVersion", "v1")


def _prepare(new: Object, old: Object | None) -> None:
    if old is not None:
        new["status"] = old.get("status") or {}
        return
    with_label_keys(new)
    new["status"] = {"phase": "Pending", "qosClass": qos_class(new["spec"])}


def qos_class(spec: dict[str, Any]) -> str:
    """Guaranteed when every container limits cpu and memory to what it requests; BestEffort when none asks anything."""
    asked, guaranteed = False, True
    for container in containers(spec):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit, request = parse_quantity(limits.get(name)), parse_quantity(requests.get(name))
            asked = asked or bool(limit) or bool(request)
            guaranteed = guaranteed and bool(limit) and limit == request
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _sidecars(obj: Object) -> set[str]:
    init = obj["spec"].get("initContainers") or ()
    return {one["name"] for one in init if one.get("restartPolicy") == "Always"}


def _ready(obj: Object) -> str:
    sidecars = _sidecars(obj)
    statuses = (
        *(dig(obj, "status", "containerStatuses") or ()),
        *(one for one in dig(obj, "status", "initContainerStatuses") or () if one.get("name") in sidecars),
    )
    ready = sum(1 for one in statuses if one.get("ready") and dig(one, "state", "running") is not None)
    return f"{ready}/{len(obj['spec'].get('containers') or ()) + len(sidecars)}"


def _restarts(obj: Object) -> str:
    """Of the init containers while these run, then of the sidecars and the main containers."""
    status, sidecars = obj.get("status") or {}, _sidecars(obj)
    initial = status.get("initContainerStatuses") or ()
    if _init_word(obj, status):
        statuses = [*initial]
    else:
        statuses = [*(one for one in initial if one.get("name") in sidecars), *(status.get("containerStatuses") or ())]
    count = sum(one.get("restartCount") or 0 for one in statuses)
    ends = [dig(one, "lastState", "terminated", "finishedAt") for one in statuses]
    last = max(filter(None, ends), default=None)
    return f"{count} ({age(last)} ago)" if count and last else str(count)


def status_word(obj: Object) -> str:
    """The Status cell: the most telling reason that the pod's containers give, else the phase."""
    status = obj.get("status") or {}
    word = status.get("reason") or status.get("phase") or "Unknown"
    starting = _init_word(obj, status)
    if starting:
        word = starting
    else:
        running = False
        for one in reversed(status.get("containerStatuses") or ()):
            found = _container_word(one)
            word = found or word
            running = running or (bool(one.get("ready")) and dig(one, "state", "running") is not None)
        if word == "Completed" and running:
            word = "Running" if _condition(status, "Ready") else "NotReady"
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(word)


def _container_word(one: dict[str, Any]) -> str:
    waiting, ended = dig(one, "state", "waiting"), dig(one, "state", "terminated")
    if waiting and waiting.get("reason"):
        return str(waiting["reason"])
    if ended is None:
        return ""
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _init_word(obj: Object, status: dict[str, Any]) -> str:
    if _condition(status, "Initialized"):
        return ""
    wanted, sidecars = len(obj["spec"].get("initContainers") or ()), _sidecars(obj)
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        ended, waiting = dig(one, "state", "terminated"), dig(one, "state", "waiting")
        if ended is not None and not ended.get("exitCode"):
            continue
        if one.get("name") in sidecars and one.get("started"):
            continue
        if ended is not None:
            return f"Init:{_container_word(one)}"
        reason = (waiting or {}).get("reason")
        return f"Init:{reason}" if reason and reason != "PodInitializing" else f"Init:{index}/{wanted}"
    return ""


def _condition(status: dict[str, Any], kind: str) -> bool:
    return any(one.get("type") == kind and one.get("status") == "True" for one in status.get("conditions") or ())


def _gates(obj: Object) -> str:
    gates = obj["spec"].get("readinessGates") or ()
    if not gates:
        return "<none>"
    true = sum(1 for gate in gates if _condition(obj.get("status") or {}, gate.get("conditionType") or ""))
    return f"{true}/{len(gates)}"


def _ip(obj: Object) -> str:
    addresses = dig(obj, "status", "podIPs") or ()
    return (addresses[0].get("ip") if addresses else dig(obj, "status", "podIP")) or "<none>"


def grace(obj: Object, asked: int | None) -> int:
    """Seconds that the kubelet gets; none for a pod that no kubelet has or that has ended."""
    if not obj["spec"].get("nodeName") or dig(obj, "status", "phase") in ("Succeeded", "Failed"):
        return 0
    period = asked if asked is not None else obj["spec"].get("terminationGracePeriodSeconds", 30)
    return max(int(period), 1) if period < 0 else int(period)


POD: Final = Kind(
    kind="Pod",
    plural="pods",
    singular="pod",
    short_names=("po",),
    categories=("all",),
    columns=(
        NAME,
        Column("Ready", _ready),
        Column("Status", status_word),
        Column("Restarts", _restarts),
        AGE,
        Column("IP", _ip, wide=True),
        Column("Node", lambda obj: obj["spec"].get("nodeName") or "<none>", wide=True),
        Column("Nominated Node", lambda obj: dig(obj, "status", "nominatedNodeName") or "<none>", wide=True),
        Column("Readiness Gates", _gates, wide=True),
    ),
    fields={
        **{
            f"spec.{label}": field_reader("spec", label)
            for label in ("nodeName", "restartPolicy", "schedulerName", "serviceAccountName")
        },
        "spec.hostNetwork": lambda obj: "true" if dig(obj, "spec", "hostNetwork") else "false",
        "status.phase": field_reader("status", "phase"),
        "status.podIP": field_reader("status", "podIP"),
        "status.nominatedNodeName": field_reader("status", "nominatedNodeName"),
    },
    default=_defaults,
    prepare=_prepare,
    validate=pod_problems,
    validate_status=status_problems,
    status=True,
    grace=grace,
    returns_deleted=True,
    subresources=(
        Subresource("attach", "PodAttachOptions", ("create", "get")),
        Subresource("binding", "Binding", ("create",)),
        Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
        Subresource("exec", "PodExecOptions", ("create", "get")),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
        Subresource("proxy", "PodProxyOptions", PROXY_VERBS, has_paths=True),
    ),
)
