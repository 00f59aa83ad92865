"""Whether an image is had, by whom it is waited for and what is said meanwhile."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from k8slab.kube.client import Object
from k8slab.kube.kubelet.engine import EngineError
from k8slab.kube.kubelet.images import Found, ImageError, Images
from k8slab.kube.kubelet.pull_secrets import pull_credentials
from k8slab.kube.kubelet.references import problem, registry_of
from tests.unit.kubelet.pods import Shelf, a_pod, a_secret

NAME = "registry:5000/web:1"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("nginx", ""),
        ("k8slab/nginx:1.22", ""),
        ("registry.lab:5000/a/b-c__d.e:v1.0_x", ""),
        ("localhost/x@sha256:" + "a" * 64, ""),
        ("Registry.Lab:5000/x", ""),
        ("NGINX:1", "invalid reference format: repository name (library/NGINX) must be lowercase"),
        ("hub.lab/Web", "invalid reference format: repository name (Web) must be lowercase"),
        ("nginx:", "invalid reference format"),
        ("nginx:a b", "invalid reference format"),
        ("-x", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("x" * 256, "repository name must not be more than 255 characters"),
    ],
)
def test_names(reference: str, why: str) -> None:
    assert problem(reference) == why


@pytest.mark.parametrize(
    ("reference", "registry"),
    [("nginx", ""), ("k8slab/nginx", ""), (NAME, "registry:5000"), ("localhost/x", "localhost")],
)
def test_registries(reference: str, registry: str) -> None:
    assert registry_of(reference) == registry


class Engine:
    def __init__(self) -> None:
        self.there: set[str] = set()
        self.pulls: list[Any] = []
        self.gives = False
        self.password = ""

    async def image_id(self, reference: str) -> str | None:
        return "sha256:1" if reference in self.there else None

    async def pull(self, reference: str, credentials: dict[str, str]) -> None:
        self.pulls.append(credentials.get("username"))
        if not self.gives or credentials.get("password", "") != self.password:
            raise EngineError(404, "manifest unknown")
        self.there.add(reference)


class Asker:
    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine: Any = Engine()
        self.images = Images(self.engine, tmp_path)
        self.now = 0.0
        self.said: list[tuple[str, str]] = []
        monkeypatch.setattr("k8slab.kube.kubelet.images.time.monotonic", lambda: self.now)

    async def ask(self, reference: str = NAME, policy: str = "IfNotPresent", **how: Any) -> Found | ImageError:
        self.said.clear()
        try:
            return await self.images.ensure(
                reference, policy, say=lambda kind, reason, message: self.said.append((reason, message)), **how
            )
        except ImageError as error:
            return error

    async def reason(self, *arguments: Any, **how: Any) -> str:
        answer = await self.ask(*arguments, **how)
        return answer.reason if isinstance(answer, ImageError) else answer.how


@pytest.fixture
def asker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asker:
    return Asker(tmp_path, monkeypatch)


async def test_a_failed_pull_is_tried_again_later_and_later(asker: Asker) -> None:
    first = await asker.ask()
    assert isinstance(first, ImageError)
    assert (first.reason, first.message) == ("ErrImagePull", f'Failed to pull image "{NAME}": manifest unknown')
    assert asker.said == [
        ("Pulling", f'Pulling image "{NAME}"'),
        ("Failed", f'Failed to pull image "{NAME}": manifest unknown'),
        ("Failed", "Error: ErrImagePull"),
    ]
    asker.now = 9.0
    second = await asker.ask()
    assert isinstance(second, ImageError)
    assert (second.reason, second.retry) == ("ImagePullBackOff", 1.0)
    assert second.message == f'Back-off pulling image "{NAME}": ErrImagePull: manifest unknown'
    assert asker.said == [("BackOff", f'Back-off pulling image "{NAME}"'), ("Failed", "Error: ImagePullBackOff")]
    asker.now = 10.0
    assert await asker.reason() == "ErrImagePull"
    asker.now = 29.0
    assert await asker.reason() == "ImagePullBackOff"
    asker.now = 30.0
    asker.engine.gives = True
    assert (await asker.reason()).startswith(f'Successfully pulled image "{NAME}"')
    assert len(asker.engine.pulls) == 3


async def test_one_pods_failures_are_no_other_pods(asker: Asker) -> None:
    assert await asker.reason(owner="u-1") == "ErrImagePull"
    assert await asker.reason(owner="u-2") == "ErrImagePull"
    assert await asker.reason(owner="u-1") == "ImagePullBackOff"
    asker.images.forget("u-1")
    assert await asker.reason(owner="u-1") == "ErrImagePull"
    assert await asker.reason(owner="u-2") == "ImagePullBackOff"


async def test_policies(asker: Asker) -> None:
    assert await asker.reason(NAME, "Never") == "ErrImageNeverPull"
    why = f'Container image "{NAME}" is not present with pull policy of Never'
    assert asker.said == [("ErrImageNeverPull", why), ("Failed", "Error: ErrImageNeverPull")]
    asker.engine.there.add(NAME)
    present = f'Container image "{NAME}" already present on machine'
    assert await asker.reason(NAME, "Never") == await asker.reason(NAME, "IfNotPresent") == present
    assert asker.engine.pulls == []
    assert await asker.reason(NAME, "Always") == "ErrImagePull"


async def test_a_name_that_is_none_is_never_asked_for(asker: Asker) -> None:
    assert await asker.reason("Web:1") == "InvalidImageName"
    why = (
        'Failed to apply default image tag "Web:1": couldn\'t parse image name "Web:1": invalid reference format: '
        "repository name (library/Web) must be lowercase"
    )
    assert asker.said == [("InspectFailed", why), ("Failed", "Error: InvalidImageName")]
    assert asker.engine.pulls == []


def config_secret(name: str, entries: dict[str, Any], *, old: bool = False) -> Object:
    key, content = (".dockercfg", entries) if old else (".dockerconfigjson", {"auths": entries})
    kind = f"kubernetes.io/{key.removeprefix('.')}"
    return {**a_secret(name, {key: orjson.dumps(content)}), "type": kind}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SECRETS = Shelf(
    config_secret("wrong", {"http://registry:5000/v1/": {"username": "eve", "password": "guess"}}),
    config_secret("right", {"registry:5000": {"auth": encoded("joe:s3:cret")}, "elsewhere": {"auth": "!"}}),
    config_secret("old", {"https://index.example/v1/": {"identitytoken": "abc"}}, old=True),
    a_secret("plain", {"a": b"b"}),
    {**a_secret("broken", {".dockerconfigjson": b"{"}), "type": "kubernetes.io/dockerconfigjson"},
)


async def credentials(reference: str, *names: str) -> tuple[list[dict[str, str]], list[str]]:
    said: list[str] = []
    pod = a_pod(imagePullSecrets=[{"name": name} for name in names])

    async def own_registry() -> str:
        return "https://index.example/v1/"

    found = await pull_credentials(
        pod, reference, SECRETS, own_registry, lambda kind, reason, message: said.append(message)
    )
    return found, said


async def test_credentials_are_tried_until_one_is_right(asker: Asker) -> None:
    asker.engine.gives, asker.engine.password = True, "s3:cret"
    assert await asker.reason(owner="u-1") == "ErrImagePull"

    async def known() -> list[dict[str, str]]:
        return (await credentials(NAME, "wrong", "right"))[0]

    assert (await asker.reason(owner="u-2", credentials=known)).startswith("Successfully pulled")
    assert asker.engine.pulls == [None, "eve", "joe"]


async def test_secrets_for_images_are_read_in_both_forms() -> None:
    assert await credentials("nginx", "right", "old") == (
        [{"identitytoken": "abc", "serveraddress": "https://index.example/v1/"}],
        [],
    )


async def test_secrets_that_do_not_help_are_told() -> None:
    found, said = await credentials(NAME, "none", "plain", "broken", "right")
    assert [one["username"] for one in found] == ["joe"]
    assert said[0] == "Image pull secret plain: type Opaque holds no credentials of registries"
    assert said[1].startswith("Image pull secret broken: .dockerconfigjson cannot be read")
    assert said[2] == (
        "Unable to retrieve some image pull secrets (none); attempting to pull the image may not succeed."
    )
