"""The original's sentences about what containers ask for, whom they run as, and which of the host's ports they take."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.kube.test_pod_rules import made, problems

STANDARD = "must be a standard resource type or fully qualified"
OF_CONTAINERS = "must be a standard resource for containers"


@pytest.mark.parametrize(
    ("resources", "found"),
    [
        ({"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi", "hugepages-2Mi": "4Mi"}}, []),
        ({"limits": {"nvidia.com/gpu": 1}}, []),
        ({"limits": {"nvidia.com/gpu": 1}, "requests": {"nvidia.com/gpu": "1"}}, []),
        ({"requests": {"cpu": "500m"}, "limits": {"cpu": 1}}, []),
        (
            {"limits": {"foo": 1}},
            [f'{field}[foo]: Invalid value: "foo": {why}' for field in ("limits",) for why in (STANDARD, OF_CONTAINERS)]
            + [
                f'{field}[foo]: Invalid value: "foo": {why}'
                for field in ("requests",)
                for why in (STANDARD, OF_CONTAINERS)
            ],
        ),
        ({"requests": {"storage": 1}}, [f'requests[storage]: Invalid value: "storage": {OF_CONTAINERS}']),
        (
            {"requests": {"nvidia.com/gpu": 1}},
            ["limits: Required value: Limit must be set for non overcommitable resources"],
        ),
        (
            {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "2"}},
            ['requests: Invalid value: "1": must be equal to nvidia.com/gpu limit of 2'],
        ),
        (
            {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
            ['requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            {"limits": {"nvidia.com/gpu": "500m"}},
            [f'{field}[nvidia.com/gpu]: Invalid value: "500m": must be an integer' for field in ("limits", "requests")],
        ),
    ],
)
def test_resources(resources: dict[str, Any], found: list[str]) -> None:
    assert [one.removeprefix("containers[0].resources.") for one in problems({"resources": resources})] == found


@pytest.mark.parametrize("number", [-1, 2**31])
def test_users_and_groups_are_numbers_that_there_are(number: int) -> None:
    bound = f"Invalid value: {number}: must be between 0 and 2147483647, inclusive"
    context = {"runAsUser": number, "runAsGroup": 0, "fsGroup": number, "supplementalGroups": [1, number]}
    fields = ("runAsUser", "fsGroup", "supplementalGroups[1]")
    assert problems(securityContext=context) == [f"securityContext.{field}: {bound}" for field in fields]
    (why,) = problems({"securityContext": {"runAsGroup": number, "runAsUser": 1000}})
    assert why == f"containers[0].securityContext.runAsGroup: {bound}"


def test_what_of_the_kernel_is_set_has_a_name() -> None:
    assert (
        problems(securityContext={"sysctls": [{"name": "net.ipv4/conf.eth0-1"}, {"name": "a_b", "value": "1"}]}) == []
    )
    listed = [{"name": "a"}, {}, {"name": "a"}, {"name": "A."}, {"name": "a\n"}, {"name": 254 * "a"}]
    nameless, twice, *wrong = problems(securityContext={"sysctls": listed})
    assert nameless == "securityContext.sysctls[1].name: Required value"
    assert twice == 'securityContext.sysctls[2].name: Duplicate value: "a"'
    assert len(wrong) == 3
    assert all("must have at most 253 characters and match regex ^([a-z0-9]" in why for why in wrong)


def test_who_is_privileged_cannot_be_kept_from_becoming_so() -> None:
    assert problems({"securityContext": {"allowPrivilegeEscalation": False}}) == []
    (why,) = problems({"securityContext": {"allowPrivilegeEscalation": False, "privileged": True}})
    assert why.endswith("cannot set `allowPrivilegeEscalation` to false and `privileged` to true")


def test_a_port_of_the_host_is_taken_once() -> None:
    port = {"containerPort": 80, "hostPort": 80}
    udp, other = {**port, "protocol": "UDP"}, {**port, "hostIP": "10.0.0.1"}
    assert problems({"ports": [port, udp, other]}, initContainers=[{"name": "i", "image": "i", "ports": [port]}]) == []
    second = {"name": "second", "image": "i", "ports": [{"containerPort": 81, "hostPort": 80}]}
    (why,) = problems(containers=[made({"ports": [port]})["spec"]["containers"][0], second])
    assert why == 'containers[1].ports[0].hostPort: Duplicate value: "TCP//80"'


def test_gates_have_names_of_their_own() -> None:
    assert problems(schedulingGates=[{"name": "a.b/c"}], readinessGates=[{"conditionType": "a.b/c"}]) == []
    nameless, twice = problems(schedulingGates=[{"name": "a"}, {}, {"name": "a"}])[0::2]
    assert nameless.startswith('schedulingGates[1]: Invalid value: "": name part must be non-empty')
    assert twice == 'schedulingGates[2]: Duplicate value: "a"'
    (why,) = problems(readinessGates=[{"conditionType": "a b"}])
    assert why.startswith('readinessGates[0].conditionType: Invalid value: "a b": ')


def test_what_a_pod_asks_for_names_can_be_asked() -> None:
    config = {"nameservers": ["1.1.1.1", "fd00::1"], "searches": ["a.b."], "options": [{"name": "ndots", "value": "2"}]}
    assert problems(dnsConfig=config) == []
    server, search, option = problems(dnsConfig={"nameservers": ["x"], "searches": ["a b"], "options": [{}]})
    assert server.startswith('dnsConfig.nameservers[0]: Invalid value: "x": must be a valid IP address')
    assert search.startswith('dnsConfig.searches[0]: Invalid value: "a b": ')
    assert option == "dnsConfig.options[0]: Required value: must not be empty"
    (why,) = problems(dnsConfig={"nameservers": ["1.1.1.1"] * 4})
    assert why.endswith(": must not have more than 3 nameservers")


def test_nobody_is_looked_into_before_it_runs() -> None:
    (why,) = problems(ephemeralContainers=[{"name": "debug", "image": "i"}])
    assert why == "ephemeralContainers: Forbidden: cannot be set on create"
