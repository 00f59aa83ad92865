from __future__ import annotations

import pytest

from k8slab.kube.api import negotiation, schemas
from k8slab.kube.api.errors import ApiFailure
from k8slab.kube.api.kinds import KINDS


def test_every_served_kind_has_its_type() -> None:
    assert {kind.kind for kind in KINDS} <= set(schemas.types())


def test_every_form_is_a_scalar_or_a_type() -> None:
    for one in schemas.types().values():
        for key, field in one.fields.items():
            form = field.form
            while (inner := schemas.element(form)) != form:
                form = inner
            assert form in schemas.SCALARS or form in schemas.types(), f"{one.name}.{key}: {field.form}"


def test_names_that_two_groups_have_are_told_apart() -> None:
    known = schemas.types()
    assert known["Event"].model == "io.k8s.api.core.v1.Event"
    assert known["events.k8s.io/v1.Event"].fields["regarding"].form == "ObjectReference"
    assert known["HorizontalPodAutoscaler"].fields["spec"].form == "HorizontalPodAutoscalerSpec"
    newer = known["autoscaling/v2.HorizontalPodAutoscaler"]
    assert newer.fields["spec"].form == "autoscaling/v2.HorizontalPodAutoscalerSpec"
    assert known["EndpointSlice"].fields["ports"].form == "[]discovery.k8s.io/v1.EndpointPort"


def test_the_rules_of_lists() -> None:
    ports = schemas.types()["ServiceSpec"].fields["ports"]
    assert (ports.merge_key, ports.strategy, ports.list_type, ports.map_keys) == (
        "port",
        "merge",
        "map",
        ("port", "protocol"),
    )
    assert schemas.types()["ServicePort"].fields["protocol"].default == "TCP"
    assert schemas.types()["ObjectMeta"].fields["finalizers"].list_type == "set"
    assert schemas.types()["PodSpec"].fields["volumes"].strategy == "merge,retainKeys"
    assert schemas.types()["LabelSelector"].atomic
    assert not schemas.types()["PodSpec"].fields["tolerations"].merges


def test_what_is_unknown_is_named_and_left_out() -> None:
    body = {
        "metadata": {"name": "x", "labels": None},
        "spec": {"containers": [{"name": "a", "immage": "b"}]},
        "sepc": 1,
    }
    decoded, unknown = schemas.decode("Pod", body, version="v1")
    assert decoded == {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}}
    assert unknown == ["spec.containers[0].immage", "sepc"]


@pytest.mark.parametrize(
    ("form", "body", "said"),
    [
        ("Pod", {"spec": {"containers": {}}}, "object … PodSpec.spec.containers of type []v1.Container"),
        ("Deployment", {"spec": {"replicas": "3"}}, "string … DeploymentSpec.spec.replicas of type int32"),
        ("Deployment", {"spec": {"replicas": 1 << 31}}, "number … DeploymentSpec.spec.replicas of type int32"),
        (
            "Service",
            {"spec": {"ports": [{"targetPort": 1 << 31}]}},
            "number … ServicePort.spec.ports.targetPort of type int32",
        ),
        ("Pod", {"metadata": {"labels": []}}, "array … ObjectMeta.metadata.labels of type map[string]string"),
    ],
)
def test_a_wrong_type_is_refused(form: str, body: dict[str, object], said: str) -> None:
    with pytest.raises(ApiFailure) as failure:
        schemas.decode(form, body, version="v1")
    assert f"json: cannot unmarshal {said.replace('…', 'into Go struct field')}" in failure.value.message
    assert failure.value.message.startswith(f'{form} in version "v1" cannot be handled as a {form}: ')


def test_every_type_and_field_that_clients_may_ask_about_is_described() -> None:
    texts = schemas.descriptions()
    assert set(texts) >= set(schemas.types())
    assert "deployment strategy" in texts["DeploymentSpec"][1]["strategy"]


@pytest.mark.parametrize(
    "text", ["a: !!binary aGk=", "a: 99999999999999999999999", "? [a]\n: b", "a: &x [*x]", "{", "a: !!set {b}"]
)
def test_yaml_that_json_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(ApiFailure) as failure:
        negotiation.read_object(text.encode(), "application/yaml")
    assert failure.value.code == 400


def test_yaml_is_read_as_the_json_it_stands_for() -> None:
    read = negotiation.read_object(b"2: 2020-01-01\ntrue: [~, 1.5]\n", "application/yaml")
    assert read == {"2": "2020-01-01", "true": [None, 1.5]}


def test_an_empty_value_that_means_nothing_is_left_out() -> None:
    probe = {"httpGet": {"port": 80, "scheme": "", "path": ""}, "successThreshold": 0, "timeoutSeconds": 0}
    ports = [{"containerPort": 0, "protocol": "", "hostPort": 0}]
    container = {"name": "", "livenessProbe": probe, "ports": ports}
    spec = {"containers": [container], "restartPolicy": "", "hostNetwork": False, "enableServiceLinks": False}
    decoded, _ = schemas.decode("Pod", {"spec": spec}, version="v1")
    assert decoded["spec"] == {
        "containers": [{"name": "", "livenessProbe": {"httpGet": {"port": 80}}, "ports": [{"containerPort": 0}]}],
        "enableServiceLinks": False,
    }


def test_an_empty_value_is_kept_for_who_applies_it_but_in_keys_and_names() -> None:
    ports = [{"containerPort": 80, "protocol": "", "hostPort": 0}]
    container = {"name": "c", "env": [{"name": "A", "value": ""}], "ports": ports, "tty": False}
    body = {"metadata": {"name": "", "namespace": ""}, "spec": {"containers": [container], "hostNetwork": False}}
    decoded, _ = schemas.decode("Pod", body, version="v1", literal=True)
    kept = {**container, "ports": [{"containerPort": 80, "hostPort": 0}]}
    assert decoded == {"metadata": {}, "spec": {"containers": [kept], "hostNetwork": False}}


def test_of_a_status_every_word_is_kept() -> None:
    status = {"readyReplicas": 0, "conditions": [{"type": "Available", "status": "True", "message": ""}]}
    decoded, _ = schemas.decode("Deployment", {"status": status}, version="v1")
    assert decoded["status"] == status


def test_a_null_in_a_list_or_a_map_is_an_empty_value() -> None:
    body = {"metadata": {"labels": {"a": None}}, "data": {"b": None}, "binaryData": {"c": None}}
    decoded, _ = schemas.decode("ConfigMap", body, version="v1")
    assert decoded == {"metadata": {"labels": {"a": ""}}, "data": {"b": ""}, "binaryData": {"c": ""}}
    container = {"args": ["a", None], "resources": {"limits": {"cpu": None}}}
    decoded, _ = schemas.decode("Pod", {"spec": {"containers": [container, None]}}, version="v1")
    kept = {"args": ["a", ""], "resources": {"limits": {"cpu": "0"}}}
    assert decoded == {"spec": {"containers": [kept, {}]}}


def test_bytes_may_be_broken_into_lines() -> None:
    decoded, _ = schemas.decode("Secret", {"data": {"a": "Zm9v\r\nYmE=\n", "b": ""}}, version="v1")
    assert decoded == {"data": {"a": "Zm9vYmE=", "b": ""}}


@pytest.mark.parametrize(
    ("text", "place"), [("é", 0), ("Zm9vYm", 4), ("Zm9v*", 4), ("=", 0), ("Zm9v====", 4), ("Zm-v", 2)]
)
def test_what_is_no_base64_is_refused(text: str, place: int) -> None:
    with pytest.raises(ApiFailure) as failure:
        schemas.decode("ConfigMap", {"binaryData": {"a": text}}, version="v1")
    assert failure.value.code == 400
    said = f"illegal base64 data at input byte {place}"
    assert failure.value.message == f'ConfigMap in version "v1" cannot be handled as a ConfigMap: {said}'


def test_every_condition_has_a_type_and_a_status() -> None:
    body = {"status": {"conditions": [{"reason": "Because"}, {"type": "Ready"}]}}
    decoded, _ = schemas.decode("Pod", body, version="v1")
    assert decoded["status"]["conditions"] == [
        {"reason": "Because", "type": "", "status": ""},
        {"type": "Ready", "status": ""},
    ]


@pytest.mark.parametrize(
    "text", ["2026-11-20T13:40:00Z", "2026-11-20T13:40:00.123456Z", "2026-11-20T13:40:00.123456789+02:00"]
)
def test_a_moment_is_taken_as_it_is(text: str) -> None:
    assert schemas.decode("Lease", {"spec": {"renewTime": text}}, version="v1") == ({"spec": {"renewTime": text}}, [])


@pytest.mark.parametrize("text", ["", "garbage", "2026-11-20", "2026-13-20T13:40:00Z", "2026-11-20 13:40:00Z", "٢026"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ApiFailure) as failure:
        schemas.decode("Job", {"status": {"startTime": text}}, version="v1")
    assert failure.value.code == 400
    assert f'cannot be handled as a Job: parsing time "{text}" as ' in failure.value.message
