"""Ways to more than one may, tried at the secure port by a user who has a little."""

from __future__ import annotations

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
