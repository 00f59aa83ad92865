from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8slab.errors import BadName, InvalidTopology, UnknownTarget, UnknownTopology, UsageError
from k8slab.topology import graph, store, targets
from k8slab.topology.resolve import resolve
from k8slab.topology.source import parse

SMALL = """\
name: small
network: {subnet: 10.9.0.0/24}
nodes:
  etcd: {role: etcd, count: 2, first: 10.9.0.10}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidTopology) as raised:
        resolve(parse(text, "t.yaml"))
    assert raised.value.exit_code == 2
    return [str(problem) for problem in raised.value.problems]


def test_the_default_topology_is_the_eleven_nodes_of_the_document() -> None:
    topology = store.load()
    assert {node.name: str(node.address) for node in topology.nodes} == {
        "etcd-0": "172.17.1.1",
        "etcd-1": "172.17.1.2",
        "etcd-2": "172.17.1.3",
        "mesos-master-0": "172.17.1.4",
        "mesos-master-1": "172.17.1.5",
        "mesos-master-2": "172.17.1.6",
        "kubernetes-mesos": "172.17.1.7",
        "kubernetes-minion-0": "172.17.1.8",
        "kubernetes-minion-1": "172.17.1.9",
        "kubernetes-minion-2": "172.17.1.10",
        "kubernetes-minion-3": "172.17.1.11",
    }
    assert all(node.container == node.name and node.prefix == 16 for node in topology.nodes)
    assert len({node.mac for node in topology.nodes}) == 11
    assert str(topology.network.gateway) == "172.17.0.1"


def test_minions_get_the_pod_subnets_in_order_and_everybody_routes_them() -> None:
    topology = store.load()
    assert [str(node.pods) for node in topology.with_daemon("docker")] == [f"10.1.{i}.0/24" for i in range(4)]
    assert len(topology.node("etcd-0").routes) == 4
    minion = topology.node("kubernetes-minion-2")
    assert [str(route.via or "its wire") for route in minion.routes] == [
        "172.17.1.8",
        "172.17.1.9",
        "172.17.1.11",
        "its wire",
    ]
    assert minion.routes[-1].to == topology.network.services


def test_command_lines_name_every_member() -> None:
    topology = store.load(settings=["nodes.etcd.count=1"])
    (etcd,) = topology.node("etcd-0").daemons
    assert "--initial-cluster=etcd-0=http://172.17.1.1:2380 " in etcd.command
    (master,) = [one for one in topology.node("mesos-master-1").daemons if one.alias == "mm"]
    assert "--quorum=2" in master.command
    assert "zk://172.17.1.4:2181,172.17.1.5:2181,172.17.1.6:2181/mesos" in master.command


def test_a_lab_of_another_name_prefixes_its_machines_and_has_other_macs() -> None:
    default, other = store.load(), store.load(lab="red")
    assert other.node("etcd-0").container == "red-etcd-0"
    assert other.node("etcd-0").mac != default.node("etcd-0").mac


def test_a_lab_is_restored_from_what_it_remembers() -> None:
    topology = store.load(lab="red", settings=["egress=false", "nodes.etcd.count=2"])
    assert store.restored(topology.source, lab="red") == topology


def test_every_problem_is_reported_at_once_with_its_line() -> None:
    text = """\
name: bad
network: {subnet: 10.9.0.0/24}
nodes:
  a: {role: etcd, count: 2, first: 10.9.0.10}
  bee: {role: etcd, address: 10.9.0.11}
  cee: {role: nonsense, address: 10.8.0.1}
  d: {role: etcd, count: 0, first: 10.9.0.20}
  e: {role: etcd, count: 300, first: 10.9.0.20}
"""
    found = problems_of(text)
    assert found == [
        "t.yaml:5: bee gets 10.9.0.11, which a-1 has already.",
        "t.yaml:6: node cee: there is no role 'nonsense'. Known: etcd, kubernetes-mesos, mesos-master, minion.",
        "t.yaml:6: cee gets 10.8.0.1, which is outside of the subnet 10.9.0.0/24.",
        "t.yaml:7: node d: count is 0; a lab has 1 to 250 nodes.",
        "t.yaml:8: node e: count is 300; a lab has 1 to 250 nodes.",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "t.yaml:1: not YAML"),
        ("", "t.yaml: this is not a topology"),
        ("[1, 2]", "t.yaml:1: this is not a topology"),
        (
            SMALL + "  etcd: {role: etcd, address: 10.9.0.1}\n",
            "t.yaml:5: the key 'etcd' stands here for the second time",
        ),
        (SMALL.replace("role: etcd", "rolle: etcd"), "nodes.etcd.rolle: there is no such setting"),
        (SMALL.replace("10.9.0.10", "10.9.0.10.1"), "t.yaml:4: nodes.etcd.first:"),
        (SMALL.replace("10.9.0.0/24", "10.9.0.1/24"), "t.yaml:2: network.subnet:"),
        (SMALL.replace("etcd:", "Etcd_1:"), "cannot be a host's name"),
        (SMALL.replace("etcd:", "e" * 70 + ":"), "cannot be a host's name"),
        (SMALL.replace("first: 10.9.0.10", "first: 10.9.0.254"), "which is no host's address"),
        (SMALL.replace("subnet: 10.9.0.0/24", "subnet: 10.9.0.0/24, services: 10.9.0.0/16"), "overlaps network.subnet"),
        (SMALL.replace("subnet: 10.9.0.0/24", "subnet: 10.9.0.0/24, gateway: 10.9.0.11"), "which is the gateway's"),
        (SMALL.replace("name: small", "name: " + "n" * 41), "name:"),
        (
            SMALL + "daemons:\n  a: {command: x, after: [b]}\n  b: {command: y, after: [a]}\n",
            "wait for each other in a circle",
        ),
        (SMALL + "daemons:\n  a: {command: x, after: [zz]}\n", "comes after 'zz', which there is not"),
        (SMALL + "roles:\n  r: {image: base, daemons: [zz]}\n", "there is no daemon 'zz'"),
    ],
)
def test_each_mistake_has_its_sentence(text: str, said: str) -> None:
    assert any(said in problem for problem in problems_of(text)), problems_of(text)


def test_a_template_that_cannot_be_filled_names_the_daemon() -> None:
    text = SMALL + "daemons:\n  etcd:\n    command: etcd {{ node.nonsense }}\n"
    (problem,) = problems_of(text)
    assert problem.startswith("t.yaml:7: daemon etcd: its command cannot be filled in for etcd-0")


def test_pods_are_led_to_the_name_server_of_a_lab_that_has_one() -> None:
    text = SMALL + (
        "  master: {role: mesos-master, address: 10.9.0.20}\n"
        "  control: {role: control, address: 10.9.0.30}\n"
        "roles:\n  control: {image: kubernetes-mesos, daemons: [apiserver, scheduler, dns]}\n"
    )
    topology = resolve(parse(text, "t.yaml"))
    (scheduler,) = targets.daemons(topology, ["sd"])
    assert "--cluster-domain=cluster.local --cluster-dns=10.0.0.10 " in scheduler.command
    (server,) = targets.daemons(topology, ["dns"])
    assert server.command == (
        "km dns --dns-bind-address=10.9.0.30 --dns-port=53 --address=10.9.0.30 --master=http://10.9.0.30:8080 "
        "--cluster-domain=cluster.local --cluster-dns=10.0.0.10 --v=1"
    )
    (without,) = targets.daemons(store.load(), ["sd"])
    assert "--cluster-dns" not in without.command


def test_a_topology_may_bring_roles_and_daemons_of_its_own() -> None:
    text = SMALL.replace("role: etcd", "role: web") + (
        "roles:\n  web: {image: base, daemons: [http]}\n"
        "daemons:\n  http: {alias: w, command: 'python3 -m http.server --bind {{ node.address }}'}\n"
    )
    topology = resolve(parse(text, "t.yaml"))
    assert [daemon.command for daemon in targets.daemons(topology, ["w"])] == [
        "python3 -m http.server --bind 10.9.0.10",
        "python3 -m http.server --bind 10.9.0.11",
    ]


@pytest.mark.parametrize("name", ["Lab", "a_b", "-a", "a-", "", "a b", "x" * 41, "../etc", "é"])
def test_odd_lab_names_are_refused(name: str) -> None:
    if not name:
        assert resolve(parse(SMALL, "t")).lab == "small"
        return
    with pytest.raises(BadName):
        resolve(parse(SMALL, "t"), lab=name)


def test_unknown_topologies_suggest_the_nearest() -> None:
    with pytest.raises(UnknownTopology) as raised:
        store.load("k8s-meso")
    assert "k8s-mesos" in raised.value.remedy


def test_a_wrong_setting_is_not_blamed_on_the_file() -> None:
    for setting, what in (
        ("egres=false", "egres: there is no such setting."),
        ("network.subnet=10.0.0.0/33", "network.subnet: Input is not a valid IPv4 network."),
        ("nodes.etcd.count=0", "node etcd: count is 0; a lab has 1 to 250 nodes."),
    ):
        with pytest.raises(InvalidTopology) as caught:
            store.load(settings=[setting])
        assert str(caught.value.problems[0]) == f"setting {setting}: {what}"
        assert "Mend what was set over the file" in caught.value.remedy
    with pytest.raises(InvalidTopology) as caught:
        resolve(parse("name: x\nnetwork: {subnet: 10.0.0.0/24}\nnodes: {}\nodd: 1\n", "x/topology.yaml"))
    assert "Mend the file" in caught.value.remedy


@pytest.mark.parametrize("setting", ["x", "=1", "nodes.etcd.count.x=1", "name={a: [}"])
def test_settings_that_cannot_be_read_are_usage_errors(setting: str) -> None:
    with pytest.raises(UsageError):
        store.load(settings=[setting])


def test_targets_mean_what_people_say() -> None:
    topology = store.load()

    def chosen(*words: str) -> list[str]:
        return [daemon.target for daemon in targets.daemons(topology, words)]

    assert chosen("etcd") == ["etcd-0/etcd", "etcd-1/etcd", "etcd-2/etcd"]
    assert chosen("zk") == [f"mesos-master-{i}/zookeeper" for i in range(3)]
    assert chosen("mesos-master") == chosen("mm") == [f"mesos-master-{i}/mesos-master" for i in range(3)]
    assert chosen("mesos-master-0") == ["mesos-master-0/zookeeper", "mesos-master-0/mesos-master"]
    assert chosen("mesos-master-0/zk") == ["mesos-master-0/zookeeper"]
    assert chosen("minion")[:2] == ["kubernetes-minion-0/docker", "kubernetes-minion-0/mesos-slave"]
    assert len(chosen("all")) == len(list(topology.daemons)) == 20
    with pytest.raises(UnknownTarget) as raised:
        chosen("etdc")
    assert "etcd" in raised.value.remedy


def test_the_order_of_daemons() -> None:
    after = {daemon.name: daemon.after for daemon in store.load().daemons}
    rank = graph.ranks(after)
    assert rank["etcd"] == rank["zookeeper"] == rank["docker"] == 0
    assert rank["mesos-master"] == 1 < rank["mesos-slave"]
    assert rank["apiserver"] < rank["controller-manager"]
    assert graph.dependents(after)["etcd"] == {"apiserver"}


@settings(deadline=None, max_examples=25)
@given(st.integers(min_value=1, max_value=240), st.integers(min_value=2, max_value=14))
def test_addresses_are_consecutive_and_macs_follow_them(count: int, first: int) -> None:
    nodes = f"  e: {{role: etcd, count: {count}, first: 10.9.0.{first}}}"
    text = f"name: n\nnetwork: {{subnet: 10.9.0.0/24}}\nnodes:\n{nodes}\n"
    topology = resolve(parse(text, "t"))
    assert [node.address for node in topology.nodes] == [IPv4Address("10.9.0.0") + first + i for i in range(count)]
    assert all(bytes.fromhex(node.mac.replace(":", ""))[2:] == node.address.packed for node in topology.nodes)
    assert all(int(node.mac[:2], 16) & 0b11 == 0b10 for node in topology.nodes)
