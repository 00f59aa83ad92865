"""Who is let in at the secure port, and what they may do, as kubectl and curl would find out."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from k8slab.pki import authority
from tests.daemons.kube.conftest import Api, Kubectl, chosen_kubectls, kubectls
from tests.daemons.processes import Etcd, eventually, free_port

TOKENS = 't-jane,jane,1,"staff"\nt-root,root,2,"system:masters"\n'


@dataclass
class Secured:
    """A server with both ports; ``files`` has ca.crt, and jane.crt and jane.key, whom its clients' authority signed."""

    api: Api
    url: str
    files: Path
    audit: Path

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.files / "ca.crt"))

    async def get(self, path: str, token: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connector = aiohttp.TCPConnector(ssl=self.trust)
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as session,
            session.get(self.url + path) as answer,
        ):
            raw = await answer.read()
            return answer.status, json.loads(raw) if raw.startswith(b"{") else {}


@pytest.fixture
def secured(etcd_cluster: Callable[[int], Etcd], apis: Callable[..., Api], tmp_path: Path) -> Secured:
    files = tmp_path / "pki"
    files.mkdir()
    clients = authority.new_authority("clients")
    jane = authority.client(clients, "jane", ("staff",))
    (files / "clients.crt").write_bytes(clients.certificate)
    (files / "jane.crt").write_bytes(jane.certificate)
    (files / "jane.key").write_bytes(jane.key)
    (files / "tokens.csv").write_text(TOKENS)
    audit, port = tmp_path / "audit.log", free_port()
    api = apis(
        etcd_cluster(1),
        *(f"--secure-port={port}", "--bind-address=127.0.0.1", f"--cert-dir={files}", "--authorization-mode=RBAC"),
        *(f"--client-ca-file={files}/clients.crt", f"--token-auth-file={files}/tokens.csv"),
        f"--audit-log-path={audit}",
    )
    return Secured(api, f"https://127.0.0.1:{port}", files, audit)


async def bind(url: str, role: str, user: str, namespace: str = "") -> None:
    body = {
        "metadata": {"name": f"{role}-{user}"},
        "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "User", "name": user}],
    }
    place = f"/namespaces/{namespace}/rolebindings" if namespace else "/clusterrolebindings"
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/apis/rbac.authorization.k8s.io/v1{place}", json=body) as answer,
    ):
        assert answer.status == 201, await answer.text()


async def test_the_ladder_of_the_secure_port(secured: Secured) -> None:
    code, status = await secured.get("/api/v1/namespaces/default/pods")
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    assert (await secured.get("/version"))[0] == 200
    assert (await secured.get("/healthz"))[0] == 200
    code, status = await secured.get("/api")
    assert (code, status["message"]) == (403, 'forbidden: User "system:anonymous" cannot get path "/api"')
    code, status = await secured.get("/version", "wrong")
    assert (code, status["reason"], status["message"]) == (401, "Unauthorized", "Unauthorized")
    assert (await secured.get("/api", "t-jane"))[0] == 200
    assert (await secured.get("/api/v1/nodes", "t-root"))[0] == 200
    assert (await secured.get("/api/v1/nodes", "t-jane"))[0] == 403


async def test_roles_take_effect_as_they_are_written(secured: Secured) -> None:
    await bind(secured.api.url, "view", "jane", "default")

    async def may_read() -> bool:
        return (await secured.get("/api/v1/namespaces/default/pods", "t-jane"))[0] == 200

    await eventually(may_read, what="the binding takes effect")
    assert (await secured.get("/api/v1/namespaces/default/secrets", "t-jane"))[0] == 403
    assert (await secured.get("/api/v1/namespaces/kube-system/pods", "t-jane"))[0] == 403


async def test_impersonation_is_a_right_of_its_own(secured: Secured) -> None:
    path = "/api/v1/namespaces/default/pods"
    code, status = await secured.get(path, "t-jane", **{"Impersonate-User": "root"})
    assert code == 403
    assert 'cannot impersonate resource "users" in API group "" at the cluster scope' in status["message"]
    code, status = await secured.get(path, "t-root", **{"Impersonate-User": "jane"})
    assert (code, 'User "jane" cannot list' in status["message"]) == (403, True)
    masters = {"Impersonate-User": "jane", "Impersonate-Group": "system:masters"}
    assert (await secured.get(path, "t-root", **masters))[0] == 200
    code, status = await secured.get(path, "t-root", **{"Impersonate-Group": "x"})
    assert code == 400


async def test_nobody_gives_themselves_more(secured: Secured) -> None:
    await bind(secured.api.url, "admin", "jane", "default")
    role = {
        "metadata": {"name": "mighty"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    }
    url = f"{secured.url}/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
    connector = aiohttp.TCPConnector(ssl=secured.trust)
    headers = {"Authorization": "Bearer t-jane"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        async with session.post(url, json=role) as answer:
            status = await answer.json()
        assert answer.status == 403
        assert (
            'user "jane" (groups=["staff" "system:authenticated"]) is attempting to grant RBAC permissions'
            in (status["message"])
        )
        role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]

        async def may_give() -> bool:
            async with session.post(url, json=role) as answer:
                return answer.status == 201

        await eventually(may_give, what="the binding takes effect")


async def test_an_audit_line_for_each_request(secured: Secured) -> None:
    await secured.get("/api/v1/namespaces/default/pods/none", "t-root", **{"Impersonate-User": "jane"})
    lines = [json.loads(line) for line in secured.audit.read_text().splitlines()]
    [line] = [line for line in lines if line["requestURI"].endswith("/pods/none")]
    assert (line["kind"], line["stage"], line["verb"]) == ("Event", "ResponseComplete", "get")
    assert (line["user"]["username"], line["impersonatedUser"]["username"]) == ("root", "jane")
    assert line["objectRef"] == {"resource": "pods", "namespace": "default", "name": "none", "apiVersion": "v1"}
    assert line["responseStatus"]["code"] == 403


@pytest.fixture(params=chosen_kubectls())
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def kubectl_as(
    secured: Secured, version: str, home: Path, *flags: str
) -> Callable[..., subprocess.CompletedProcess[str]]:
    own = Kubectl(kubectls()[version], secured.url, home)
    trust = f"--certificate-authority={secured.files}/ca.crt"
    return lambda *words: own.run(trust, *flags, *words)


def test_kubectl_with_a_certificate_and_with_tokens(secured: Secured, version: str, tmp_path: Path) -> None:
    certificate = kubectl_as(
        secured,
        version,
        tmp_path,
        f"--client-certificate={secured.files}/jane.crt",
        f"--client-key={secured.files}/jane.key",
    )
    said = certificate("get", "pods")
    assert 'Error from server (Forbidden): pods is forbidden: User "jane" cannot list resource "pods"' in said.stderr
    assert certificate("auth", "can-i", "list", "pods").stdout.strip() == "no"
    root = kubectl_as(secured, version, tmp_path, "--token=t-root")
    assert root("get", "pods").stderr.startswith("No resources found")
    assert root("auth", "can-i", "list", "pods").stdout.strip() == "yes"
    assert root("auth", "can-i", "list", "pods", "--as=jane").stdout.strip() == "no"
    listed = root("auth", "can-i", "--list")
    assert listed.returncode == 0, listed.stderr
    assert "*.*" in listed.stdout
    assert root("create", "clusterrolebinding", "jane-views", "--clusterrole=view", "--user=jane").returncode == 0
    assert certificate("get", "pods").returncode == 0
    assert certificate("auth", "can-i", "get", "secrets").stdout.strip() == "no"


def test_a_service_accounts_token(secured: Secured, version: str, tmp_path: Path) -> None:
    if version == "1.20":
        pytest.skip("kubectl 1.20 has no create token")
    root = kubectl_as(secured, version, tmp_path, "--token=t-root")
    assert root("create", "serviceaccount", "robot").returncode == 0
    token = root("create", "token", "robot", "--duration=20m")
    assert token.returncode == 0, token.stderr
    robot = kubectl_as(secured, version, tmp_path, f"--token={token.stdout.strip()}")
    denied = robot("get", "pods")
    assert 'User "system:serviceaccount:default:robot" cannot list resource "pods"' in denied.stderr
    root("create", "rolebinding", "robot-views", "--clusterrole=view", "--serviceaccount=default:robot")
    assert robot("get", "pods").returncode == 0
    whoami = robot("auth", "whoami", "-o", "json")
    if whoami.returncode == 0:
        told = json.loads(whoami.stdout)["status"]["userInfo"]
        assert told["username"] == "system:serviceaccount:default:robot"
        assert "system:serviceaccounts:default" in told["groups"]
    short = root("create", "token", "robot", "--duration=1m")
    assert "may not specify a duration less than 10 minutes" in short.stderr
    root("delete", "serviceaccount", "robot")
    assert "Unauthorized" in robot("get", "pods").stderr


async def test_token_review_and_discovery_of_the_issuer(secured: Secured) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{secured.api.url}/apis/authentication.k8s.io/v1/tokenreviews"
        async with session.post(url, json={"spec": {"token": "t-jane"}}) as answer:
            status = (await answer.json())["status"]
        assert status["authenticated"] is True
        assert status["user"] == {"username": "jane", "uid": "1", "groups": ["staff", "system:authenticated"]}
        async with session.post(url, json={"spec": {"token": "nonsense"}}) as answer:
            assert "authenticated" not in (await answer.json())["status"]
        async with session.get(f"{secured.api.url}/.well-known/openid-configuration") as answer:
            told = await answer.json()
        async with session.get(told["jwks_uri"]) as answer:
            [key] = (await answer.json())["keys"]
        assert key["alg"] == "RS256"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--authorization-mode=Magic",), "--authorization-mode is AlwaysAllow or RBAC, not 'Magic'"),
        (("--tls-cert-file=/none",), "--tls-cert-file and --tls-private-key-file go together"),
        (("--client-ca-file=/none",), "--client-ca-file: /none is no file"),
        (("--secure-port=x",), "--secure-port: 'x' is not a whole number"),
        (
            ("--default-unreachable-toleration-seconds=5s",),
            "--default-unreachable-toleration-seconds: '5s' is not a whole number",
        ),
    ],
)
def test_flags_that_cannot_be_meant(supervisor: Any, flags: tuple[str, ...], said: str) -> None:
    daemon = supervisor.km("apiserver", "--storage=memory", f"--port={free_port()}", *flags)
    daemon.start(wait=False)
    assert daemon.process.wait(20) == 2
    assert said in daemon.tail()
