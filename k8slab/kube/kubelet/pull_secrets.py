"""What the secrets in a pod's imagePullSecrets say to registries."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from k8slab.kube.client import Object
from k8slab.kube.events import WARNING
from k8slab.kube.kubelet.objects import Pod, Supplies, Undecodable, values
from k8slab.kube.kubelet.references import registry_of

_FORMS: Final = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}

Credentials = dict[str, str]


def credentials_in(secret: Object, registry: str) -> list[Credentials]:
    """What the engine needs for the registry. Raises ValueError for a secret that holds none of any registry."""
    kind = secret.get("type") or ""
    if kind not in _FORMS:
        raise ValueError(f"type {kind or 'Opaque'} holds no credentials of registries")
    try:
        config = orjson.loads(values(secret).get(_FORMS[kind], b""))
        entries = config["auths"] if kind.endswith("json") else config
        return [_credentials(place, entry) for place, entry in entries.items() if _host(place) == _host(registry)]
    except (Undecodable, orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{_FORMS[kind]} cannot be read: {error}") from error


async def pull_credentials(
    pod: Pod,
    reference: str,
    supplies: Supplies,
    own_registry: Callable[[], Awaitable[str]],
    say: Callable[[str, str, str], None],
) -> list[Credentials]:
    """Of all the pod's secrets; those that are missing or are something else are told.

    ``own_registry`` says where the engine gets images that name none.
    """
    found: list[Credentials] = []
    missing = []
    names = [one.get("name") or "" for one in pod["spec"].get("imagePullSecrets") or ()]
    registry = registry_of(reference) or (await own_registry() if names else "")
    for name in names:
        secret = await supplies.find(pod, "secrets", name)
        if secret is None:
            missing.append(name)
            continue
        try:
            found += credentials_in(secret, registry)
        except ValueError as error:
            say(WARNING, "FailedToRetrieveImagePullSecret", f"Image pull secret {name}: {error}")
    if missing:
        why = f"Unable to retrieve some image pull secrets ({', '.join(missing)})"
        say(WARNING, "FailedToRetrieveImagePullSecret", f"{why}; attempting to pull the image may not succeed.")
    return found


def _host(place: str) -> str:
    return (place.partition("://")[2] or place).partition("/")[0]


def _credentials(place: str, entry: Mapping[str, Any]) -> Credentials:
    if token := entry.get("identitytoken"):
        return {"identitytoken": token, "serveraddress": place}
    username, password = entry.get("username"), entry.get("password")
    if encoded := entry.get("auth"):
        try:
            username, _, password = base64.b64decode(encoded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"auth of {place}: {error}") from error
    return {"username": username or "", "password": password or "", "serveraddress": place}
