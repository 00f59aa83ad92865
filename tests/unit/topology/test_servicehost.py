"""The lab of the framework's first pages: one host, flags as they were written then."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from k8slab.k8sm.scheduler.settings import settings
from k8slab.kube.api.flags import parse_flags
from k8slab.kube.controllers import main as controllers
from k8slab.lab.perform import client_environment, kubeconfig
from k8slab.topology import store

TOPOLOGY = store.load("servicehost")
HOST = "10.132.189.241"


def words(daemon: str) -> list[str]:
    (found,) = [one for one in TOPOLOGY.daemons if one.name == daemon]
    return shlex.split(found.command)


def test_everything_but_the_slaves_is_on_one_host() -> None:
    assert [daemon.name for daemon in TOPOLOGY.node("servicehost").daemons] == [
        "etcd",
        "mesos-master",
        "apiserver",
        "controller-manager",
        "scheduler",
    ]
    assert [node.name for node in TOPOLOGY.with_daemon("mesos-slave")] == ["slave-0", "slave-1"]
    assert str(TOPOLOGY.network.services) == "10.10.10.0/24"


def test_etcd_serves_at_the_ports_of_then() -> None:
    assert f"-listen-client-urls=http://{HOST}:4001" in words("etcd")
    assert f"-listen-peer-urls=http://{HOST}:7001" in words("etcd")


def test_the_apiserver_understands_its_old_flags() -> None:
    program, *argv = words("apiserver")
    flags = parse_flags(argv)
    assert program == "kube-apiserver"
    assert (flags.host, flags.bound, str(flags.network)) == (HOST, 8888, "10.10.10.0/24")
    assert (flags.servers, flags.cloud_provider, flags.verbosity) == ([f"http://{HOST}:4001"], "mesos", 2)


def test_the_scheduler_runs_the_executor_that_it_was_given() -> None:
    program, *argv = words("scheduler")
    flags = settings(argv)
    assert program == "k8sm-scheduler"
    assert (flags.master, flags.user, flags.verbosity) == (f"{HOST}:5050", "root", 2)
    assert flags.etcd_servers == (f"http://{HOST}:4001",)
    assert flags.executor.command[1:4] == ("minion", "--run-proxy=true", f"--api-servers=http://{HOST}:8888")
    assert "--executor-path=/usr/local/bin/k8sm-executor" in flags.executor.command
    assert "--proxy-path=/usr/local/bin/kube-proxy" in flags.executor.command


def test_the_controller_manager_understands_its_old_flags() -> None:
    program, *argv = words("controller-manager")
    assert program == "k8sm-controller-manager"
    assert controllers.settings(argv).master == f"http://{HOST}:8888"


def test_clients_are_pointed_at_its_own_ports(tmp_path: Path) -> None:
    found = client_environment(tmp_path, TOPOLOGY)
    assert found["KUBERNETES_MASTER"] == f"http://{HOST}:8888"
    assert found["ETCDCTL_ENDPOINTS"] == f"http://{HOST}:4001"
    assert found["MESOS_MASTER"] == f"{HOST}:5050"
    assert "ZOOKEEPER" not in found
    assert kubeconfig("servicehost", found["KUBERNETES_MASTER"])["clusters"][0]["cluster"]["server"].endswith(":8888")


def test_the_examples_are_of_the_first_version() -> None:
    folder = store.find("servicehost").parent
    pod, controller = (json.loads((folder / name).read_text()) for name in ("pod-nginx.json", "controller-nginx.json"))
    assert (pod["apiVersion"], pod["kind"], pod["id"], pod["labels"]) == (
        "v1beta1",
        "Pod",
        "nginx-id-01",
        {"name": "foo"},
    )
    assert (controller["kind"], controller["id"]) == ("ReplicationController", "nginxController")
    assert controller["desiredState"]["replicas"] == 2
    assert controller["desiredState"]["replicaSelector"] == controller["desiredState"]["podTemplate"]["labels"]
