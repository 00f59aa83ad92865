"""The original's sentences about pods."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kinds.pod import POD
from k8slab.kube.api.validation import SUBDOMAIN_RULE


def made(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "i", **(container or {})}
    pod: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [main], **spec}}
    POD.default(pod)
    return pod


def problems(container: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    return [str(one).removeprefix("spec.") for one in POD.validate(made(container, **spec), None)]


@pytest.mark.parametrize("seconds", [0, -1, 31])
def test_a_hook_sleeps_within_the_pod_s_grace(seconds: int) -> None:
    assert problems({"lifecycle": {"preStop": {"sleep": {"seconds": 30}}}}) == []
    (why,) = problems({"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}})
    bound = "must be greater than 0 and less than terminationGracePeriodSeconds (30)"
    assert why == f"containers[0].lifecycle.preStop.sleep: Invalid value: {seconds}: {bound}"


def test_a_probe_speaks_http_as_it_can_be_spoken() -> None:
    http = {"port": 80, "scheme": "HTTPS", "httpHeaders": [{"name": "X-A", "value": "b"}]}
    assert problems({"livenessProbe": {"httpGet": http}}) == []
    wrong = {"port": 80, "scheme": "FTP", "httpHeaders": [{"name": "a\r\nb", "value": "b"}]}
    scheme, header = problems({"livenessProbe": {"httpGet": wrong}})
    path = "containers[0].livenessProbe.httpGet"
    assert scheme == f'{path}.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"'
    assert header.startswith(f"{path}.httpHeaders: Invalid value: ")
    assert "a valid HTTP header must consist of alphanumeric characters or '-'" in header


@pytest.mark.parametrize(
    ("toleration", "found"),
    [
        ({"operator": "Exists"}, []),
        ({"key": "a/b", "value": "c", "effect": "NoExecute", "tolerationSeconds": 3}, []),
        (
            {},
            [
                'operator: Invalid value: "": operator must be Exists when `key` is empty, which means '
                '"match all values and all keys"'
            ],
        ),
        (
            {"key": "a", "tolerationSeconds": 3},
            ["effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"],
        ),
        ({"key": "a", "operator": "In"}, ['operator: Unsupported value: "In": supported values: "Equal", "Exists"']),
        (
            {"key": "a", "effect": "Never"},
            ['effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"'],
        ),
    ],
)
def test_tolerations(toleration: dict[str, Any], found: list[str]) -> None:
    assert [one.removeprefix("tolerations[0].") for one in problems(tolerations=[toleration])] == found


def test_a_pod_that_exists_for_any_value_names_none() -> None:
    (why,) = problems(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}])
    assert why.startswith("tolerations[0].operator: Invalid value: core.Toleration{")
    assert why.endswith(": value must be empty when `operator` is 'Exists'")


def test_who_has_no_dns_policy_names_servers() -> None:
    assert problems(dnsPolicy="None", dnsConfig={"nameservers": ["10.0.0.1"]}) == []
    (why,) = problems(dnsPolicy="None")
    assert why == (
        "dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"
    )


def test_on_the_host_s_network_a_port_is_the_host_s() -> None:
    assert problems({"ports": [{"containerPort": 80}]}, hostNetwork=True) == []
    assert problems({"ports": [{"containerPort": 80, "hostPort": 0}]}, hostNetwork=True) == []
    assert problems({"ports": [{"containerPort": 80, "hostPort": 81}]}) == []
    (why,) = problems({"ports": [{"containerPort": 80, "hostPort": 81}]}, hostNetwork=True)
    assert why == "containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort`"


@pytest.mark.parametrize(
    ("mount", "found"),
    [
        ({"subPath": "a/b"}, []),
        ({"subPath": "/a"}, ['subPath: Invalid value: "/a": must be a relative path']),
        ({"subPath": "a/../../b"}, ["subPath: Invalid value: \"a/../../b\": must not contain '..'"]),
        ({"subPathExpr": "../$(A)"}, ["subPathExpr: Invalid value: \"../$(A)\": must not contain '..'"]),
        (
            {"subPath": "a", "subPathExpr": "b"},
            ['subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive'],
        ),
    ],
)
def test_a_mount_stays_within_its_volume(mount: dict[str, Any], found: list[str]) -> None:
    mounts = [{"name": "v", "mountPath": "/v", **mount}]
    said = problems({"volumeMounts": mounts}, volumes=[{"name": "v", "emptyDir": {}}])
    assert [one.removeprefix("containers[0].volumeMounts[0].") for one in said] == found


@pytest.mark.parametrize(
    ("mode", "privileged", "found"),
    [
        ("None", False, []),
        ("HostToContainer", False, []),
        ("Bidirectional", True, []),
        (
            "Bidirectional",
            False,
            ["Forbidden: Bidirectional mount propagation is available only to privileged containers"],
        ),
        (
            "Both",
            True,
            ['Unsupported value: "Both": supported values: "Bidirectional", "HostToContainer", "None"'],
        ),
        (
            "",
            True,
            ['Unsupported value: "": supported values: "Bidirectional", "HostToContainer", "None"'],
        ),
    ],
)
def test_only_who_may_all_mounts_for_the_node(mode: str, privileged: bool, found: list[str]) -> None:
    mounts = [{"name": "v", "mountPath": "/v", "mountPropagation": mode}]
    container = {"volumeMounts": mounts, "securityContext": {"privileged": privileged}}
    said = problems(container, volumes=[{"name": "v", "emptyDir": {}}])
    assert said == [f"containers[0].volumeMounts.mountPropagation: {why}" for why in found]


def test_a_pod_without_a_security_context_is_not_privileged() -> None:
    mounts = [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]
    (why,) = problems({"volumeMounts": mounts}, volumes=[{"name": "v", "emptyDir": {}}])
    assert why.startswith("containers[0].volumeMounts.mountPropagation: Forbidden: ")


_NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


@pytest.mark.parametrize(
    ("alias", "found"),
    [
        ({"ip": "10.0.0.1", "hostnames": ["a", "b.c"]}, []),
        ({"ip": "fd00::1"}, []),
        ({"hostnames": ["a"]}, [f'ip: Invalid value: "": {_NO_ADDRESS}']),
        ({"ip": "10.0.0.256"}, [f'ip: Invalid value: "10.0.0.256": {_NO_ADDRESS}']),
        ({"ip": "a\n10.0.0.1"}, [f'ip: Invalid value: "a\n10.0.0.1": {_NO_ADDRESS}']),
        (
            {"ip": "10.0.0.1", "hostnames": ["a", "B c"]},
            [f'hostnames[1]: Invalid value: "B c": {SUBDOMAIN_RULE}'],
        ),
    ],
)
@pytest.mark.parametrize("spec", [{}, {"hostNetwork": True}])
def test_host_aliases_are_lines_of_a_hosts_file(spec: dict[str, Any], alias: dict[str, Any], found: list[str]) -> None:
    said = problems(hostAliases=[{"ip": "127.0.0.1"}, alias], **spec)
    assert [one.removeprefix("hostAliases[1].") for one in said] == found


def test_variables_have_names_that_can_be_set() -> None:
    assert problems({"env": [{"name": "MY-env.name 1", "value": "x"}]}) == []
    (why,) = problems({"env": [{"name": "A=B", "value": "x"}]})
    assert why.startswith('containers[0].env[0].name: Invalid value: "A=B": a valid environment variable name must')


def updated(was: dict[str, Any], **now: Any) -> list[str]:
    return [str(one).removeprefix("spec.") for one in POD.validate(made(**now), made(**was))]


def test_a_deadline_is_not_put_off() -> None:
    assert updated({}, activeDeadlineSeconds=9) == []
    assert updated({"activeDeadlineSeconds": 9}, activeDeadlineSeconds=3) == []
    path = "activeDeadlineSeconds: Invalid value"
    assert updated({"activeDeadlineSeconds": 9}, activeDeadlineSeconds=10) == [
        f"{path}: 10: must be less than or equal to previous value"
    ]
    assert updated({"activeDeadlineSeconds": 9}) == [
        f"{path}: null: must not update from a positive integer to nil value"
    ]


def test_gates_only_go() -> None:
    gates = [{"name": "a/b"}, {"name": "c/d"}]
    assert updated({"schedulingGates": gates}, schedulingGates=gates[1:], nodeSelector={"x": "y"}) == []
    assert updated({"schedulingGates": gates}) == []
    (why,) = updated({"schedulingGates": gates[:1]}, schedulingGates=gates)
    assert why == "schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c/d'"
    (why,) = updated({"schedulingGates": gates, "nodeSelector": {"x": "y"}}, nodeSelector={"x": "z"})
    assert why == (
        'nodeSelector: Invalid value: map[string]string{"x":"z"}: only additions are allowed to spec.nodeSelector '
        "(no mutations or deletions)"
    )


def test_containers_neither_come_nor_go() -> None:
    (why,) = updated({}, initContainers=[{"name": "first", "image": "i"}])
    assert why == "initContainers: Forbidden: pod updates may not add or remove containers"
    (why,) = updated({}, hostname="other")
    assert why.startswith("spec: Forbidden: pod updates may not change fields other than ")


def test_a_probe_by_grpc_asks_for_the_server_as_a_whole() -> None:
    probe = made({"livenessProbe": {"grpc": {"port": 9}}})["spec"]["containers"][0]["livenessProbe"]
    assert probe["grpc"] == {"port": 9, "service": ""}


def test_how_long_a_pod_tolerates_may_change() -> None:
    def of(seconds: int, **more: str) -> dict[str, Any]:
        return made(tolerations=[{"key": "a", "effect": "NoExecute", "tolerationSeconds": seconds, **more}])

    assert POD.validate(of(60), of(300)) == []
    (why,) = POD.validate(of(60, value="b"), of(300))
    assert str(why).startswith("spec: Forbidden: pod updates may not change fields other than ")


def test_a_gate_without_a_name_that_was_let_in_once_is_lifted() -> None:
    assert POD.validate(made(), made(schedulingGates=[{}])) == []


def test_a_pod_s_addresses_are_addresses() -> None:
    def said(now: dict[str, Any], was: dict[str, Any]) -> list[str]:
        return [str(one) for one in POD.validate_status({**made(), "status": now}, {**made(), "status": was})]

    wrong = {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "x"}]}
    assert said({"podIP": "10.0.0.1"}, {}) == said({}, wrong) == said(wrong, wrong) == []
    rule = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    assert said(wrong, {}) == [f'status.podIPs[1]: Invalid value: "x": {rule}']
    assert said({"podIP": "y"}, wrong) == [f'status.podIPs[0]: Invalid value: "y": {rule}']
