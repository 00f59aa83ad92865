"""Unmodified kubectls, each by version, doing what a class does."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Kubectl, kubectls

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: nginx
  labels: {app: nginx}
spec:
  containers:
  - name: nginx
    image: k8slab/nginx:1.22
    ports:
    - containerPort: 80
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: nginx}
  ports: [{port: 80, targetPort: 8080}]
"""


def test_old_and_new_kubectls_are_at_hand() -> None:
    assert kubectls(), "no kubectl: install kubernetes-client, and name an old binary in KUBECTL_1_20"


def test_create_get_and_delete(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    assert kubectl("create", *inside, "-f", "-", stdin=POD) == "pod/nginx created\n"
    taken = kubectl.fails("create", *inside, "-f", "-", stdin=POD)
    assert 'Error from server (AlreadyExists): error when creating "STDIN": pods "nginx" already exists' in taken

    head, row = kubectl("get", "pods", *inside).splitlines()
    assert head.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert re.fullmatch(r"nginx +0/1 +Pending +0 +\d+s *", row)
    head, row = kubectl("get", "po", *inside, "-o", "wide").splitlines()
    assert " ".join(head.split()) == "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"
    assert row.split()[5:] == ["<none>"] * 4

    pod = json.loads(kubectl("get", "pod", "nginx", *inside, "-o", "json"))
    assert pod["spec"]["restartPolicy"] == "Always"
    assert pod["spec"]["dnsPolicy"] == "ClusterFirst"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 30
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert pod["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert "image: k8slab/nginx:1.22" in kubectl("get", "pod", "nginx", *inside, "-o", "yaml")
    assert kubectl("get", "pods", *inside, "-o", "name") == "pod/nginx\n"

    assert kubectl("delete", "pod", "nginx", *inside).startswith('pod "nginx" deleted')
    missing = kubectl.fails("get", "pod", "nginx", *inside)
    assert missing == 'Error from server (NotFound): pods "nginx" not found\n'


def test_what_is_wrong_with_a_manifest(kubectl: Kubectl, namespace: str) -> None:
    bad = POD.replace("name: nginx\n  labels", "name: BAD_name\n  labels").replace("    image: k8slab/nginx:1.22\n", "")
    said = kubectl.fails("create", "-n", namespace, "-f", "-", stdin=bad)
    assert 'The Pod "BAD_name" is invalid:' in said
    assert "a lowercase RFC 1123 subdomain must consist of" in said
    assert "spec.containers[0].image: Required value" in said

    said = kubectl.fails("create", "-n", namespace, "-f", "-", stdin=POD.replace("image:", "immage:"))
    assert 'unknown field "spec.containers[0].immage"' in said or 'unknown field "immage"' in said

    lost = kubectl.fails("create", "-n", "nowhere", "-f", "-", stdin=POD)
    assert 'namespaces "nowhere" not found' in lost


def test_labels_annotations_and_selectors(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=POD)
    kubectl("label", "pod", "nginx", *inside, "tier=front")
    kubectl("annotate", "pod", "nginx", *inside, "note=hello world")
    assert "nginx" in kubectl("get", "pods", *inside, "-l", "app=nginx,tier in (front,back),!gone", "--show-labels")
    assert kubectl("get", "pods", *inside, "-l", "tier!=front", "-o", "name") == ""
    assert kubectl("get", "pods", *inside, "--field-selector", "status.phase=Pending", "-o", "name") == "pod/nginx\n"
    kubectl("label", "pod", "nginx", *inside, "tier-")
    assert kubectl("get", "pods", *inside, "-l", "tier", "-o", "name") == ""
    assert "field label not supported: spec.foo" in kubectl.fails(
        "get", "pods", *inside, "--field-selector", "spec.foo=1"
    )


def test_apply_and_patch(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    assert kubectl("apply", *inside, "-f", "-", stdin=POD) == "pod/nginx created\n"
    assert kubectl("apply", *inside, "-f", "-", stdin=POD) == "pod/nginx unchanged\n"
    newer = POD.replace("1.22", "1.23")
    assert kubectl("apply", *inside, "-f", "-", stdin=newer) == "pod/nginx configured\n"
    image = kubectl("get", "pod", "nginx", *inside, "-o", "jsonpath={.spec.containers[0].image}")
    assert image == "k8slab/nginx:1.23"
    ports = kubectl("get", "pod", "nginx", *inside, "-o", "jsonpath={.spec.containers[0].ports[*].containerPort}")
    assert ports == "80", "the strategic patch must merge containers by name"

    kubectl(
        "patch", "pod", "nginx", *inside, "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/x","value":"1"}]'
    )
    kubectl("patch", "pod", "nginx", *inside, "--type=merge", "-p", '{"metadata":{"labels":{"y":"2"}}}')
    assert "app=nginx,x=1,y=2" in kubectl("get", "pods", *inside, "--show-labels")
    said = kubectl.fails("patch", "pod", "nginx", *inside, "-p", '{"spec":{"restartPolicy":"Never"}}')
    assert "pod updates may not change fields other than" in said
    kubectl("set", "image", "pod/nginx", *inside, "nginx=k8slab/nginx:1.24")
    assert "k8slab/nginx:1.24" in kubectl("get", "pod", "nginx", *inside, "-o", "yaml")


def test_services(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=SERVICE)
    head, row = kubectl("get", "services", *inside).splitlines()
    assert head.split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert re.fullmatch(r"web +ClusterIP +10\.0\.\d+\.\d+ +<none> +80/TCP +\d+s *", row)
    described = kubectl("describe", "service", "web", *inside)
    assert re.search(r"^TargetPort: +8080/TCP$", described, re.M)
    assert re.search(r"^Selector: +app=nginx$", described, re.M)
    assert re.search(r"^kubernetes +ClusterIP +10\.0\.0\.1 +<none> +443/TCP", kubectl("get", "svc"), re.M)
    said = kubectl.fails("create", *inside, "-f", "-", stdin=SERVICE.replace("{port: 80, targetPort: 8080}", ""))
    assert 'The Service "web" is invalid: spec.ports: Required value' in said


def test_describe(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=POD)
    described = kubectl("describe", "pod", "nginx", "-n", namespace)
    assert re.search(r"^Status: +Pending$", described, re.M)
    assert re.search(r"^QoS Class: +BestEffort$", described, re.M)
    assert re.search(r"^Events: +<none>$", described, re.M)
    assert re.search(r"^Status: +Active$", kubectl("describe", "namespace", namespace), re.M)


async def test_nodes_and_events(kubectl: Kubectl, client: KubeClient, namespace: str, tmp_path: Path) -> None:
    name = f"minion-{namespace}"
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}
    address = {"type": "InternalIP", "address": "172.17.1.8"}
    info = {
        "kubeletVersion": "v1.32.0",
        "osImage": "Debian",
        "kernelVersion": "6",
        "containerRuntimeVersion": "docker://20",
    }
    status = {"conditions": [ready], "addresses": [address], "nodeInfo": info, "capacity": {"cpu": "4"}}
    node = await client.create("nodes", {"metadata": {"name": name}, "status": status})
    assert re.search(rf"^{name} +Ready +<none> +\d+s +v1.32.0$", kubectl("get", "nodes"), re.M)
    assert re.search(
        rf"^{name} +Ready .* 172.17.1.8 +<none> +Debian +6 +docker://20$", kubectl("get", "no", "-o", "wide"), re.M
    )
    about = {"kind": "Node", "name": name, "uid": name}
    event = {
        "metadata": {"name": f"{name}.1"},
        "involvedObject": about,
        "reason": "Starting",
        "message": "up",
        "type": "Normal",
    }
    await client.create("events", event, "default")
    assert re.search(rf"Normal +Starting +node/{name} +up", kubectl("get", "events"))
    described = kubectl("describe", "node", name)
    assert re.search(r"Ready +True .*KubeletReady", described)
    assert "Starting" in described
    kubectl("cordon", name)
    assert re.search(rf"^{name} +Ready,SchedulingDisabled", kubectl("get", "nodes"), re.M)
    kubectl("uncordon", name)
    assert node["metadata"]["uid"]
    await client.delete("nodes", name)


async def test_watch(kubectl: Kubectl, client: KubeClient, namespace: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(kubectl.binary, "--server", kubectl.server, "get", "configmaps", "-n", namespace, "-w"),
        stdout=asyncio.subprocess.PIPE,
        env={"HOME": str(kubectl.home)},
    )
    assert process.stdout is not None
    try:
        await client.create("configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}}, namespace)
        assert (await process.stdout.readline()).split() == [b"NAME", b"DATA", b"AGE"]
        assert (await process.stdout.readline()).split()[:2] == [b"a", b"1"]
        await client.patch("configmaps", "a", {"data": {"l": "w"}}, namespace)
        assert (await process.stdout.readline()).split()[:2] == [b"a", b"2"]
    finally:
        process.terminate()
        await process.wait()


def test_discovery_and_versions(kubectl: Kubectl) -> None:
    resources = kubectl("api-resources", "--no-headers")
    for line in (r"^pods +po +v1 +true +Pod", r"^nodes +no +v1 +false +Node", r"^leases +coordination.k8s.io/v1 +true"):
        assert re.search(line, resources, re.M)
    assert {"coordination.k8s.io/v1", "v1"} <= set(kubectl("api-versions").split())
    assert re.search(r"v1\.32\.", kubectl("version"))
    assert re.search(r"(?:FIELD|RESOURCE): +containers <\[\]", kubectl("explain", "pod.spec.containers"))
    assert kubectl("get", "--raw", "/healthz") == "ok"
    assert "the server doesn't have a resource type" in kubectl.fails("get", "none")


def test_delete_waits_for_the_kubelet(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=POD.replace("spec:", "spec:\n  nodeName: somewhere"))
    kubectl("delete", "pod", "nginx", *inside, "--wait=false")
    assert re.search(r"^nginx +0/1 +Terminating", kubectl("get", "pods", *inside), re.M)
    began = time.monotonic()
    kubectl("delete", "pod", "nginx", *inside, "--force", "--grace-period=0")
    assert time.monotonic() - began < 10
    assert kubectl("get", "pods", *inside, "-o", "name") == ""


def test_protected_namespaces(kubectl: Kubectl) -> None:
    said = kubectl.fails("delete", "namespace", "kube-system")
    assert 'namespaces "kube-system" is forbidden: this namespace may not be deleted' in said


@pytest.mark.parametrize("words", [("run", "r1", "--image=k8slab/nginx:1.22", "--restart=Never")])
def test_run(kubectl: Kubectl, namespace: str, words: tuple[str, ...]) -> None:
    assert kubectl(*words, "-n", namespace) == "pod/r1 created\n"
    assert kubectl("logs", "r1", "-n", namespace) == "", "a pod without a node has said nothing"


def test_imperative_creates(kubectl: Kubectl, namespace: str) -> None:
    """New kubectls send these in protobuf, old ones in JSON, some without saying so."""
    inside = ("-n", namespace)
    assert kubectl("create", "namespace", f"{namespace}-b") == f"namespace/{namespace}-b created\n"
    kubectl("create", "configmap", "c", "--from-literal=a=1", "--from-literal=b=", *inside)
    assert json.loads(kubectl("get", "configmap", "c", *inside, "-o", "json"))["data"] == {"a": "1", "b": ""}
    kubectl("create", "secret", "generic", "s", "--from-literal=word=open", *inside)
    assert kubectl("get", "secret", "s", *inside, "-o", "jsonpath={.data.word}{.type}") == "b3Blbg==Opaque"
    kubectl("create", "serviceaccount", "robot", *inside)
    kubectl("create", "service", "clusterip", "ip", "--tcp=80:8080", *inside)
    kubectl("create", "service", "nodeport", "np", "--tcp=80:http", *inside)
    shown = kubectl("get", "services", *inside, "-o", "wide")
    assert re.search(r"^ip +ClusterIP +10\.0\.\d+\.\d+ +<none> +80/TCP +\d+s +app=ip$", shown, re.M)
    assert re.search(r"^np +NodePort +10\.0\.\d+\.\d+ +<none> +80:3\d{4}/TCP ", shown, re.M)
    assert kubectl("get", "svc", "np", *inside, "-o", "jsonpath={.spec.ports[0].targetPort}") == "http"
