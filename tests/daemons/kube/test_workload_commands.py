"""kubectl's commands about workloads, each in a test of its name. What controllers would make is made by hand."""

from __future__ import annotations

import json
import re
from typing import Any

from k8slab.kube.client import KubeClient
from tests.daemons.kube.conftest import Kubectl

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: nginx, image: "nginx:1.22", ports: [{containerPort: 80}]}]
"""


def field(kubectl: Kubectl, resource: str, path: str, *inside: str) -> str:
    return kubectl("get", resource, *inside, "-o", f"jsonpath={{{path}}}")


def replica_set(kubectl: Kubectl, inside: tuple[str, ...], revision: int, image: str, mark: str) -> None:
    """What the deployment controller keeps of a revision."""
    deployment = json.loads(kubectl("get", "deployment", "web", *inside, "-o", "json"))
    meta = deployment["metadata"]
    labels = {"app": "web", "pod-template-hash": mark}
    template = deployment["spec"]["template"]
    template["metadata"]["labels"] = labels
    template["spec"]["containers"][0]["image"] = image
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": meta["uid"], "controller": True}
    body: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"web-{mark}",
            "labels": labels,
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [owner],
        },
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }
    kubectl("create", *inside, "-f", "-", stdin=json.dumps(body))


def test_scale(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=DEPLOYMENT)
    assert kubectl("scale", "deployment/web", "--replicas=4", *inside) == "deployment.apps/web scaled\n"
    assert field(kubectl, "deployment/web", ".spec.replicas", *inside) == "4"
    assert field(kubectl, "deployment/web", ".metadata.generation", *inside) == "2"
    kubectl("scale", "deployment/web", "--current-replicas=4", "--replicas=1", *inside)
    assert field(kubectl, "deployment/web", ".spec.replicas", *inside) == "1"
    said = kubectl.fails("scale", "deployment/web", "--current-replicas=9", "--replicas=2", *inside)
    assert re.search(r"[Ee]xpected replicas to be 9, was 1", said)
    raw = f"/apis/apps/v1/namespaces/{namespace}/deployments/web/scale"
    scale = json.loads(kubectl("get", "--raw", raw))
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 0, "selector": "app=web"}


def test_autoscale(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=DEPLOYMENT)
    done = kubectl("autoscale", "deployment", "web", "--min=2", "--max=5", "--cpu-percent=70", *inside)
    assert done == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    row = kubectl("get", "hpa", "web", *inside, "--no-headers")
    assert row.split()[:7] == ["web", "Deployment/web", "cpu:", "<unknown>/70%", "2", "5", "0"]
    old = json.loads(
        kubectl("get", "--raw", f"/apis/autoscaling/v1/namespaces/{namespace}/horizontalpodautoscalers/web")
    )
    assert old["spec"]["targetCPUUtilizationPercentage"] == 70
    assert re.search(r"^Name: +web$", kubectl("describe", "hpa", "web", *inside), re.M)


def test_expose(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=DEPLOYMENT)
    assert kubectl("expose", "deployment", "web", "--port=8080", "--target-port=80", *inside) == "service/web exposed\n"
    service = json.loads(kubectl("get", "service", "web", *inside, "-o", "json"))
    assert service["spec"]["selector"] == {"app": "web"}
    assert service["spec"]["ports"][0] == {"port": 8080, "protocol": "TCP", "targetPort": 80}


def test_set(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=DEPLOYMENT)
    assert (
        kubectl("set", "image", "deployment/web", "nginx=nginx:1.23", *inside) == "deployment.apps/web image updated\n"
    )
    assert kubectl("set", "env", "deployment/web", "COLOUR=red", *inside) == "deployment.apps/web env updated\n"
    limits = ("--limits=cpu=200m,memory=64Mi", "--requests=cpu=100m")
    assert kubectl("set", "resources", "deployment/web", *limits, *inside).endswith(" resource requirements updated\n")
    container = json.loads(kubectl("get", "deployment", "web", *inside, "-o", "json"))["spec"]["template"]["spec"]
    container = container["containers"][0]
    assert container["image"] == "nginx:1.23"
    assert container["env"] == [{"name": "COLOUR", "value": "red"}]
    assert container["resources"] == {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


def test_rollout(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=DEPLOYMENT)
    replica_set(kubectl, inside, 1, "nginx:1.21", "aaa")
    replica_set(kubectl, inside, 2, "nginx:1.22", "bbb")
    kubectl("annotate", "deployment", "web", "deployment.kubernetes.io/revision=2", *inside)

    history = kubectl("rollout", "history", "deployment/web", *inside)
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    assert "nginx:1.21" in kubectl("rollout", "history", "deployment/web", "--revision=1", *inside)
    assert "rolled back" in kubectl("rollout", "undo", "deployment/web", *inside)
    assert field(kubectl, "deployment/web", ".spec.template.spec.containers[0].image", *inside) == "nginx:1.21"

    assert kubectl("rollout", "pause", "deployment/web", *inside) == "deployment.apps/web paused\n"
    assert field(kubectl, "deployment/web", ".spec.paused", *inside) == "true"
    assert "already paused" in kubectl.fails("rollout", "pause", "deployment/web", *inside)
    assert kubectl("rollout", "resume", "deployment/web", *inside) == "deployment.apps/web resumed\n"
    assert field(kubectl, "deployment/web", ".spec.paused", *inside) == ""
    assert kubectl("rollout", "restart", "deployment/web", *inside) == "deployment.apps/web restarted\n"
    marked = field(kubectl, "deployment/web", ".spec.template.metadata.annotations", *inside)
    assert "kubectl.kubernetes.io/restartedAt" in marked


async def test_rollout_status(kubectl: Kubectl, client: KubeClient, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=DEPLOYMENT)
    waiting = kubectl("rollout", "status", "deployment/web", "--watch=false", *inside)
    assert waiting == "Waiting for deployment spec update to be observed...\n"
    deployment = json.loads(kubectl("get", "deployment", "web", *inside, "-o", "json"))
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), 2)
    deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"], **counts}
    kubectl("replace", "--raw", f"/apis/apps/v1/namespaces/{namespace}/deployments/web/status", "-f", "-",
            stdin=json.dumps(deployment))  # fmt: skip
    assert kubectl("rollout", "status", "deployment/web", *inside) == 'deployment "web" successfully rolled out\n'
    assert kubectl("get", "deployment", "web", *inside, "--no-headers").split()[:4] == ["web", "2/2", "2", "2"]


def test_selectors_of_workloads_stay(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    kubectl("create", *inside, "-f", "-", stdin=DEPLOYMENT)
    moved = DEPLOYMENT.replace("app: web", "app: other")
    said = kubectl.fails("apply", *inside, "-f", "-", stdin=moved)
    assert 'spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"app":"other"}' in said
    assert "field is immutable" in said


def test_what_is_wrong_with_a_workload(kubectl: Kubectl, namespace: str) -> None:
    bad = DEPLOYMENT.replace("metadata: {labels: {app: web}}", "metadata: {labels: {app: bew}}")
    said = kubectl.fails("create", "-n", namespace, "-f", "-", stdin=bad)
    assert (
        'The Deployment "web" is invalid: spec.template.metadata.labels: Invalid value: '
        'map[string]string{"app":"bew"}: `selector` does not match template `labels`'
    ) in said
    template = "{spec: {containers: [{name: c, image: d}]}}"
    job = f"apiVersion: batch/v1\nkind: Job\nmetadata: {{name: j}}\nspec: {{template: {template}}}"
    said = kubectl.fails("create", "-n", namespace, "-f", "-", stdin=job)
    assert 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"' in said


def test_create_imperatively(kubectl: Kubectl, namespace: str) -> None:
    """New kubectls send these in protobuf."""
    inside = ("-n", namespace)
    for words, kind in (
        (("deployment", "d", "--image=nginx:1"), "deployment.apps/d"),
        (("job", "j", "--image=busybox"), "job.batch/j"),
        (("quota", "q", "--hard=pods=5,cpu=2"), "resourcequota/q"),
        (("service", "clusterip", "s1", "--tcp=80:80"), "service/s1"),
        (("service", "nodeport", "s2", "--tcp=80:80"), "service/s2"),
        (("service", "loadbalancer", "s3", "--tcp=80:80"), "service/s3"),
        (("service", "externalname", "s4", "--external-name=a.b"), "service/s4"),
        (("secret", "generic", "g", "--from-literal=a=b"), "secret/g"),
        (("secret", "docker-registry", "r", "--docker-username=u", "--docker-password=p"), "secret/r"),
        (("role", "reader", "--verb=get", "--resource=pods"), "role.rbac.authorization.k8s.io/reader"),
        (("rolebinding", "b", "--role=reader", "--user=u"), "rolebinding.rbac.authorization.k8s.io/b"),
    ):
        assert kubectl("create", *words, *inside) == f"{kind} created\n"
    assert kubectl("get", "all", *inside, "-o", "name").split() == [
        "service/s1", "service/s2", "service/s3", "service/s4", "deployment.apps/d", "job.batch/j",
    ]  # fmt: skip
    assert kubectl("create", "clusterrole", namespace, "--verb=get", "--resource=pods").endswith(" created\n")
    assert kubectl("create", "priorityclass", namespace, "--value=5").endswith(" created\n")
    # 1.20 sends these two in a version of their group that is no longer there.
    if "1.20" not in kubectl.binary and "debian" not in kubectl.binary:
        kubectl("create", "cronjob", "c", "--image=busybox", "--schedule=*/1 * * * *", *inside)
        kubectl("create", "pdb", "p", "--selector=app=x", "--min-available=1", *inside)
        kubectl("create", "ingress", "i", "--rule=a.b/=s1:80", *inside)
    kubectl("delete", "clusterrole", namespace)
    kubectl("delete", "priorityclass", namespace)
