"""A pod's account: which one it is, and the files by which the pod's containers speak to the API in its name."""

from __future__ import annotations

from typing import Any, Final

from k8slab.kube.api import errors
from k8slab.kube.api.kinds.small import SERVICE_ACCOUNT
from k8slab.kube.api.known import Known
from k8slab.kube.api.meta import Object, generated_name

MIRROR: Final = "kubernetes.io/config.mirror"
DEFAULT_ACCOUNT: Final = "default"
# A new namespace's account is made by a controller: how often and how long a pod waits for it, in seconds.
LOOKS: Final = 10
LOOK_EVERY: Final = 0.1

VOLUME_STEM: Final = "kube-api-access-"
MOUNT_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
# An hour, and so much that it is seen who has asked for it.
TOKEN_SECONDS: Final = 3607


def name_account(pod: Object) -> None:
    if not _is_mirror(pod):
        spec = pod["spec"]
        spec["serviceAccountName"] = spec["serviceAccount"] = spec.get("serviceAccountName") or DEFAULT_ACCOUNT


async def use_account(pod: Object, known: Known) -> None:
    """The account must be there; its secrets for images are the pod's, its token is mounted. Raises Forbidden."""
    meta, spec = pod["metadata"], pod["spec"]
    if _is_mirror(pod):
        _judge_mirror(pod)
        return
    namespace, name = meta["namespace"], spec["serviceAccountName"]
    account = await known.find(SERVICE_ACCOUNT, namespace, name)
    for _ in range(LOOKS if name == DEFAULT_ACCOUNT else 0):
        if account is not None:
            break
        await known.cache.wait_for(known.cache.revision + 1, LOOK_EVERY)
        account = await known.find(SERVICE_ACCOUNT, namespace, name)
    if account is None:
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise errors.forbidden("", "pods", meta.get("name") or "", why)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(one) for one in account["imagePullSecrets"]]
    wishes = (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken"))
    if next((wish for wish in wishes if wish is not None), True):
        _mount_token(spec)


def _is_mirror(pod: Object) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})


def _judge_mirror(pod: Object) -> None:
    """What stands on a node by itself may not lean on the API. Raises Forbidden."""
    spec, name = pod["spec"], pod["metadata"].get("name") or ""
    volumes = spec.get("volumes") or ()
    projections = [one for volume in volumes for one in (volume.get("projected") or {}).get("sources") or ()]
    for wrong, what in (
        (spec.get("serviceAccountName"), "reference service accounts"),
        (any("secret" in volume for volume in volumes), "reference secrets"),
        (
            any("serviceAccountToken" in one for one in projections),
            "use service account token volume projections",
        ),
    ):
        if wrong:
            raise errors.forbidden("", "pods", name, f"a mirror pod may not {what}")


def _mount_token(spec: Object) -> None:
    """Into every container that has not put something else there."""
    volumes = spec.get("volumes") or []
    there = next((one["name"] for one in volumes if (one.get("name") or "").startswith(VOLUME_STEM)), None)
    name = there or generated_name(VOLUME_STEM)
    mount = {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}
    mounted = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.get("volumeMounts") or []
        if all(one.get("mountPath") != MOUNT_PATH for one in mounts):
            container["volumeMounts"] = [*mounts, dict(mount)]
            mounted = True
    if mounted and there is None:
        spec["volumes"] = [*volumes, _token_volume(name)]


def _token_volume(name: str) -> dict[str, Any]:
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]
    return {"name": name, "projected": {"defaultMode": 0o644, "sources": sources}}
