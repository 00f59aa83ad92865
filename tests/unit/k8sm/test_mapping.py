from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest

from k8slab.k8sm import mapping
from k8slab.k8sm.resources import Defaults, pod_resources
from k8slab.k8sm.scheduler.settings import settings
from tests.unit.k8sm.samples import EXECUTOR, a_pod, scalar

ETCD = "--etcd-servers=172.17.1.1:2379"


def test_a_pod_is_one_task() -> None:
    annotations = mapping.binding_annotations(
        task_id="pod.1", host="minion-0", agent="S0", offer="O0", executor=EXECUTOR.id
    )
    info = mapping.task_info(a_pod(), annotations, [scalar("cpus", 0.25)], EXECUTOR)
    assert info["name"] == "nginx.default.pod"
    assert info["task_id"] == {"value": "pod.1"}
    assert info["agent_id"] == {"value": "S0"}
    assert info["resources"] == [scalar("cpus", 0.25)]
    data = orjson.loads(base64.b64decode(info["data"]))
    assert data["metadata"]["uid"] == "uid-nginx"
    assert data["metadata"]["annotations"]["k8s.mesosphere.io/taskId"] == "pod.1"
    assert mapping.own_annotations(data) == annotations


def test_the_executor_is_described_as_the_original_does() -> None:
    info = EXECUTOR.info()
    assert info["type"] == "CUSTOM"
    assert info["name"] == "Kubelet-Executor"
    assert info["source"] == "kubernetes"
    assert info["command"]["shell"] is False
    assert info["command"]["arguments"][0] == info["command"]["value"]


def test_another_flag_makes_another_executor() -> None:
    one = mapping.executor(["/km", "executor", "--a=1"], 0.25, 128)
    assert one == mapping.executor(["/km", "executor", "--a=1"], 0.25, 128)
    assert one.id.endswith("_k8sm-executor")
    assert one.id != mapping.executor(["/km", "executor", "--a=2"], 0.25, 128).id
    assert one.id != mapping.executor(["/km", "executor", "--a=1"], 0.5, 128).id


def test_crc64_is_the_iso_one() -> None:
    assert mapping.crc64(b"123456789") == 0xB90956C775A41001


def test_task_ids_are_all_different() -> None:
    ids = {mapping.new_task_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(one.startswith("pod.") for one in ids)


def test_the_scheduler_hands_its_flags_to_the_executor() -> None:
    flags = settings(
        ["--api-servers=172.17.1.7:8080", "--address=172.17.1.7", "--km-path=/usr/local/bin/km", "-v=1", ETCD]
    )
    assert flags.executor.command[:4] == (
        "/usr/local/bin/km",
        "minion",
        "--run-proxy=true",
        "--api-servers=http://172.17.1.7:8080",
    )
    assert flags.advertised_address == "172.17.1.7:10251"
    programs = ["--executor-path=/e", "--proxy-path=/p"]
    own = settings(["--api-servers=a", "--address=1.2.3.4", "--km-path=/km", *programs]).executor.command
    assert own[:2] == ("/km", "minion")
    assert set(programs) < set(own)
    assert (flags.executor.cpus, flags.executor.mem) == (0.25, 128.0)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--api-servers=a", "--address=1.2.3.4", "--framework-store-uri=zk://a/b"],
        ["--api-servers=a", "--address=1.2.3.4", "--mesos-default-pod-roles=prod", ETCD],
        ["--api-servers=a", "--address=1.2.3.4", "--placement-strategy=random", ETCD],
        ["--api-servers=a", "--address=1.2.3.4", "--mesos-authentication-principal=me", ETCD],
        ["--api-servers=a", "--address=1.2.3.4", "--scheduler-config=/nowhere", ETCD],
        ["--api-servers=a", "--nonsense=1"],
        ["--api-servers=a", "--proxy-mode=ipvs", "--address=1.2.3.4", ETCD],
        ["--api-servers=a", "--address=1.2.3.4", "--ha"],
        ["--api-servers=a", "--address=1.2.3.4", "--mesos-framework-roles=a,b", ETCD],
        ["--api-servers=a", "--address=1.2.3.4", "--port=x"],
    ],
)
def test_wrong_flags_end_with_one_line_and_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(argv)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_host_ports_are_filled_in_and_said() -> None:
    pod = a_pod(container={"ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]})
    wanted = pod_resources(pod, Defaults(), wildcard=True).ports
    filled = mapping.with_host_ports(pod, wanted, (31000, 31005))
    assert [port["hostPort"] for port in filled["spec"]["containers"][0]["ports"]] == [31000, 31005]
    assert filled["metadata"]["annotations"] == {
        "k8s.mesosphere.io/port_TCP_80": "31000",
        "k8s.mesosphere.io/portName_TCP_http": "31000",
        "k8s.mesosphere.io/port_UDP_53": "31005",
    }
    assert "hostPort" not in pod["spec"]["containers"][0]["ports"][0]
    assert mapping.own_annotations(filled)["k8s.mesosphere.io/port_TCP_80"] == "31000"
    labels = {"k8s.mesosphere.io/discovery-visibility": "external", "k8s.mesosphere.io/discovery-version": "2"}
    found = mapping.discovery_info({**filled, "metadata": {**filled["metadata"], "labels": labels}})
    assert (found["name"], found["visibility"], found["version"]) == ("nginx.default.pod", "EXTERNAL", "2")
    assert found["ports"]["ports"][0] == {"number": 31000, "name": "http", "protocol": "tcp"}


def test_all_flags_of_the_original_are_taken(tmp_path: Path) -> None:
    config, secret = tmp_path / "scheduler.ini", tmp_path / "secret"
    config.write_text("[scheduler]\noffer-ttl = 3s\nmax-pod-backoff = 20s\nlistener-delay = 1s\n")
    secret.write_text("s3cret\n")
    flags = settings(
        [
            "--address=172.17.1.7",
            "--mesos-master=zk://a:2181/mesos",
            "--etcd-servers=http://a:4001,b:4001",
            "--mesos-user=root",
            "--api-servers=a:8888",
            "--cluster-dns=10.10.10.10",
            "--cluster-domain=cluster.local",
            "--framework-name=Kubernetes",
            "--framework-weburi=http://kube/ui",
            "--mesos-framework-roles=*,prod",
            "--mesos-default-pod-roles=prod,*",
            "--mesos-authentication-principal=k8s",
            f"--mesos-authentication-secret-file={secret}",
            "--mesos-authentication-provider=SASL",
            "--checkpoint=true",
            "--failover-timeout=3600",
            "--reconcile-interval=300",
            "--reconcile-cooldown=15s",
            "--ha",
            "--graceful",
            "--framework-store-uri=etcd://",
            "--executor-cpus=0.5",
            "--executor-mem=64",
            "--default-container-cpu-limit=0.1",
            "--default-container-mem-limit=32MB",
            "--executor-suicide-timeout=10m0s",
            "--mesos-launch-grace-period=2m0s",
            "--run-proxy=false",
            "--contain-pod-resources=true",
            "--kube-api-qps=50",
            "--kube-api-burst",
            "100",
            "--node-monitor-period=5m0s",
            "--host-port-endpoints=true",
            "--kubelet-sync-frequency=10s",
            "--conntrack-max=0",
            "--mesos-generate-task-discovery=true",
            "--km-path=/opt/km",
            "--advertised-address=172.17.1.7:10251",
            "--hostname-override=master",
            "--service-address=10.10.10.9",
            f"--scheduler-config={config}",
        ]
    )
    assert flags.etcd_servers == ("http://a:4001", "http://b:4001")
    assert (flags.role, flags.pod_roles, flags.wildcard_ports, flags.ha) == ("prod", ("prod", "*"), True, True)
    assert flags.credentials is not None
    assert (flags.credentials.principal, flags.credentials.secret) == ("k8s", "s3cret")
    assert (flags.timing.offer_ttl, flags.timing.max_pod_backoff, flags.timing.reconcile_cooldown) == (3.0, 20.0, 15.0)
    assert "--launch-grace-period=2m0s" in flags.executor.command
    assert flags.executor.command[0] == "/opt/km"


def test_a_configuration_file_with_a_word_that_is_not_known_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "scheduler.ini"
    config.write_text("[scheduler]\noffer-til = 3s\n")
    with pytest.raises(SystemExit):
        settings(["--api-servers=a", "--address=1.2.3.4", ETCD, f"--scheduler-config={config}"])
    assert "offer-til is not known" in capsys.readouterr().err
