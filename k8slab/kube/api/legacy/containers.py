"""Containers, probes and volumes of v1beta1 and v1beta2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from k8slab.kube.api.meta import Object, parse_quantity

PULL: Final = {"PullAlways": "Always", "PullIfNotPresent": "IfNotPresent", "PullNever": "Never"}
PROBES: Final = {"httpGet": "http", "tcpSocket": "tcp", "exec": "exec"}
# v1beta1's name of a source of a volume → today's.
SOURCES: Final = {
    "emptyDir": "emptyDir",
    "hostDir": "hostPath",
    "gitRepo": "gitRepo",
    "persistentDisk": "gcePersistentDisk",
    "secret": "secret",
    "nfs": "nfs",
}
SAME: Final = ("name", "image", "workingDir", "ports", "lifecycle", "terminationMessagePath", "resources")


def container_to_v1(old: Mapping[str, Any]) -> Object:
    new: Object = {key: old[key] for key in SAME if old.get(key)}
    if old.get("command"):
        # What was called a command takes the place of the image's own arguments and of its entry point.
        new["command"] = old["command"]
    if old.get("env"):
        new["env"] = [{"name": one.get("name") or one.get("key"), "value": one.get("value", "")} for one in old["env"]]
    if old.get("volumeMounts"):
        new["volumeMounts"] = [_mount(one) for one in old["volumeMounts"]]
    limits = dict((old.get("resources") or {}).get("limits") or {})
    if old.get("cpu"):
        limits.setdefault("cpu", f"{int(old['cpu'])}m")
    if old.get("memory"):
        limits.setdefault("memory", str(int(old["memory"])))
    if limits:
        new["resources"] = {**(new.get("resources") or {}), "limits": limits}
    for probe in ("livenessProbe", "readinessProbe"):
        if old.get(probe):
            new[probe] = _probe_to_v1(old[probe])
    context: Object = {}
    if old.get("privileged"):
        context["privileged"] = True
    if old.get("capabilities"):
        context["capabilities"] = old["capabilities"]
    if context:
        new["securityContext"] = context
    if old.get("imagePullPolicy"):
        new["imagePullPolicy"] = PULL.get(old["imagePullPolicy"], old["imagePullPolicy"])
    return new


def container_from_v1(new: Mapping[str, Any]) -> Object:
    old: Object = {key: new[key] for key in SAME if new.get(key)}
    if new.get("command") or new.get("args"):
        old["command"] = [*(new.get("command") or ()), *(new.get("args") or ())]
    if new.get("env"):
        old["env"] = [{"name": one["name"], "key": one["name"], "value": one.get("value", "")} for one in new["env"]]
    if new.get("volumeMounts"):
        old["volumeMounts"] = [{**one, "path": one.get("mountPath")} for one in new["volumeMounts"]]
    limits = (new.get("resources") or {}).get("limits") or {}
    if (cpu := parse_quantity(limits.get("cpu"))) is not None:
        old["cpu"] = int(cpu * Decimal(1000))
    if (memory := parse_quantity(limits.get("memory"))) is not None:
        old["memory"] = int(memory)
    for probe in ("livenessProbe", "readinessProbe"):
        if new.get(probe):
            old[probe] = _probe_from_v1(new[probe])
    context = new.get("securityContext") or {}
    if context.get("privileged"):
        old["privileged"] = True
    if context.get("capabilities"):
        old["capabilities"] = context["capabilities"]
    policy = new.get("imagePullPolicy")
    old["imagePullPolicy"] = next((was for was, now in PULL.items() if now == policy), policy)
    return {key: value for key, value in old.items() if value is not None}


def _mount(old: Mapping[str, Any]) -> Object:
    mount = {"name": old.get("name"), "mountPath": old.get("mountPath") or old.get("path")}
    return mount | ({"readOnly": True} if old.get("readOnly") else {})


def _probe_to_v1(old: Mapping[str, Any]) -> Object:
    new: Object = {key: old[key] for key in (*PROBES, "initialDelaySeconds", "timeoutSeconds") if old.get(key)}
    for action in ("httpGet", "tcpSocket"):
        port = (new.get(action) or {}).get("port")
        if isinstance(port, str) and port.isdigit():
            new[action] = {**new[action], "port": int(port)}
    return new


def _probe_from_v1(new: Mapping[str, Any]) -> Object:
    kept = {key: new[key] for key in (*PROBES, "initialDelaySeconds", "timeoutSeconds") if new.get(key)}
    kind = next((name for action, name in PROBES.items() if new.get(action)), None)
    return {"type": kind, **kept} if kind else kept


def volumes(given: Sequence[Mapping[str, Any]] | None, convert: Callable[[Mapping[str, Any]], Object]) -> list[Object]:
    return [convert(one) for one in given or ()]


def volume_to_v1(old: Mapping[str, Any]) -> Object:
    source = old.get("source") or {}
    new: Object = {"name": old.get("name")}
    for was, now in SOURCES.items():
        if source.get(was) is None:
            continue
        new[now] = source[was]
        if was == "secret":
            new[now] = {"secretName": ((source[was].get("target") or {}).get("name"))}
    if len(new) == 1:
        new["emptyDir"] = {}
    return new


def volume_from_v1(new: Mapping[str, Any]) -> Object:
    for was, now in SOURCES.items():
        if new.get(now) is not None:
            body = {"target": {"kind": "Secret", "name": new[now].get("secretName")}} if was == "secret" else new[now]
            return {"name": new.get("name"), "source": {was: body}}
    return {"name": new.get("name"), "source": {}}
