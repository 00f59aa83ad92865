"""Images from a real registry that asks who is there."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from k8slab.kube.client import KubeClient
from tests.daemons.k8sm import images
from tests.daemons.k8sm.cluster import REPOSITORY, Cluster, pod, running, state
from tests.daemons.processes import Supervisor, eventually, free_port

USER, PASSWORD = "joe", "s3cret"
# What htpasswd makes of the password.
DIGEST = "$2b$04$7FsgkY52/6Mcc0DhtaxPpucBofIz3wBzrYQLlhIPuiZ1thv6wlE2C"


@dataclass
class Registry:
    address: str

    @property
    def image(self) -> str:
        return f"{self.address}/shell:1"

    def give_to_engine(self) -> None:
        """As if it had been pulled before."""
        subprocess.run(["docker", "tag", images.SHELL, self.image], check=True)


@pytest.fixture(scope="module")
def registry(
    session_supervisor: Supervisor, pod_images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """It holds the tests' shell image, which the engine itself has under that name no more."""
    program = shutil.which("docker-registry") or str(REPOSITORY / ".cache/docker-registry/usr/bin/docker-registry")
    directory, port = tmp_path_factory.mktemp("registry"), free_port()
    made = Registry(f"127.0.0.1:{port}")
    users = directory / "htpasswd"
    users.write_text(f"{USER}:{DIGEST}\n")
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": made.address},
        "auth": {"htpasswd": {"realm": "lab", "path": str(users)}},
    }
    (directory / "config.yml").write_text(yaml.safe_dump(config))
    daemon = session_supervisor.daemon(
        "registry", [program, "serve", str(directory / "config.yml")], ready=lambda: _asks(made.address)
    ).start()
    docker = ["docker", "--config", str(directory / "client")]
    login = [*docker, "login", "-u", USER, "--password-stdin", made.address]
    subprocess.run(login, input=PASSWORD, check=True, capture_output=True, text=True)
    made.give_to_engine()
    subprocess.run([*docker, "push", made.image], check=True, capture_output=True)
    subprocess.run(["docker", "rmi", made.image], check=True, capture_output=True)
    yield made
    subprocess.run(["docker", "rmi", "-f", made.image], capture_output=True)
    daemon.stop()


def _asks(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}/v2/", timeout=2)
    except urllib.error.HTTPError as refused:
        return refused.code == 401
    except OSError:
        return False
    return False


def pulls(registry: Registry, name: str, **spec: Any) -> dict[str, Any]:
    return pod(name, container={"image": registry.image, "imagePullPolicy": "Always"}, **spec)


async def events(client: KubeClient, name: str) -> list[tuple[str, str]]:
    found = (await client.list("events", "default", field_selector=f"involvedObject.name={name}")).items
    return [(one["reason"], one["message"]) for one in found]


async def test_an_image_is_pulled_with_the_pods_secret_and_not_without(
    cluster: Cluster, client: KubeClient, registry: Registry
) -> None:
    await client.create("pods", pulls(registry, "stranger", imagePullSecrets=[{"name": "none"}]))

    async def refused() -> bool:
        shown = await client.get("pods", "stranger", "default")
        reason = (state(shown).get("waiting") or {}).get("reason")
        return reason in ("ErrImagePull", "ImagePullBackOff") and ("Failed", "Error: ErrImagePull") in await events(
            client, "stranger"
        )

    await eventually(refused, what="the stranger is refused")
    said = await events(client, "stranger")
    assert ("Pulling", f'Pulling image "{registry.image}"') in said
    assert any(reason == "Failed" and "no basic auth credentials" in message for reason, message in said)
    why = "Unable to retrieve some image pull secrets (none); attempting to pull the image may not succeed."
    assert ("FailedToRetrieveImagePullSecret", why) in said

    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = json.dumps({"auths": {registry.address: {"auth": auth}}})
    secret = {
        "metadata": {"name": "lab-registry"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()},
    }
    await client.create("secrets", secret, "default")
    await client.create("pods", pulls(registry, "friend", imagePullSecrets=[{"name": "lab-registry"}]))
    await cluster.until(client, "friend", running)

    async def told() -> bool:
        return any("Successfully pulled image" in message for _, message in await events(client, "friend"))

    await eventually(told, what="the pull is told")
    await client.delete("secrets", "lab-registry", "default")


async def test_a_pulled_image_serves_those_that_do_not_insist(
    cluster: Cluster, client: KubeClient, registry: Registry
) -> None:
    registry.give_to_engine()
    await client.create("pods", pod("modest", container={"image": registry.image, "imagePullPolicy": "Never"}))
    await cluster.until(client, "modest", running)

    async def told() -> bool:
        present = f'Container image "{registry.image}" already present on machine'
        return ("Pulled", present) in await events(client, "modest")

    await eventually(told, what="nothing was pulled")
