"""Manifests as charts and examples write them: with empty values, nulls and broken lines, which mean nothing."""

from __future__ import annotations

import json

from tests.daemons.kube.conftest import Kubectl

CHART = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: chart
  labels: {app.kubernetes.io/name: chart}
spec:
  revisionHistoryLimit: 0
  selector: {matchLabels: {app.kubernetes.io/name: chart}}
  strategy: {type: "", rollingUpdate: {maxSurge: 150%, maxUnavailable: 0}}
  template:
    metadata: {labels: {app.kubernetes.io/name: chart}, annotations: {checksum/config: abc}}
    spec:
      serviceAccountName: ""
      priorityClassName: ""
      restartPolicy: ""
      dnsPolicy: ""
      hostNetwork: false
      nodeSelector: {}
      affinity: {}
      tolerations: []
      imagePullSecrets: []
      initContainers: []
      containers:
      - name: main
        image: nginx:1.16
        imagePullPolicy: ""
        terminationMessagePolicy: ""
        args: [a, null]
        ports: [{name: http, containerPort: 80, hostPort: 0, protocol: ""}]
        livenessProbe: {httpGet: {path: "", port: http, scheme: ""}, timeoutSeconds: 0, successThreshold: 0}
        env: [{name: A, value: ""}, {name: B, value: }]
        resources: {limits: {nvidia.com/gpu: 1}}
        volumeMounts: [{name: tmp, mountPath: /tmp, subPath: ""}]
      volumes: [{name: tmp, emptyDir: }]
---
apiVersion: v1
kind: Secret
metadata: {name: chart-tls}
type: kubernetes.io/tls
data:
  tls.crt: |
    LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0t
    LS0tCg==
  tls.key: Zm9v
---
apiVersion: v1
kind: Service
metadata: {name: chart-dns}
spec:
  type: NodePort
  clusterIP: ""
  sessionAffinity: ""
  selector: {app.kubernetes.io/name: chart}
  ports:
  - {name: dns, port: 53, protocol: UDP, targetPort: ""}
  - {name: dns-tcp, port: 53, protocol: TCP, nodePort: 0}
"""


def test_a_chart_is_taken_as_it_is_meant(kubectl: Kubectl, namespace: str) -> None:
    inside = ("-n", namespace)
    lenient = ("--validate=false",) if "1.20" in kubectl.binary or "debian" in kubectl.binary else ()
    kubectl("apply", *inside, *lenient, "-f", "-", stdin=CHART)
    shown = kubectl("get", *inside, "deployment/chart", "secret/chart-tls", "service/chart-dns", "-o", "json")
    deployment, secret, service = json.loads(shown)["items"]

    assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    spec = deployment["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert (spec["restartPolicy"], spec["dnsPolicy"]) == ("Always", "ClusterFirst")
    assert not {"serviceAccountName", "priorityClassName", "hostNetwork"} & set(spec)
    assert (container["imagePullPolicy"], container["args"]) == ("IfNotPresent", ["a", ""])
    assert container["ports"] == [{"name": "http", "containerPort": 80, "protocol": "TCP"}]
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/", "port": "http", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert secret["data"]["tls.crt"] == "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="
    udp, tcp = service["spec"]["ports"]
    assert udp["nodePort"] == tcp["nodePort"]
    assert (udp["targetPort"], service["spec"]["sessionAffinity"]) == (53, "None")

    kubectl("apply", *inside, *lenient, "-f", "-", stdin=CHART)
    again = json.loads(kubectl("get", *inside, "deployment", "chart", "-o", "json"))
    assert again["metadata"]["generation"] == 1
