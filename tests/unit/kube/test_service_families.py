"""The IP families that a service may have in a cluster of IPv4."""

from __future__ import annotations

from typing import Any

import pytest

from k8slab.kube.api.kinds.service import SERVICE

WEB = {"app": "web"}
_TWO = ["IPv4", "IPv6"]
_SEVERAL = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"


def made(**spec: Any) -> dict[str, Any]:
    service: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], **spec}}
    SERVICE.default(service)
    return service


def problems(**spec: Any) -> list[str]:
    return [str(one).removeprefix("spec.") for one in SERVICE.validate(made(**spec), None)]


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({"selector": WEB}, "SingleStack", ["IPv4"]),
        ({}, "SingleStack", ["IPv4"]),
        ({"selector": WEB, "ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4"]),
        ({"selector": WEB, "clusterIP": "None"}, "SingleStack", ["IPv4"]),
        ({"clusterIP": "None"}, "RequireDualStack", _TWO),
        ({"clusterIP": "None", "ipFamilies": ["IPv6"]}, "RequireDualStack", ["IPv6", "IPv4"]),
        ({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}, "SingleStack", ["IPv4"]),
    ],
)
def test_who_asks_for_nothing_gets_what_the_cluster_has(spec: dict[str, Any], policy: str, families: list[str]) -> None:
    service = made(**spec)
    assert (service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]) == (policy, families)
    assert SERVICE.validate(service, None) == []


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"ipFamilies": ["IPv4"]}, []),
        ({"ipFamilies": ["IPv6"]}, ['ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster']),
        (
            {"ipFamilies": ["IPv5"]},
            ['ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"'],
        ),
        (
            {"ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "PreferDualStack"},
            ['ipFamilies[1]: Duplicate value: "IPv4"'],
        ),
        (
            {"ipFamilyPolicy": "Dual"},
            [
                'ipFamilyPolicy: Unsupported value: "Dual": supported values: "PreferDualStack", "RequireDualStack", '
                '"SingleStack"'
            ],
        ),
        ({"ipFamilies": _TWO}, [f'ipFamilyPolicy: Invalid value: "SingleStack": {_SEVERAL} IP families are specified']),
        (
            {"ipFamilies": _TWO, "ipFamilyPolicy": "PreferDualStack"},
            ['ipFamilies[1]: Invalid value: "IPv6": not configured on this cluster'],
        ),
        (
            {"clusterIPs": ["10.0.0.9", "fd00::9"]},
            [f'ipFamilyPolicy: Invalid value: "SingleStack": {_SEVERAL} cluster IPs are specified'],
        ),
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            [
                'ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack '
                "services"
            ],
        ),
        (
            {"clusterIP": "fd00::9"},
            ['clusterIPs[0]: Invalid value: "fd00::9": expected an IPv4 value as indicated by `ipFamilies[0]`'],
        ),
        ({"clusterIP": "None", "ipFamilies": _TWO, "ipFamilyPolicy": "PreferDualStack", "selector": None}, []),
        (
            {"clusterIP": "None", "ipFamilies": ["IPv6"]},
            ['ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'],
        ),
    ],
)
def test_a_service_asks_for_what_the_cluster_has(spec: dict[str, Any], found: list[str]) -> None:
    assert problems(**{"selector": WEB, **spec}) == found


def test_a_mere_name_has_no_family() -> None:
    spec: dict[str, Any] = {"type": "ExternalName", "externalName": "a.b", "ports": None}
    assert problems(**spec) == []
    assert problems(**spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack") == [
        "ipFamilies: Forbidden: may not be set when `type` is 'ExternalName'",
        "ipFamilyPolicy: Forbidden: may not be set when `type` is 'ExternalName'",
    ]
