"""kubectl apply --server-side, and who owns which field after all kinds of writes."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Api, Kubectl

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n"
POD = """
apiVersion: v1
kind: Pod
metadata:
  name: p
spec:
  containers:
  - name: main
    image: nginx
    ports: [{containerPort: 80}]
"""


def shown(kubectl: Kubectl, *words: str) -> dict[str, Any]:
    managed = () if "1.20" in kubectl.binary or "debian" in kubectl.binary else ("--show-managed-fields",)
    found: dict[str, Any] = json.loads(kubectl("get", *words, *managed, "-o", "json"))
    return found


def owners(obj: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["manager"]: one for one in obj["metadata"].get("managedFields", ())}


def test_apply_on_the_server(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    apply = ("apply", "--server-side", *inside, "-f", "-")
    assert kubectl(*apply, stdin=f"{MAP}  a: '1'\n  b: '2'\n") == "configmap/c serverside-applied\n"
    made = shown(kubectl, "configmap", "c", *inside)
    [entry] = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("kubectl", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:a": {}, "f:b": {}}}
    kubectl(*apply, stdin=f"{MAP}  a: '1'\n  b: '2'\n")
    assert shown(kubectl, "configmap", "c", *inside) == made, "nothing new is said, so nothing changes"

    kubectl(*apply, stdin=f"{MAP}  a: '3'\n")
    assert shown(kubectl, "configmap", "c", *inside)["data"] == {"a": "3"}

    kubectl("patch", "configmap", "c", *inside, "--type=merge", "-p", '{"data":{"a":"4"}}')
    said = kubectl.fails(*apply, stdin=f"{MAP}  a: '5'\n")
    assert 'Apply failed with 1 conflict: conflict with "kubectl-patch" using v1' in said
    assert ".data.a" in said
    kubectl(*apply, "--force-conflicts", stdin=f"{MAP}  a: '5'\n")
    forced = shown(kubectl, "configmap", "c", *inside)
    assert forced["data"] == {"a": "5"}
    assert list(owners(forced)) == ["kubectl"]


def test_two_managers(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    apply = ("apply", "--server-side", *inside, "-f", "-")
    kubectl(*apply, "--field-manager=one", stdin=f"{MAP}  a: '1'\n  shared: x\n")
    kubectl(*apply, "--field-manager=two", stdin=f"{MAP}  b: '2'\n  shared: x\n")
    kubectl(*apply, "--field-manager=one", stdin=f"{MAP}  c: '3'\n")
    found = shown(kubectl, "configmap", "c", *inside)
    assert found["data"] == {"b": "2", "c": "3", "shared": "x"}
    assert owners(found)["two"]["fieldsV1"] == {"f:data": {"f:b": {}, "f:shared": {}}}


def test_from_the_client_side_to_the_server_side(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("apply", *inside, "-f", "-", stdin=f"{MAP}  a: '1'\n  b: '2'\n")
    apply = ("apply", "--server-side", *inside, "-f", "-")
    assert kubectl(*apply, stdin=f"{MAP}  a: '9'\n") == "configmap/c serverside-applied\n"
    found = shown(kubectl, "configmap", "c", *inside)
    assert found["data"]["a"] == "9"
    assert owners(found)["kubectl"]["operation"] == "Apply"
    annotation = found["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert json.loads(annotation)["data"]["a"] == "9"


def test_a_pod_goes_over_to_the_server_side_with_what_the_cluster_added(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("apply", *inside, "-f", "-", stdin=POD)
    made = shown(kubectl, "pod", "p", *inside)
    owned = owners(made)["kubectl-client-side-apply"]["fieldsV1"]["f:spec"]
    assert made["spec"]["tolerations"]
    assert "f:dnsPolicy" in owned
    assert not {"f:tolerations", "f:priority", "f:preemptionPolicy"} & set(owned)
    done = kubectl.run("apply", "--server-side", *inside, "-f", "-", stdin=POD)
    assert (done.stdout, done.stderr) == ("pod/p serverside-applied\n", "")
    assert shown(kubectl, "pod", "p", *inside)["spec"] == made["spec"]


QUIET = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: quiet}
spec:
  paused: false
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      restartPolicy: ""
      containers:
      - name: main
        image: nginx
        env: [{name: A, value: ""}]
        ports: [{containerPort: 80, protocol: ""}]
"""


def test_an_empty_value_is_had_against_others(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    apply = ("apply", "--server-side", *inside, "--validate=false", "-f", "-")
    kubectl(*apply, stdin=QUIET)
    made = shown(kubectl, "deployment", "quiet", *inside)
    spec = made["spec"]["template"]["spec"]
    assert "paused" not in made["spec"]
    assert (spec["restartPolicy"], spec["containers"][0]["env"]) == ("Always", [{"name": "A"}])
    assert spec["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    kubectl(*apply, stdin=QUIET)
    assert shown(kubectl, "deployment", "quiet", *inside) == made, "nothing new is said, so nothing changes"
    kubectl(*apply, "--field-manager=other", stdin=QUIET)
    kubectl(*apply, stdin=QUIET)

    kubectl("rollout", "pause", *inside, "deployment/quiet")
    kubectl("set", "env", *inside, "deployment/quiet", "A=1")
    said = kubectl.fails(*apply, stdin=QUIET)
    assert ".spec.paused" in said
    assert '.spec.template.spec.containers[name="main"].env[name="A"].value' in said
    kubectl(*apply, "--force-conflicts", stdin=QUIET)
    forced = shown(kubectl, "deployment", "quiet", *inside)
    assert "paused" not in forced["spec"]
    assert forced["spec"]["template"] == made["spec"]["template"]
    assert "f:paused" in owners(forced)["kubectl"]["fieldsV1"]["f:spec"]
    assert set(owners(forced)) == {"kubectl", "other"}


def test_members_of_lists_by_their_keys(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("apply", "--server-side", *inside, "-f", "-", stdin=POD)
    found = shown(kubectl, "pod", "p", *inside)
    [entry] = [one for one in found["metadata"]["managedFields"] if one["operation"] == "Apply"]
    container = entry["fieldsV1"]["f:spec"]["f:containers"]['k:{"name":"main"}']
    assert container["f:ports"] == {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}
    assert found["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    kubectl("apply", "--server-side", *inside, "-f", "-", stdin=POD.replace("nginx", "busybox"))
    assert shown(kubectl, "pod", "p", *inside)["spec"]["containers"][0]["image"] == "busybox"


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
"""


def test_who_scales_takes_the_number_of_replicas_over(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    apply = ("apply", "--server-side", *inside, "-f", "-")
    kubectl(*apply, stdin=DEPLOYMENT)
    kubectl("scale", "deployment", "web", *inside, "--replicas=3")
    said = kubectl.fails(*apply, stdin=DEPLOYMENT)
    assert 'with subresource "scale" using apps/v1' in said
    assert ".spec.replicas" in said
    kubectl(*apply, stdin=DEPLOYMENT.replace("  replicas: 1\n", ""))
    found = shown(kubectl, "deployment", "web", *inside)
    assert found["spec"]["replicas"] == 3


def test_what_is_not_in_the_type_is_not_applied(kubectl: Kubectl, namespace: str) -> None:
    said = kubectl.fails(
        "apply", "--server-side", "--validate=false", "-n", namespace, "-f", "-", stdin=f"{MAP}  a: b\nsepc: x\n"
    )
    assert ".sepc: field not declared in schema" in said


def test_a_dry_run_stores_nothing(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    said = kubectl("apply", "--server-side", "--dry-run=server", *inside, "-f", "-", stdin=f"{MAP}  a: '1'\n")
    assert said == "configmap/c serverside-applied (server dry run)\n"
    assert "not found" in kubectl.fails("get", "configmap", "c", *inside)


async def test_every_write_says_whose_it_is(client: KubeClient, api: Api, namespace: str) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    url = f"{api.url}/api/v1/namespaces/{namespace}/pods"
    async with aiohttp.ClientSession(headers={"User-Agent": "robot/1.0 (linux)"}) as http:
        async with http.post(url, json=pod) as answer:
            made = await answer.json()
            assert answer.status == 201
        [entry] = made["metadata"]["managedFields"]
        assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("robot", "Update", "v1")
        assert entry["time"] == made["metadata"]["creationTimestamp"]
        assert entry["fieldsV1"]["f:spec"]["f:containers"]['k:{"name":"c"}']["f:image"] == {}

        merge = {"Content-Type": "application/merge-patch+json"}
        status = {"status": {"phase": "Running"}}
        async with http.patch(f"{url}/p/status?fieldManager=kubelet", json=status, headers=merge) as answer:
            found = owners(await answer.json())
        assert found["kubelet"]["subresource"] == "status"
        assert found["kubelet"]["fieldsV1"] == {"f:status": {"f:phase": {}}}
        assert found["robot"] == entry

        applied = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Failed"}}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        async with http.patch(f"{url}/p/status?fieldManager=me", json=applied, headers=headers) as answer:
            refused = await answer.json()
        assert (answer.status, refused["reason"]) == (409, "Conflict")
        assert refused["details"]["causes"] == [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubelet" with subresource "status" using v1',
                "field": ".status.phase",
            }
        ]
        async with http.patch(f"{url}/p/status?fieldManager=me&force=true", json=applied, headers=headers) as answer:
            assert (await answer.json())["status"]["phase"] == "Failed"

        async with http.patch(f"{url}/p", json={"metadata": {"managedFields": [{}]}}, headers=merge) as answer:
            assert "managedFields" not in (await answer.json())["metadata"]


@pytest.mark.parametrize(
    ("query", "body", "code", "said"),
    [
        ("", {}, 422, "fieldManager: Required value: is required for apply patch"),
        ("fieldManager=" + "x" * 129, {}, 422, "Too long: may not be more than 128 bytes"),
        ("fieldManager=m", {"metadata": {"name": "other"}}, 400, "does not match the name on the URL"),
        ("fieldManager=m", {"metadata": {"managedFields": []}}, 400, "metadata.managedFields must be nil"),
        ("fieldManager=m", {"kind": "Pod"}, 400, "cannot be handled as a ConfigMap"),
    ],
)
async def test_what_an_apply_must_say(
    api: Api, namespace: str, query: str, body: dict[str, Any], code: int, said: str
) -> None:
    url = f"{api.url}/api/v1/namespaces/{namespace}/configmaps/c?{query}"
    headers = {"Content-Type": "application/apply-patch+yaml"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, **body}
    async with aiohttp.ClientSession() as http, http.patch(url, json=config, headers=headers) as answer:
        status = await answer.json()
    assert answer.status == code
    assert said in status["message"]


STRICT = "fieldValidation=Strict"


@pytest.mark.parametrize(
    ("media", "body", "said"),
    [
        ("application/json", '{"metadata":{"name":"c"},"data":{"a":"1", "a":"2"}}', 'duplicate field "data.a"'),
        ("application/json", '{"metadata":{"name":"c","name":"c"}}', 'duplicate field "metadata.name"'),
        ("application/yaml", "metadata:\n  name: c\n  name: d\n", 'line 3: key "name" already set in map'),
    ],
)
async def test_a_field_that_is_there_twice(api: Api, namespace: str, media: str, body: str, said: str) -> None:
    url = f"{api.url}/api/v1/namespaces/{namespace}/configmaps"
    async with aiohttp.ClientSession(headers={"Content-Type": media}) as http:
        async with http.post(f"{url}?{STRICT}", data=body) as answer:
            refused = await answer.json()
        assert answer.status == 400
        assert "strict decoding error: " in refused["message"]
        assert said in refused["message"]
        async with http.post(f"{url}?dryRun=All", data=body) as answer:
            assert answer.status == 201
            assert said in answer.headers["Warning"].replace("\\", "")
        async with http.post(f"{url}?dryRun=All&fieldValidation=Ignore", data=body) as answer:
            assert "Warning" not in answer.headers
