"""What a service may say of whom it lets in and where it is to be found."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kinds.service import SERVICE


def problems(**spec: Any) -> list[str]:
    service: Any = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], **spec}}
    SERVICE.default(service)
    return [str(one) for one in SERVICE.validate(service, None)]


@pytest.mark.parametrize(
    "network", ["10.1.0.0", "10.1.0.0/33", "10.1.0.0/24\n-A INPUT -j ACCEPT", "10.0.0.0/255.0.0.0", ""]
)
def test_only_networks_are_let_in(network: str) -> None:
    assert problems(type="LoadBalancer", loadBalancerSourceRanges=["10.1.0.0/16", " 10.2.0.1/16 ", "fd00::/8"]) == []
    (why,) = problems(type="LoadBalancer", loadBalancerSourceRanges=["10.1.0.0/16", network])
    assert why.startswith("spec.LoadBalancerSourceRanges[1]: Invalid value: ")
    assert "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)" in why


def test_nobody_else_lets_in_networks() -> None:
    (why,) = problems(loadBalancerSourceRanges=["10.1.0.0/16"])
    assert why == "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'"


@pytest.mark.parametrize("seconds", [0, -1, 86401])
def test_a_client_keeps_its_pod_for_a_day_at_most(seconds: int) -> None:
    assert problems(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86400}}) == []
    (why,) = problems(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": seconds}})
    assert why.endswith(f"Invalid value: {seconds}: must be greater than 0 and less than 86400")


def test_a_load_balancer_has_addresses() -> None:
    def of_status(kind: str, address: str) -> list[str]:
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "a.b"}, {"ip": address}]}}
        return [str(one) for one in SERVICE.validate_status({"spec": {"type": kind}, "status": status}, None)]

    assert of_status("LoadBalancer", "192.0.2.2") == []
    (why,) = of_status("LoadBalancer", "192.0.2.2\n-A INPUT -j ACCEPT")
    assert why.startswith("status.loadBalancer.ingress[2].ip: Invalid value: ")
    (why,) = of_status("ClusterIP", "192.0.2.2")
    assert why == 'status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is "LoadBalancer"'


@pytest.mark.parametrize(("was", "now"), [("10.0.0.9", "10.0.0.8"), ("10.0.0.9", "None"), ("None", "10.0.0.9")])
def test_a_cluster_address_stays(was: str, now: str) -> None:
    def made(**spec: Any) -> dict[str, Any]:
        service: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], **spec}}
        SERVICE.default(service)
        return service

    old, new = made(clusterIP=was), made(clusterIP=now)
    (why,) = map(str, SERVICE.validate(new, old))
    assert why == f'spec.clusterIPs[0]: Invalid value: []string{{"{now}"}}: may not change once set'
    assert SERVICE.validate(made(type="ExternalName", externalName="a.b"), old) == []
    unsaid = made()
    SERVICE.prepare(unsaid, old)
    assert unsaid["spec"]["clusterIP"] == was
    assert SERVICE.validate(unsaid, old) == []


def test_traffic_goes_to_the_cluster_s_pods_or_the_node_s() -> None:
    assert problems(type="NodePort", externalTrafficPolicy="Local", internalTrafficPolicy="Local") == []
    assert problems(externalIPs=["192.0.2.1"], externalTrafficPolicy="Local") == []
    assert problems(type="NodePort", externalTrafficPolicy="Near", internalTrafficPolicy="Far") == [
        'spec.externalTrafficPolicy: Unsupported value: "Near": supported values: "Cluster", "Local"',
        'spec.internalTrafficPolicy: Unsupported value: "Far": supported values: "Cluster", "Local"',
    ]
    (why,) = problems(externalTrafficPolicy="Local")
    assert why == (
        'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'
    )


def test_who_is_no_longer_reached_from_outside_has_no_policy_for_it() -> None:
    old: Any = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}}
    SERVICE.default(old)
    assert old["spec"]["externalTrafficPolicy"] == "Cluster"
    new: Any = {"metadata": {"name": "web"}, "spec": {**old["spec"], "externalIPs": []}}
    SERVICE.default(new)
    SERVICE.prepare(new, old)
    assert "externalTrafficPolicy" not in new["spec"]
    assert SERVICE.validate(new, old) == []


def test_a_node_port_is_one_port_s_of_each_protocol() -> None:
    both = [{"name": "a", "port": 53, "nodePort": 30053}, {"name": "b", "port": 53, "protocol": "UDP"}]
    both[1]["nodePort"] = 30053
    assert problems(type="NodePort", ports=both) == []
    (why,) = problems(type="NodePort", ports=[*both, {"name": "c", "port": 54, "nodePort": 30053}])
    assert why == "spec.ports[2].nodePort: Duplicate value: 30053"


def test_only_who_keeps_to_clients_says_how_long() -> None:
    spec: dict[str, Any] = {"sessionAffinity": "ClientIP", "ports": [{"port": 80}]}
    service: dict[str, Any] = {"metadata": {"name": "web"}, "spec": spec}
    SERVICE.default(service)
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    spec["sessionAffinity"] = "None"
    SERVICE.default(service)
    assert "sessionAffinityConfig" not in spec
    assert SERVICE.validate(service, None) == []


def test_the_first_cluster_address_is_the_cluster_address() -> None:
    assert problems(clusterIPs=["10.0.0.9"]) == problems(clusterIP="10.0.0.9", clusterIPs=["10.0.0.9"]) == []
    (why,) = problems(clusterIP="10.0.0.9", clusterIPs=["10.0.0.8"])
    assert why == 'spec.clusterIPs: Invalid value: []string{"10.0.0.8"}: first value must match `clusterIP`'
    (why,) = problems(clusterIPs=["None", "10.0.0.8"])
    assert why.endswith("'None' must be the first and only value")


def test_who_is_no_load_balancer_any_more_says_nothing_of_one_s_ports() -> None:
    old: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    SERVICE.default(old)
    new = {**old, "spec": {**old["spec"], "type": "NodePort"}}
    SERVICE.prepare(new, old)
    assert "allocateLoadBalancerNodePorts" in old["spec"]
    assert "allocateLoadBalancerNodePorts" not in new["spec"]
