"""Ways to more than one may, tried at the secure port by a user who has a little."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemons.kube.conftest import MODULE, WITHOUT_ACCOUNTS
from tests.daemons.processes import Supervisor, eventually, free_port

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
TOKENS = 't-jane,jane,1,"staff"\nt-root,root,2,"system:masters"\n'
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}

Answer = tuple[int, Any]


@dataclass
class Guarded:
    url: str
    session: aiohttp.ClientSession

    async def ask(
        self, who: str, method: str, path: str, body: Any = None, media: str = "application/json", **headers: str
    ) -> Answer:
        sent = {"Authorization": f"Bearer t-{who}", "Content-Type": media, **headers}
        async with self.session.request(method, self.url + path, json=body, headers=sent) as answer:
            return answer.status, await answer.json(content_type=None) if answer.content_length else None

    async def allow(self, name: str, *rules: dict[str, Any], namespace: str = "", user: str = "jane") -> None:
        """Give a user rules, and return when they hold."""
        place = f"{RBAC}/namespaces/{namespace}" if namespace else RBAC
        form = "Role" if namespace else "ClusterRole"
        code, said = await self.ask(
            "root", "POST", f"{place}/{form.lower()}s", {"metadata": {"name": name}, "rules": rules}
        )
        assert code == 201, said
        await self.bind(place, name, form, name, user=user)
        rule = rules[0]
        wanted = {"verb": rule["verbs"][0], "group": rule["apiGroups"][0], "resource": rule["resources"][0]}
        wanted |= {"namespace": namespace, "name": rule.get("resourceNames", [""])[0]}
        review = {"spec": {"user": user, "resourceAttributes": wanted}}

        async def holds() -> bool:
            _, told = await self.ask("root", "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
            return bool(told["status"]["allowed"])

        await eventually(holds, what="the rules take effect")

    async def bind(self, place: str, name: str, form: str, role: str, *, user: str) -> None:
        path = "clusterrolebindings" if place == RBAC else "rolebindings"
        code, said = await self.ask("root", "POST", f"{place}/{path}", binding(name, form, role, user))
        assert code == 201, said


def binding(name: str, form: str, role: str, user: str = "jane", **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, **meta},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": form, "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }


def rule(verbs: str, resources: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


@pytest.fixture(scope="module")
def server(session_supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    files = tmp_path_factory.mktemp("guarded")
    (files / "tokens.csv").write_text(TOKENS)
    port = free_port()
    daemon = session_supervisor.module(
        "guarded",
        MODULE,
        *("--storage=memory", f"--port={free_port()}", f"--secure-port={port}", "--bind-address=127.0.0.1"),
        *(f"--cert-dir={files}", f"--token-auth-file={files}/tokens.csv", "--authorization-mode=RBAC"),
        WITHOUT_ACCOUNTS,
    )
    daemon.start()
    yield f"https://127.0.0.1:{port}", files
    daemon.stop()


@pytest.fixture
async def guarded(server: tuple[str, Path]) -> AsyncIterator[Guarded]:
    url, files = server
    trust = ssl.create_default_context(cafile=str(files / "ca.crt"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        yield Guarded(url, session)


@pytest.fixture
async def namespace(guarded: Guarded) -> AsyncIterator[str]:
    """One of the test's own; nothing that it allowed to jane holds afterwards."""
    _, made = await guarded.ask("root", "POST", "/api/v1/namespaces", {"metadata": {"generateName": "test-"}})
    yield made["metadata"]["name"]
    for plural in ("clusterrolebindings", "rolebindings"):
        _, found = await guarded.ask("root", "GET", f"{RBAC}/{plural}")
        for one in found["items"]:
            if any(subject["name"] == "jane" for subject in one.get("subjects") or ()):
                place = f"namespaces/{one['metadata']['namespace']}/" if plural == "rolebindings" else ""
                await guarded.ask("root", "DELETE", f"{RBAC}/{place}{plural}/{one['metadata']['name']}")


async def test_what_one_has_in_a_namespace_cannot_be_given_everywhere(guarded: Guarded, namespace: str) -> None:
    await guarded.allow(f"{namespace}-binds", rule("create", "clusterrolebindings clusterroles", GROUP))
    await guarded.allow("all-here", EVERYTHING, namespace=namespace)
    body = binding("grab", "ClusterRole", "cluster-admin", namespace=namespace)
    code, said = await guarded.ask("jane", "POST", f"{RBAC}/clusterrolebindings", body)
    assert (code, said["reason"]) == (403, "Forbidden")
    assert "is attempting to grant RBAC permissions not currently held" in said["message"]
    role = {"metadata": {"name": "grab", "namespace": namespace}, "rules": [EVERYTHING]}
    assert (await guarded.ask("jane", "POST", f"{RBAC}/clusterroles", role))[0] == 403


async def test_a_role_that_is_not_there_yet_cannot_be_bound_in_advance(guarded: Guarded, namespace: str) -> None:
    await guarded.allow("binder", rule("create", "rolebindings", GROUP), namespace=namespace)
    place = f"{RBAC}/namespaces/{namespace}/rolebindings"
    code, said = await guarded.ask("jane", "POST", place, binding("early", "ClusterRole", "to-come"))
    assert (code, said["message"]) == (404, 'clusterroles.rbac.authorization.k8s.io "to-come" not found')
    code, said = await guarded.ask("jane", "POST", place, binding("early", "Role", "to-come"))
    assert (code, said["message"]) == (404, 'roles.rbac.authorization.k8s.io "to-come" not found')
    assert (await guarded.ask("root", "POST", place, binding("early", "Role", "to-come")))[0] == 201


async def test_a_role_that_gathers_others_is_for_those_who_have_everything(guarded: Guarded, namespace: str) -> None:
    await guarded.allow(f"{namespace}-roles", rule("create update patch get", "clusterroles", GROUP))
    gathering = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    body: dict[str, Any] = {"metadata": {"name": f"{namespace}-all"}, "aggregationRule": gathering}
    code, said = await guarded.ask("jane", "POST", f"{RBAC}/clusterroles", body)
    assert (code, "must have cluster-admin privileges to use an aggregationRule" in said["message"]) == (403, True)


async def test_who_may_only_change_makes_nothing_anew(guarded: Guarded, namespace: str) -> None:
    await guarded.allow("changer", rule("patch update get", "configmaps limitranges"), namespace=namespace)
    place = f"/api/v1/namespaces/{namespace}"
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    path = f"{place}/configmaps/c?fieldManager=jane"
    code, said = await guarded.ask("jane", "PATCH", path, applied, "application/apply-patch+yaml")
    assert code == 403
    assert (
        f'User "jane" cannot create resource "configmaps" in API group "" in the namespace "{namespace}"'
        in (said["message"])
    )
    ranges = {"metadata": {"name": "r"}, "spec": {"limits": [{"type": "Container"}]}}
    code, said = await guarded.ask("jane", "PUT", f"{place}/limitranges/r", ranges)
    assert (code, 'cannot create resource "limitranges"' in said["message"]) == (403, True)
    assert (await guarded.ask("root", "PATCH", path, applied, "application/apply-patch+yaml"))[0] == 201
    applied["data"] = {"a": "2"}
    assert (await guarded.ask("jane", "PATCH", f"{path}&force=true", applied, "application/apply-patch+yaml"))[0] == 200
    assert (await guarded.ask("root", "PUT", f"{place}/limitranges/r", ranges))[0] == 201
    assert (await guarded.ask("jane", "PUT", f"{place}/limitranges/r", ranges))[0] == 200


async def test_a_selector_that_only_seems_to_name_one_object_opens_no_list(guarded: Guarded, namespace: str) -> None:
    await guarded.allow("one", rule("list", "secrets pods", resourceNames=["mine"]), namespace=namespace)
    secrets = f"/api/v1/namespaces/{namespace}/secrets?fieldSelector="
    assert (await guarded.ask("jane", "GET", f"{secrets}metadata.name%3Dmine"))[0] == 200
    assert (await guarded.ask("jane", "GET", f"{secrets}metadata.namespace!%3D%5C%2Cmetadata.name%3Dmine"))[0] == 403
    old = f"/api/v1beta3/namespaces/{namespace}/pods?fields"
    assert (await guarded.ask("jane", "GET", f"{old}=name%3Dmine"))[0] == 200
    assert (await guarded.ask("jane", "GET", f"{old}=name!%3Dx&fieldSelector=metadata.name%3Dmine"))[0] == 403


async def test_nothing_is_made_where_one_watches(guarded: Guarded, namespace: str) -> None:
    path = f"/api/v1/watch/namespaces/{namespace}/configmaps"
    assert (await guarded.ask("root", "POST", path, {"metadata": {"name": "c"}}))[0] == 405
    old = f"/api/v1beta3/watch/namespaces/{namespace}/pods"
    assert (await guarded.ask("root", "POST", old, {"metadata": {"name": "c"}}))[0] == 405


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"Bearer t-jane", 200),
        (b"bearer t-jane and more", 200),
        (b"Bearer t\xff", 401),
        (b"Bearer wrong", 401),
        (b"Bearer", 403),
        (b"Basic eDp5", 403),
    ],
)
async def test_credentials_of_every_form(server: tuple[str, Path], header: bytes, code: int) -> None:
    """What is no token at all brings nobody in as somebody, and keeps nobody out."""
    url, files = server
    trust = ssl.create_default_context(cafile=str(files / "ca.crt"))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=trust)
    writer.write(b"GET /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " + header + b"\r\n\r\n")
    assert (await reader.readline()).split()[1] == str(code).encode()
    writer.close()


async def test_a_token_is_bound_to_the_pods_of_its_own_account(guarded: Guarded, namespace: str) -> None:
    place = f"/api/v1/namespaces/{namespace}"
    for name in ("robot", "other"):
        assert (await guarded.ask("root", "POST", f"{place}/serviceaccounts", {"metadata": {"name": name}}))[0] == 201
    spec = {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]}
    assert (await guarded.ask("root", "POST", f"{place}/pods", {"metadata": {"name": "p"}, "spec": spec}))[0] == 201
    wish = {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}}

    async def own() -> bool:
        return (await guarded.ask("root", "POST", f"{place}/serviceaccounts/robot/token", wish))[0] == 201

    await eventually(own, what="the pod is known")
    code, said = await guarded.ask("root", "POST", f"{place}/serviceaccounts/other/token", wish)
    why = 'cannot bind token for serviceaccount "other" to pod running with different serviceaccount name.'
    assert (code, said["message"]) == (400, why)
    for reference, form in (({}, "/"), ({"kind": "Pod", "apiVersion": "apps/v1", "name": "p"}, "apps/v1")):
        wish = {"spec": {"boundObjectRef": reference}}
        code, said = await guarded.ask("root", "POST", f"{place}/serviceaccounts/robot/token", wish)
        kind = reference.get("kind", "")
        assert (code, said["message"]) == (400, f"cannot bind token to object of type {form}, Kind={kind}")
    wish = {"metadata": {"namespace": "default"}, "spec": {}}
    code, said = await guarded.ask("root", "POST", f"{place}/serviceaccounts/robot/token", wish)
    assert (code, "does not match the namespace sent on the request" in said["message"]) == (400, True)


async def test_a_name_that_only_sounds_like_an_account_is_a_users(guarded: Guarded, namespace: str) -> None:
    await guarded.allow("acts", rule("impersonate", "serviceaccounts"), namespace=namespace)
    path, account = "/apis/authentication.k8s.io/v1/selfsubjectreviews", f"system:serviceaccount:{namespace}:robot"
    code, said = await guarded.ask("jane", "POST", path, {}, **{"Impersonate-User": account})
    assert code == 201
    assert said["status"]["userInfo"]["groups"] == [
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
        "system:authenticated",
    ]
    for name in (f"{account}:more", f"system:serviceaccount:{namespace}", f"system:serviceaccount:{namespace}:"):
        code, said = await guarded.ask("jane", "POST", path, {}, **{"Impersonate-User": name})
        assert (code, 'cannot impersonate resource "users"' in said["message"]) == (403, True)


async def test_who_may_ask_about_a_namespace_is_told_of_no_other(guarded: Guarded, namespace: str) -> None:
    await guarded.allow(
        "asks", rule("create", "localsubjectaccessreviews", "authorization.k8s.io"), namespace=namespace
    )
    path = f"/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews"
    wanted = {"verb": "create", "group": "authorization.k8s.io", "resource": "localsubjectaccessreviews"}
    spec = {"user": "jane", "resourceAttributes": {**wanted, "namespace": namespace}}
    code, said = await guarded.ask("jane", "POST", path, {"spec": spec})
    assert (code, said["status"]["allowed"]) == (201, True)
    spec["resourceAttributes"] = {**wanted, "namespace": "kube-system"}
    code, said = await guarded.ask("jane", "POST", path, {"spec": spec})
    assert (code, said["reason"]) == (422, "Invalid")
    assert f"must match metadata.namespace: {namespace}" in said["message"]


async def test_subjects_are_of_the_group_of_their_kind(guarded: Guarded, namespace: str) -> None:
    body = binding("b", "ClusterRole", "view")
    body["subjects"] = [
        {"kind": "User", "name": "u", "apiGroup": "x"},
        {"kind": "ServiceAccount", "name": "BAD", "apiGroup": GROUP},
        {"kind": "ServiceAccount", "name": "good"},
    ]
    code, said = await guarded.ask("root", "POST", f"{RBAC}/namespaces/{namespace}/rolebindings", body)
    assert code == 422
    fields = [cause["field"] for cause in said["details"]["causes"]]
    assert fields == ["subjects[0].apiGroup", "subjects[1].name", "subjects[1].apiGroup"]


@pytest.mark.parametrize(
    ("token", "beside", "code"),
    [("t-root", ("v4",), 101), ("t-root", (), 401), ("wrong", ("v4",), 401), ("", ("v4",), 403)],
)
async def test_the_token_of_a_browser(
    guarded: Guarded, namespace: str, token: str, beside: tuple[str, ...], code: int
) -> None:
    """Which can set no header of a WebSocket but that of its protocols."""
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    own = (f"base64url.bearer.authorization.k8s.io.{encoded}",) if token else ()
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": ", ".join((*own, *beside)),
    }
    path = f"{guarded.url}/api/v1/namespaces/{namespace}/configmaps?watch=1&timeoutSeconds=1"
    async with guarded.session.get(path, headers=headers) as answer:
        assert answer.status == code
        assert own[:1] != (answer.headers.get("Sec-WebSocket-Protocol"),)


async def test_resources_of_groups_that_are_not_served_are_judged_like_others(guarded: Guarded, namespace: str) -> None:
    path = f"/apis/example.org/v1/namespaces/{namespace}/things"
    code, said = await guarded.ask("jane", "GET", path)
    why = f'User "jane" cannot list resource "things" in API group "example.org" in the namespace "{namespace}"'
    assert (code, said["message"]) == (403, f"things.example.org is forbidden: {why}")
    headers = {"Authorization": "Bearer t-root"}
    async with guarded.session.get(guarded.url + path, headers=headers) as answer:
        assert (answer.status, await answer.text()) == (404, "404 page not found\n")
    async with guarded.session.get(f"{guarded.url}/apis/example.org/v1", headers=headers) as answer:
        assert (answer.status, await answer.text()) == (404, "404 page not found\n")
