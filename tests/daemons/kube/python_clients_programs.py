"""Programs written for any Kubernetes cluster, run in a Python that has the libraries of others and none of ours.

Usage: python_clients_programs.py NAME URL NAMESPACE. Exits with 0 when everything was as on a real cluster.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any


def configured(url: str) -> Any:
    from kubernetes import client

    configuration = client.Configuration()
    configuration.host = url
    return client.ApiClient(configuration)


def typed(url: str, namespace: str) -> None:
    from kubernetes import client

    api = configured(url)
    core, apps, batch = client.CoreV1Api(api), client.AppsV1Api(api), client.BatchV1Api(api)
    labels = {"app": "web"}
    container = client.V1Container(
        name="c",
        image="nginx:1.22",
        ports=[client.V1ContainerPort(container_port=80)],
        resources=client.V1ResourceRequirements(limits={"cpu": "100m"}),
    )
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    deployment = apps.create_namespaced_deployment(
        namespace,
        client.V1Deployment(
            metadata=client.V1ObjectMeta(name="web"),
            spec=client.V1DeploymentSpec(
                replicas=2, selector=client.V1LabelSelector(match_labels=labels), template=template
            ),
        ),
    )
    assert deployment.spec.strategy.rolling_update.max_surge == "25%"
    assert deployment.metadata.generation == 1
    scaled = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 5}})
    assert (scaled.kind, scaled.spec.replicas) == ("Scale", 5)
    deployment.spec.replicas = 3
    try:
        apps.replace_namespaced_deployment("web", namespace, deployment)
        raise AssertionError("an old version was taken")
    except client.ApiException as conflict:
        assert (conflict.status, conflict.reason) == (409, "Conflict")
    assert apps.read_namespaced_deployment("web", namespace).spec.replicas == 5

    core.create_namespaced_config_map(
        namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings"), data={"a": "1"})
    )
    core.create_namespaced_secret(
        namespace, client.V1Secret(metadata=client.V1ObjectMeta(name="hidden"), string_data={"a": "1"})
    )
    assert core.read_namespaced_secret("hidden", namespace).data == {"a": "MQ=="}
    service = core.create_namespaced_service(
        namespace,
        client.V1Service(
            metadata=client.V1ObjectMeta(name="web"),
            spec=client.V1ServiceSpec(selector=labels, ports=[client.V1ServicePort(port=80)]),
        ),
    )
    assert service.spec.cluster_ip.startswith("10.0.")
    job = batch.create_namespaced_job(
        namespace,
        client.V1Job(
            metadata=client.V1ObjectMeta(generate_name="once-"),
            spec=client.V1JobSpec(
                template=client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
            ),
        ),
    )
    assert job.metadata.name.startswith("once-")
    assert job.spec.backoff_limit == 6
    try:
        core.create_namespaced_pod(namespace, {"metadata": {"name": "BAD_name"}, "spec": {"containers": []}})
        raise AssertionError("a bad pod was taken")
    except client.ApiException as invalid:
        assert invalid.status == 422
        assert "spec.containers" in invalid.body
    listed = core.list_namespaced_config_map(namespace, label_selector="nobody=has")
    assert listed.items == []
    assert client.VersionApi(api).get_code().major == "1"
    assert {group.name for group in client.ApisApi(api).get_api_versions().groups} >= {"apps", "batch"}
    client.CoreV1Api(api).delete_collection_namespaced_config_map(namespace)


def watching(url: str, namespace: str) -> None:
    from kubernetes import client, watch

    api = configured(url)
    core = client.CoreV1Api(api)
    version = core.list_namespaced_config_map(namespace).metadata.resource_version

    def write() -> None:
        own = client.CoreV1Api(configured(url))
        for name in ("a", "b"):
            own.create_namespaced_config_map(namespace, {"metadata": {"name": name}})
        own.patch_namespaced_config_map("a", namespace, {"data": {"k": "v"}})
        own.delete_namespaced_config_map("b", namespace)

    threading.Timer(0.3, write).start()
    seen = []
    stream = watch.Watch()
    for event in stream.stream(
        core.list_namespaced_config_map, namespace, resource_version=version, timeout_seconds=20
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 4:
            stream.stop()
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")], seen


def dynamic(url: str, namespace: str) -> None:
    from kubernetes import dynamic
    from kubernetes.dynamic.exceptions import NotFoundError

    whole = dynamic.DynamicClient(configured(url))
    deployments = whole.resources.get(api_version="apps/v1", kind="Deployment")
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"tier": "front"}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            },
        },
    }
    made = deployments.create(body=body, namespace=namespace)
    assert made.spec.replicas == 1
    applied = deployments.server_side_apply(
        body={**body, "spec": {**body["spec"], "replicas": 4}},
        name="web",
        namespace=namespace,
        field_manager="a-program",
        force_conflicts=True,
    )
    assert applied.spec.replicas == 4
    assert "a-program" in [entry.manager for entry in applied.metadata.managedFields]
    found = deployments.get(namespace=namespace, label_selector="tier=front")
    assert [item.metadata.name for item in found.items] == ["web"]
    patched = deployments.patch(
        body={"metadata": {"annotations": {"a": "b"}}},
        name="web",
        namespace=namespace,
        content_type="application/merge-patch+json",
    )
    assert patched.metadata.annotations["a"] == "b"
    deployments.delete(name="web", namespace=namespace)
    try:
        deployments.get(name="web", namespace=namespace)
        raise AssertionError("it is still there")
    except NotFoundError:
        pass
    assert whole.resources.get(api_version="v1", kind="Node").namespaced is False


def kr8s(url: str, namespace: str) -> None:
    import kr8s.asyncio as cluster
    from kr8s.asyncio.objects import ConfigMap, Deployment, Pod

    async def play() -> None:
        api = await cluster.api(url=url)
        version = await api.version()
        assert version["major"] == "1"
        settings = await ConfigMap(
            {"metadata": {"name": "settings", "namespace": namespace}, "data": {"a": "1"}}, api=api
        )
        await settings.create()
        assert await settings.exists()
        await settings.patch({"data": {"b": "2"}})
        assert dict(settings.data) == {"a": "1", "b": "2"}
        pod = await Pod(
            {
                "metadata": {"name": "p", "namespace": namespace, "labels": {"app": "p"}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            },
            api=api,
        )
        await pod.create()
        found = [one.name async for one in api.get("pods", namespace=namespace, label_selector="app=p")]
        assert found == ["p"], found
        deployment = await Deployment(
            {
                "metadata": {"name": "web", "namespace": namespace},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {
                        "metadata": {"labels": {"app": "web"}},
                        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
                    },
                },
            },
            api=api,
        )
        await deployment.create()
        await deployment.label({"tier": "front"})
        await deployment.refresh()
        assert deployment.labels["tier"] == "front"
        await settings.delete()
        assert not await settings.exists()

    asyncio.run(play())


if __name__ == "__main__":
    {"typed": typed, "watching": watching, "dynamic": dynamic, "kr8s": kr8s}[sys.argv[1]](*sys.argv[2:])
