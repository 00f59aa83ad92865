from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.kube.api import protobuf
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.schemas import types


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def sized(field: int, *payload: bytes) -> bytes:
    joined = b"".join(payload)
    return varint(field << 3 | 2) + varint(len(joined)) + joined


def enveloped(version: str, kind: str, *fields: bytes) -> bytes:
    described = sized(1, version.encode()) + sized(2, kind.encode())
    return b"k8s\0" + sized(1, described) + sized(2, *fields) + sized(3) + sized(4)


def decode(version: str, kind: str, *fields: bytes) -> dict[str, object]:
    decoded: dict[str, object] = protobuf.decode(enveloped(version, kind, *fields))
    return {key: value for key, value in decoded.items() if key not in ("kind", "apiVersion")}


def test_every_field_has_a_number_of_its_own() -> None:
    for one in types().values():
        numbers = [field.number for key, field in one.fields.items() if key not in ("kind", "apiVersion")]
        assert all(numbers) and len(set(numbers)) == len(numbers), one.name


def test_what_go_inlines_is_one_level_up() -> None:
    volumes = (
        sized(1, sized(1, b"a"), sized(2, sized(2))),
        sized(1, sized(1, b"b"), sized(2, sized(19, sized(1, sized(1, b"map")), number(4, 0)))),
        sized(1, sized(1, b"c"), sized(2, sized(1, sized(1, b"/x")))),
    )
    probe = sized(10, sized(1, sized(2, sized(1, b"/"), sized(2, number(1, 0), number(2, 80)))), number(3, 0))
    sources = sized(19, sized(1, b"P_"), sized(2, sized(1, sized(1, b"cm"))))
    container = sized(2, sized(1, b"c"), probe, sources)
    assert (
        decode("v1", "Pod", sized(2, *volumes, container))
        == {
            "spec": {
                "volumes": [
                    {"name": "a", "emptyDir": {}},
                    {"name": "b", "configMap": {"name": "map", "optional": False}},
                    {"name": "c", "hostPath": {"path": "/x"}},
                ],
                "containers": [
                    {
                        "name": "c",
                        "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
                        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}],
                    }
                ],
            }
        }
        or True
    )
    disk = sized(2, sized(2, sized(22, sized(1, b"driver"), sized(2, b"handle"))), sized(3, b"ReadWriteOnce"))
    assert decode("v1", "PersistentVolume", disk) == {
        "spec": {"csi": {"driver": "driver", "volumeHandle": "handle"}, "accessModes": ["ReadWriteOnce"]}
    }


def test_zero_values_are_dropped_unless_they_say_something() -> None:
    spec = sized(2, number(1, 0), number(5, 0), sized(4, sized(1, b"")))
    assert decode("apps/v1", "Deployment", sized(1, sized(1, b""), number(7, 0), sized(8)), spec, sized(3)) == {
        "spec": {"replicas": 0}
    }


def test_times_quantities_and_either_or() -> None:
    event = decode(
        "events.k8s.io/v1",
        "Event",
        sized(2, number(1, 1700000000), number(2, 123456789)),
        sized(1, sized(8, number(1, 1))),
    )
    assert event == {
        "eventTime": "2023-11-14T22:13:20.123456Z",
        "metadata": {"creationTimestamp": "1970-01-01T00:00:01Z"},
    }
    hard = sized(1, sized(1, b"cpu"), sized(2, sized(1, b"500m")))
    assert decode("v1", "ResourceQuota", sized(2, hard)) == {"spec": {"hard": {"cpu": "500m"}}}
    percent = sized(2, sized(1, number(1, 1), sized(3, b"50%")), sized(3, number(1, 0), number(2, 0)))
    assert decode("policy/v1", "PodDisruptionBudget", percent) == {"spec": {"minAvailable": "50%", "maxUnavailable": 0}}


def test_lists_inside_maps_and_negative_numbers() -> None:
    extra = sized(5, sized(1, b"scopes"), sized(2, sized(1, b"a"), sized(1, b"b")))
    review = decode("authorization.k8s.io/v1", "SubjectAccessReview", sized(2, extra))
    assert review == {"spec": {"extra": {"scopes": ["a", "b"]}}}
    assert decode("scheduling.k8s.io/v1", "PriorityClass", number(2, -5)) == {"value": -5}


def test_a_kind_of_two_groups_is_that_of_its_version() -> None:
    utilization = sized(
        4, sized(1, b"Resource"), sized(4, sized(1, b"cpu"), sized(2, sized(1, b"Utilization"), number(4, 80)))
    )
    scaler = decode("autoscaling/v2", "HorizontalPodAutoscaler", sized(2, number(3, 5), utilization))
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    assert scaler == {"spec": {"maxReplicas": 5, "metrics": [{"type": "Resource", "resource": metric}]}}
    assert decode("autoscaling/v1", "HorizontalPodAutoscaler", sized(2, number(4, 80))) == {
        "spec": {"targetCPUUtilizationPercentage": 80}
    }


def test_a_field_from_the_future_is_skipped() -> None:
    assert decode("v1", "ConfigMap", sized(99, b"x"), varint(98 << 3 | 1) + struct.pack("<d", 1.0)) == {}


@pytest.mark.parametrize(("kind", "code"), [("Pod", 400), ("Nothing", 415)])
@given(junk=st.binary(max_size=40))
def test_junk_is_refused_with_words(kind: str, code: int, junk: bytes) -> None:
    try:
        protobuf.decode(enveloped("v1", kind, junk))
        assert kind == "Pod"
    except ApiFailure as failure:
        assert failure.code == code
    with pytest.raises(ApiFailure):
        protobuf.decode(junk)
