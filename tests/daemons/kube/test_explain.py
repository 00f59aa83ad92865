"""What kubectl learns from OpenAPI: explanations, the validation of manifests, whether a dry run is possible."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import pytest

from tests.daemons.kube.conftest import Api, Kubectl

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


def test_explain(kubectl: Kubectl) -> None:
    said = kubectl("explain", "pod.spec.containers")
    assert re.search(r"(?:FIELD|RESOURCE): +containers <\[\](?:Container|Object)>", said)
    flat = " ".join(said.split())
    assert "List of containers belonging to the pod" in flat
    assert "Entrypoint array. Not executed within a shell." in flat
    assert re.search(r"^ *name\t<string>.*-?required-?", said, re.M)
    assert re.search(r"^ *ports\t<\[\](?:ContainerPort|Object)>", said, re.M)


def test_explain_of_other_groups(kubectl: Kubectl) -> None:
    said = kubectl("explain", "deployment.spec.strategy")
    assert re.search(r"^ *rollingUpdate\t<(?:RollingUpdateDeployment|Object)>", said, re.M)
    assert "The deployment strategy to use to replace existing pods with new ones" in " ".join(said.split())
    for what in ("hpa.spec", "cronjobs.spec.jobTemplate", "ingress.spec.rules", "role.rules", "pdb.spec", "pv.spec"):
        assert "<" in kubectl("explain", what), what


def test_explain_recursive(kubectl: Kubectl) -> None:
    said = kubectl("explain", "pod.spec.containers", "--recursive")
    for line in (r"livenessProbe\t<(?:Probe|Object)>", r"httpGet\t<(?:HTTPGetAction|Object)>", r"path\t<string>"):
        assert re.search(rf"^ +{line}", said, re.M), line
    assert re.search(r"^ +limits\t<map\[string\](?:Quantity|string)>", said, re.M)


def test_explain_of_a_kind_and_of_what_is_not_there(kubectl: Kubectl) -> None:
    said = kubectl("explain", "service")
    assert re.search(r"^KIND: +Service$", said, re.M)
    assert re.search(r"^VERSION: +v1$", said, re.M)
    assert "Service is a named abstraction of software service" in said
    assert 'field "none" does not exist' in kubectl.fails("explain", "pod.spec.none")


@pytest.fixture
async def http() -> Any:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_documents_are_named_by_their_contents(api: Api, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{api.url}/openapi/v3") as answer:
        paths = (await answer.json())["paths"]
    assert {"api/v1", "apis/coordination.k8s.io/v1"} <= set(paths)
    url = api.url + paths["api/v1"]["serverRelativeURL"]
    async with http.get(url) as answer:
        tag, document = answer.headers["ETag"], await answer.json()
        assert tag.strip('"') in url
    async with http.get(url, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
    async with http.get(f"{api.url}/openapi/v3/api/v1?hash=0", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, paths["api/v1"]["serverRelativeURL"])
    async with http.get(f"{api.url}/openapi/v3/apis/none/v1") as answer:
        assert answer.status == 404
    pod = document["components"]["schemas"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


async def test_documents_are_whole(api: Api, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{api.url}/openapi/v2") as answer:
        assert answer.content_type == "application/json"
        whole = await answer.json()
    assert references(whole) == {f"#/definitions/{name}" for name in whole["definitions"]}
    async with http.get(f"{api.url}/openapi/v3") as answer:
        paths = (await answer.json())["paths"]
    for path in paths.values():
        async with http.get(api.url + path["serverRelativeURL"]) as answer:
            document = await answer.json()
        schemas = document["components"]["schemas"]
        assert references(document) == {f"#/components/schemas/{name}" for name in schemas}
        names = [
            one["operationId"] for item in document["paths"].values() for one in item.values() if "responses" in one
        ]
        assert len(names) == len(set(names))
    async with http.get(f"{api.url}/openapi/v2", headers={"Accept": V2_PROTOBUF}) as answer:
        assert answer.content_type == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


async def test_a_patch_says_what_it_takes(api: Api, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{api.url}/openapi/v2") as answer:
        paths = (await answer.json())["paths"]
    patch = paths["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= {one["name"] for one in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "kind": "Pod", "version": "v1"}
    assert "application/apply-patch+yaml" in patch["consumes"]
    assert set(paths["/api/v1/namespaces/{namespace}/pods"]) == {"get", "post", "delete", "parameters"}
    assert set(paths["/api/v1/pods"]) == {"get", "parameters"}


MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dry}\ndata: {a: '1'}\n"


def test_a_dry_run_on_the_server(kubectl: Kubectl, namespace: str) -> None:
    said = kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", stdin=MAP)
    assert said == "configmap/dry created (server dry run)\n"
    assert kubectl("get", "configmaps", "-n", namespace, "-o", "name", "--field-selector=metadata.name=dry") == ""
    said = kubectl("apply", "-n", namespace, "--dry-run=server", "-f", "-", stdin=MAP)
    assert said == "configmap/dry created (server dry run)\n"


def test_a_manifest_is_validated_against_its_type(kubectl: Kubectl, namespace: str) -> None:
    bad = MAP.replace("data: {a: '1'}", "data: [1]")
    said = kubectl.fails("create", "-n", namespace, "-f", "-", stdin=bad)
    assert "data" in said
    lacking = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {restartPolicy: Never}\n"
    said = kubectl.fails("create", "-n", namespace, "-f", "-", stdin=lacking)
    assert 'missing required field "containers"' in said or "spec.containers: Required value" in said
