"""Packages on paper: their options, each mistake named, and what installing one changes in a topology."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from k8slab.errors import InvalidOptions, InvalidTopology, UnknownPackage, UsageError
from k8slab.lab import specs
from k8slab.topology import store
from k8slab.topology.packages import places
from k8slab.topology.packages.kubernetes import KUBERNETES, KubernetesOptions

DCOS = store.load("dcos")


def options_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "options"
    file.write_text(text)
    return file


def problems_of(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InvalidOptions) as raised:
        places.options_of("kubernetes", options_file(tmp_path, text))
    assert raised.value.exit_code == 2
    return [str(problem).removeprefix(f"{tmp_path}/options") for problem in raised.value.problems]


def command(topology: Any, name: str) -> str:
    (found,) = [one for one in topology.node("kubernetes").daemons if one.name == name]
    return str(found.command)


def test_the_walkthroughs_options_are_understood(tmp_path: Path) -> None:
    given, meant = places.options_of("kubernetes", options_file(tmp_path, '{ "kubernetes": { "enable-dns": "1" } }'))
    assert given == {"enable-dns": "1"}
    assert isinstance(meant, KubernetesOptions)
    assert meant.enable_dns is True
    assert meant.dns_domain == "kubernetes.local"
    assert not any("dns" in note for note in meant.notes())


@pytest.mark.parametrize(
    "text", ["", "{}", "null", '{"kubernetes": {}}', '{"kubernetes": null}', "kubernetes:\n#  log-level: 2\n"]
)
def test_without_options_there_are_the_defaults(tmp_path: Path, text: str) -> None:
    _, meant = places.options_of("kubernetes", options_file(tmp_path, text))
    assert meant == places.options_of("kubernetes", None)[1] == KubernetesOptions()
    assert (meant.apiserver_port, meant.etcd_servers) == (25502, "")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("apiserver-port", '"x"', "input should be a valid integer, unable to parse string as an integer."),
        ("apiserver-port", "0", "input should be greater than or equal to 1."),
        ("scheduler-port", "65536", "input should be less than or equal to 65535."),
        ("scheduler-port", "25502", "25502 is apiserver-port's already."),
        ("controller-manager-port", "6443", "6443 is apiserver-secure-port's already."),
        ("enable-dns", '"perhaps"', "input should be a valid boolean, unable to interpret input."),
        ("dns-domain", '"Cluster.local"', "'Cluster.local' is no domain such as cluster.local."),
        ("dns-domain", '"cluster.local."', "'cluster.local.' is no domain such as cluster.local."),
        ("dns-domain", '"a b"', "'a b' is no domain such as cluster.local."),
        ("dns-domain", '""', "'' is no domain such as cluster.local."),
        ("dns-healthz-port", "0", "input should be greater than or equal to 1."),
        ("etcd-servers", '"https://etcd:2379"', "'https://etcd:2379' is no address such as http://host:port."),
        ("etcd-servers", '"http://a:1,b"', "'b' is no address such as http://host:port."),
        ("etcd-servers", '"http://etcd"', "'http://etcd' is no address such as http://host:port."),
        ("etcd-servers", '"http://et$(reboot)cd:1"', "is no address such as http://host:port."),
        ("etcd-servers", '"http://etcd:2379/?a&b"', "is no address such as http://host:port."),
        ("etcd-servers", '"http://u:p@etcd:2379"', "is no address such as http://host:port."),
        ("etcd-servers", '"http://["', "'http://[' is no address such as http://host:port."),
        ("etcd-servers", '["http://etcd:2379"]', "input should be a valid string."),
        ("apiserver-port", "true", "input should be a number, not true."),
        ("executor-cpus", "false", "input should be a number, not false."),
        ("framework-name", "!!binary aGVsbG8=", "input should be a text, not binary."),
        ("webhook-url", '"http://x/\\0"', "is no address such as http://host:port."),
        ("webhook-url", '"http://a..b/"', "'http://a..b/' is no address such as http://host:port."),
        ("webhook-url", '"ftp://x"', "'ftp://x' is no address such as http://host:port."),
        ("webhook-url", '"http://x/\'; reboot"', "is no address such as http://host:port."),
        ("framework-name", '"two words"', "string should match pattern"),
        ("webhook-content-type", '"text"', "string should match pattern"),
        ("executor-mem", "1", "input should be greater than or equal to 32."),
        ("aspiserver-port", "1", "there is no such option; did you mean apiserver-port?"),
        ("nonsense", "1", "there is no such option; known: apiserver-port, "),
    ],
)
def test_a_wrong_option_is_named_with_its_line(tmp_path: Path, option: str, value: str, said: str) -> None:
    (problem,) = problems_of(tmp_path, f'{{\n  "kubernetes": {{\n    "{option}": {value}\n  }}\n}}\n')
    assert problem.startswith(f":3: kubernetes.{option}: ")
    assert said in problem


def test_json_may_be_indented_with_tabs(tmp_path: Path) -> None:
    given, _ = places.options_of(
        "kubernetes", options_file(tmp_path, '{\n\t"kubernetes": {\n\t\t"log-level":\t2\n\t}\n}\n')
    )
    assert given == {"log-level": 2}
    (problem,) = problems_of(tmp_path, '{\n\t"kubernetes": {\n\t\t"log-level": 99\n\t}\n}\n')
    assert problem.startswith(":3: kubernetes.log-level: ")


def test_all_wrong_options_are_named_at_once(tmp_path: Path) -> None:
    found = problems_of(tmp_path, "kubernetes:\n  log-level: -1\n  enable-dns: 7\n  dns: 1\n")
    assert [one.split(": ")[1] for one in found] == ["kubernetes.enable-dns", "kubernetes.log-level", "kubernetes.dns"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "options stand under the package's name"),
        ('{"kubernetes": 1}', "options stand under the package's name"),
        ('{"hdfs": {}}', "hdfs: only kubernetes is read here"),
        ("{", "not YAML"),
    ],
)
def test_a_file_of_another_form_is_told_the_form(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert said in problem


def test_a_file_that_cannot_be_read_is_named_with_what_it_should_be(tmp_path: Path) -> None:
    for file, said in ((tmp_path / "nowhere", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(InvalidOptions) as raised:
            places.options_of("kubernetes", file)
        assert raised.value.output == f"{file}: cannot be read: {said}."
        assert 'a file of JSON or YAML with {"kubernetes": {OPTION: VALUE, …}} in it' in raised.value.remedy


def test_the_schema_knows_every_option() -> None:
    schema = KUBERNETES.schema()
    described = schema["properties"]["kubernetes"]
    assert described["additionalProperties"] is False
    assert set(described["properties"]) == {
        field.alias for field in KubernetesOptions.model_fields.values() if field.alias
    }
    assert all(one["description"] for one in described["properties"].values())
    port = described["properties"]["apiserver-port"]
    assert (port["type"], port["minimum"], port["maximum"], port["default"]) == ("integer", 1, 65535, 25502)


def test_installing_adds_a_machine_and_leaves_every_other_as_it_is() -> None:
    bigger = places.with_package(DCOS, "kubernetes", {})
    assert [node.name for node in bigger.nodes] == [*(node.name for node in DCOS.nodes), "kubernetes"]
    assert [specs.node_spec(bigger, node) for node in DCOS.nodes] == [
        specs.node_spec(DCOS, node) for node in DCOS.nodes
    ]
    assert "10.143.0.31 kubernetes\n" in specs.hosts_file(DCOS)
    assert places.without_package(bigger, "kubernetes").nodes == DCOS.nodes
    assert store.restored(bigger.source, lab="dcos") == bigger


def test_with_an_etcd_of_its_own_nothing_else_is_asked() -> None:
    topology = places.with_package(DCOS, "kubernetes", {"etcd-server-port": 4444, "apiserver-port": 8888})
    names = [daemon.name for daemon in topology.node("kubernetes").daemons]
    assert names == ["etcd-server", "apiserver", "controller-manager", "scheduler"]
    assert "--etcd-servers=http://10.143.0.31:4444 " in command(topology, "apiserver")
    assert "--api-servers=http://10.143.0.31:8888 " in command(topology, "scheduler")
    assert topology.addresses("apiserver") == ("10.143.0.31:8888",)
    (etcd,) = [one for one in topology.daemons if one.name == "etcd-server"]
    assert "--framework-hostname=kubernetes || exit 1" in etcd.setup
    assert not topology.node("kubernetes").volumes


def test_with_an_etcd_elsewhere_it_brings_none() -> None:
    topology = places.with_package(DCOS, "kubernetes", {"etcd-servers": "http://etcd:2379, http://b:1/"})
    assert topology.node("kubernetes").daemons[0].name == "apiserver"
    assert "--etcd-servers=http://etcd:2379,http://b:1 " in command(topology, "apiserver")


def test_names_are_served_where_they_are_asked_for() -> None:
    without = places.with_package(DCOS, "kubernetes", {})
    assert "dns" not in [daemon.name for daemon in without.node("kubernetes").daemons]
    assert "--cluster-dns" not in command(without, "scheduler")
    topology = places.with_package(DCOS, "kubernetes", {"enable-dns": "1", "dns-healthz-port": 8053})
    assert [daemon.name for daemon in topology.node("kubernetes").daemons][-1] == "dns"
    assert "--cluster-domain=kubernetes.local --cluster-dns=10.10.10.10 " in command(topology, "scheduler")
    assert command(topology, "dns") == (
        "km dns --dns-bind-address=10.143.0.31 --dns-port=53 --address=10.143.0.31 --healthz-port=8053 "
        "--master=http://10.143.0.31:25502 --cluster-domain=kubernetes.local --cluster-dns=10.10.10.10 --v=1"
    )
    assert topology.addresses("dns") == ("10.143.0.31:53",)
    other = places.with_package(DCOS, "kubernetes", {"enable-dns": True, "dns-domain": "cluster.local"})
    for daemon in ("scheduler", "dns"):
        assert "--cluster-domain=cluster.local " in command(other, daemon)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("apiserver-port: 53", "apiserver-port: 53 is enable-dns's already."),
        ("scheduler-port: 8081", "dns-healthz-port: 8081 is scheduler-port's already."),
    ],
)
def test_the_name_servers_ports_are_its_own(tmp_path: Path, options: str, said: str) -> None:
    (problem,) = problems_of(tmp_path, f"kubernetes:\n  enable-dns: true\n  {options}\n")
    assert said in problem
    places.options_of("kubernetes", options_file(tmp_path, f"kubernetes:\n  {options}\n"))


def test_whoever_wants_to_be_told_is_told() -> None:
    url = "http://10.143.0.1:9/k8s?a=b&c=d"
    topology = places.with_package(DCOS, "kubernetes", {"webhook-url": url, "framework-name": "second"})
    said = command(topology, "monitor")
    assert f"--webhook-url='{url}'" in said
    assert "--watch=etcd-server,apiserver,controller-manager,scheduler" in said
    assert "--tell=framework=second" in said


def test_what_is_installed_stays_when_the_file_is_taken_anew() -> None:
    there = places.with_package(DCOS, "kubernetes", {"log-level": 3})
    fresh = store.load("dcos", settings=["nodes.agent.count=3"])
    kept = places.carried_over(fresh, there)
    assert "--v=3" in command(kept, "apiserver")
    assert len(kept.with_daemon("docker")) == 3
    assert places.carried_over(fresh, DCOS) is fresh


def test_a_package_is_installed_once_and_only_where_it_has_a_place() -> None:
    bigger = places.with_package(DCOS, "kubernetes", {})
    assert places.with_package(bigger, "kubernetes", {"log-level": "1"}) == bigger, "the default, said"
    with pytest.raises(UsageError, match="is installed in lab dcos already") as raised:
        places.with_package(bigger, "kubernetes", {"log-level": 2, "enable-dns": "1"})
    assert raised.value.why == "It was installed with other options (enable-dns: false, log-level: 1)."
    assert places.without_package(bigger, "kubernetes") == DCOS
    with pytest.raises(UsageError, match="Lab k8s-mesos has no place for the package kubernetes"):
        places.with_package(store.load(), "kubernetes", {})
    with pytest.raises(UnknownPackage):
        places.with_package(DCOS, "hdfs", {})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["packages.hdfs.address=10.143.0.40"], "there is no package 'hdfs'. Known: kubernetes."),
        (["packages.kubernetes.address=10.143.0.11"], "kubernetes gets 10.143.0.11, which master has already."),
        (["packages.kubernetes.address=10.9.0.1"], "kubernetes gets 10.9.0.1, which is outside of the subnet"),
        (["packages.kubernetes.options.log-level=x"], "package kubernetes: log-level: input should be a valid integer"),
        (
            ["packages.kubernetes.installed=true", "nodes.kubernetes={role: etcd, address: 10.143.0.50}"],
            "package kubernetes: its machine is called as it, and a node is called kubernetes already.",
        ),
    ],
)
def test_a_place_that_cannot_be_is_named(settings: list[str], said: str) -> None:
    with pytest.raises(InvalidTopology) as raised:
        store.load("dcos", settings=settings)
    assert any(said in str(problem) for problem in raised.value.problems), raised.value.problems


def test_a_lab_remembers_the_options_it_was_given() -> None:
    bigger = places.with_package(DCOS, "kubernetes", {"enable-dns": "1"})
    assert json.loads(bigger.source)["packages"]["kubernetes"]["options"] == {"enable-dns": "1"}
    (place,) = bigger.packages
    assert (place.installed, place.options["enable-dns"], place.options["apiserver-port"]) == (True, True, 25502)
