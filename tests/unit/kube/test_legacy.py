"""What was said in the first two years, in today's words and back."""

from __future__ import annotations

from typing import Any

from k8slab.kube.api.legacy import v1beta1, v1beta3

NGINX: dict[str, Any] = {
    "id": "nginx-id-01",
    "kind": "Pod",
    "apiVersion": "v1beta1",
    "labels": {"name": "foo"},
    "desiredState": {
        "manifest": {
            "version": "v1beta1",
            "id": "nginx-id-01",
            "containers": [
                {
                    "name": "nginx-01",
                    "image": "dockerfile/nginx",
                    "cpu": 250,
                    "memory": 67108864,
                    "ports": [{"hostPort": 31000, "containerPort": 80}],
                    "env": [{"key": "A", "value": "1"}],
                    "volumeMounts": [{"name": "data", "path": "/data"}],
                    "imagePullPolicy": "PullIfNotPresent",
                    "livenessProbe": {
                        "type": "http",
                        "initialDelaySeconds": 30,
                        "httpGet": {"path": "/index.html", "port": "8081"},
                    },
                }
            ],
            "volumes": [{"name": "data", "source": {"hostDir": {"path": "/srv"}}}, {"name": "tmp"}],
            "restartPolicy": {"onFailure": {}},
        }
    },
}


def test_a_pod_of_v1beta1_in_todays_words() -> None:
    pod = v1beta1.pod_to_v1(NGINX)
    assert pod["metadata"] == {"name": "nginx-id-01", "labels": {"name": "foo"}}
    [container] = pod["spec"]["containers"]
    assert container["ports"] == [{"hostPort": 31000, "containerPort": 80}]
    assert container["env"] == [{"name": "A", "value": "1"}]
    assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
    assert container["resources"] == {"limits": {"cpu": "250m", "memory": "67108864"}}
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/index.html", "port": 8081},
        "initialDelaySeconds": 30,
    }
    assert pod["spec"]["volumes"] == [{"name": "data", "hostPath": {"path": "/srv"}}, {"name": "tmp", "emptyDir": {}}]
    assert pod["spec"]["restartPolicy"] == "OnFailure"


def test_there_and_back_says_the_same() -> None:
    pod = v1beta1.pod_to_v1(NGINX)
    pod["status"] = {
        "phase": "Failed",
        "podIP": "10.1.0.4",
        "hostIP": "10.0.0.2",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            {"name": "nginx-01", "ready": False, "restartCount": 2, "state": {"terminated": {"exitCode": 1}}}
        ],
    }
    back = v1beta1.pod_from_v1(pod, "/api/v1beta1/pods/nginx-id-01")
    assert back["id"] == "nginx-id-01"
    manifest = back["desiredState"]["manifest"]
    assert (manifest["id"], manifest["restartPolicy"]) == ("nginx-id-01", {"onFailure": {}})
    [container], [given] = manifest["containers"], NGINX["desiredState"]["manifest"]["containers"]
    for key in ("cpu", "memory", "ports", "imagePullPolicy"):
        assert container[key] == given[key]
    assert container["livenessProbe"]["type"] == "http"
    assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data", "path": "/data"}]
    current = back["currentState"]
    assert (current["status"], current["podIP"], current["Condition"]) == (
        "Terminated",
        "10.1.0.4",
        [{"kind": "Ready", "status": "None"}],
    )
    assert current["info"]["nginx-01"]["state"] == {"termination": {"exitCode": 1}}
    assert v1beta1.pod_to_v1({**back, "labels": back["labels"]})["spec"]["containers"] == pod["spec"]["containers"]


def test_a_name_with_capitals_is_kept_beside_a_name_without() -> None:
    old = {
        "id": "nginxController",
        "desiredState": {
            "replicas": 2,
            "replicaSelector": {"name": "nginx"},
            "podTemplate": {
                "desiredState": {"manifest": {"containers": [{"name": "nginx", "image": "nginx"}]}},
                "labels": {"name": "nginx"},
            },
        },
    }
    new = v1beta1.controller_to_v1(old)
    assert new["metadata"]["name"] == "nginxcontroller"
    assert new["spec"]["selector"] == new["spec"]["template"]["metadata"]["labels"] == {"name": "nginx"}
    back = v1beta1.controller_from_v1(new, "/api/v1beta1/replicationControllers/nginxController")
    assert back["id"] == "nginxController"
    assert "annotations" not in back
    assert back["desiredState"]["replicas"] == 2


def test_services_have_one_port() -> None:
    old = {"id": "web", "port": 8765, "containerPort": 80, "selector": {"a": "b"}, "portalIP": "10.0.0.9"}
    new = v1beta1.service_to_v1(old)
    assert new["spec"] == {
        "ports": [{"port": 8765, "protocol": "TCP", "targetPort": 80}],
        "selector": {"a": "b"},
        "clusterIP": "10.0.0.9",
    }
    back = v1beta1.service_from_v1(new, "/x")
    assert {key: back[key] for key in old} == old
    third = v1beta3.service_to_v1({"metadata": {"name": "web"}, "spec": {"port": 80, "portalIP": "10.0.0.9"}})
    assert third["spec"] == {"ports": [{"port": 80}], "clusterIP": "10.0.0.9"}
    assert v1beta3.service_from_v1(third, "/x")["spec"]["portalIP"] == "10.0.0.9"


def test_endpoints_are_pairs() -> None:
    new = v1beta1.endpoints_to_v1({"id": "web", "endpoints": ["10.1.0.1:80", "10.1.0.2:80"]})
    assert new["subsets"] == [
        {"addresses": [{"ip": "10.1.0.1"}, {"ip": "10.1.0.2"}], "ports": [{"port": 80, "protocol": "TCP"}]}
    ]
    assert v1beta1.endpoints_from_v1(new, "/x")["endpoints"] == ["10.1.0.1:80", "10.1.0.2:80"]


def test_v1beta3_speaks_of_hosts() -> None:
    new = v1beta3.pod_to_v1({"metadata": {"name": "p"}, "spec": {"host": "n1", "containers": []}})
    assert new["spec"]["nodeName"] == "n1"
    new["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    back = v1beta3.pod_from_v1(new, "/x")
    assert (back["spec"]["host"], back["status"]["host"]) == ("n1", "n1")
    assert back["status"]["Condition"] == [{"type": "Ready", "status": "True"}]
