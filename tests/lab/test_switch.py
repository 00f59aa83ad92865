"""The switch in its container on the real engine and kernel, without the rest of a lab.

The checkout is mounted into the container, so what is tested is what is written, whatever the image holds.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from k8slab.lab import labels
from k8slab.lab.runtime.base import MachineSpec
from k8slab.lab.runtime.engine import DockerRuntime, connect
from k8slab.lab.switch import names, resolver

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "k8slab/switch"
SUBNET = "10.213.0.0/24"
PODS = "10.214.0.0/24"
CAPABILITIES = ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")
SWITCH = ("python3", "-m", "k8slab.lab.switch")


def docker(*words: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60)
    if check and done.returncode:
        pytest.fail(f"docker {' '.join(words)}: {done.stderr}{done.stdout}", pytrace=False)
    return done.stdout.strip()


@dataclass
class Lab:
    """A switch and nodes of ``lab`` on ``subnet``; everything it made goes with ``remove``."""

    lab: str
    subnet: IPv4Network
    gateway: str
    first: int
    egress: bool = True
    made: list[str] = field(default_factory=list)

    @property
    def switch(self) -> str:
        return f"k8slab-switch-{self.lab}"

    def container(self, node: str) -> str:
        return f"{self.lab}-{node}"

    def address(self, number: int) -> str:
        return str(self.subnet[self.first + number])

    def mac(self, number: int) -> str:
        return f"02:0c:d5:00:00:{number:02x}"

    def start_switch(self) -> None:
        config = {
            "lab": self.lab,
            "subnet": str(self.subnet),
            "gateway": self.gateway,
            "mtu": 1500,
            "egress": self.egress,
            "pods": PODS,
        }
        rights = [word for right in CAPABILITIES for word in ("--cap-add", right)]
        docker(
            *("run", "--detach", "--name", self.switch, "--label", f"{labels.LAB}={self.lab}"),
            *("--network", "host", "--pid", "host", "--userns", "host", "--cap-drop", "ALL", *rights),
            *("--security-opt", "apparmor=unconfined", "--restart", "unless-stopped"),
            *("--volume", "/run:/host/run", "--volume", f"{ROOT}:/checkout:ro"),
            *("--env", "PYTHONPATH=/checkout:/usr/local/lib/k8slab/site-packages"),
            *("--env", "PYTHONDONTWRITEBYTECODE=1", "--env", f"K8SLAB_SWITCH={json.dumps(config)}"),
            *("--entrypoint", SWITCH[0], IMAGE, *SWITCH[1:]),
        )
        self.made.append(self.switch)

    def start_node(self, number: int, *, network: str = "none", wire: str = "") -> str:
        node = f"n{number}"
        routes = [{"to": PODS, "via": self.address(1)}]
        label = wire or json.dumps(
            {
                "address": self.address(number),
                "prefix": self.subnet.prefixlen,
                "mac": self.mac(number),
                "routes": routes,
            }
        )
        docker(
            *("run", "--detach", "--init", "--name", self.container(node), "--network", network),
            *("--label", f"{labels.LAB}={self.lab}", "--label", f"{labels.NODE}={node}"),
            *("--label", f"{labels.WIRE}={label}", "--entrypoint", "sleep", IMAGE, "600"),
        )
        self.made.append(self.container(node))
        return node

    def run(self, *words: str, check: bool = True) -> str:
        return docker("exec", self.switch, *words, check=check)

    def ask(self, *words: str) -> Any:
        return json.loads(self.run(*SWITCH, *words))

    def inside(self, node: str, *words: str) -> str:
        pid = docker("inspect", "--format", "{{.State.Pid}}", self.container(node))
        return self.run("nsenter", f"--net=/proc/{pid}/ns/net", *words)

    def state(self) -> Any:
        text = self.run("cat", "/var/lib/k8slab/wires.json", check=False)
        return json.loads(text) if text else {"ready": False, "nodes": {}}

    def until(self, what: str, wanted: Callable[[Any], object], *, within: float = 15) -> Any:
        deadline = time.monotonic() + within
        while not wanted(state := self.state()):
            if time.monotonic() > deadline:
                log = subprocess.run(["docker", "logs", self.switch], capture_output=True, text=True).stderr
                pytest.fail(f"not within {within:g} s: {what}\n{json.dumps(state, indent=1)}\n{log}", pytrace=False)
            threading.Event().wait(0.05)
        return state

    def wired(self, *nodes: str) -> Any:
        return self.until(
            f"{nodes} wired, no other",
            lambda s: s["ready"] and {name for name, node in s["nodes"].items() if node["wired"]} == set(nodes),
        )

    def link(self, node: str) -> str:
        return names.link_name(self.lab, node)

    def index(self, node: str) -> int:
        return int(json.loads(self.run("ip", "-json", "link", "show", self.link(node)))[0]["ifindex"])

    def reaches(self, node: str, number: int) -> bool:
        """A machine that answers refuses a connection to a port on which nobody listens."""
        probe = (
            "import socket,sys\n"
            "try: socket.create_connection((sys.argv[1], 9), 3)\n"
            "except ConnectionRefusedError: print('refused')"
        )
        return docker("exec", self.container(node), "python3", "-c", probe, self.address(number)) == "refused"

    def seen(self, node: str) -> dict[str, Any]:
        """What the node's own kernel says of eth0."""
        link = json.loads(self.inside(node, "ip", "-json", "address", "show", "eth0"))[0]
        routes = json.loads(self.inside(node, "ip", "-json", "route"))
        return {
            "mac": link["address"],
            "mtu": link["mtu"],
            "state": link["operstate"],
            "addresses": [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["family"] == "inet"],
            "routes": {route["dst"]: route.get("gateway", "") for route in routes},
        }

    def remove(self) -> None:
        if self.switch in self.made:
            self.run(*SWITCH, "clean", check=False)
        if self.made:
            docker("rm", "--force", "--volumes", *self.made)


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    if not docker("images", "--quiet", IMAGE):
        pytest.fail(f"there is no image {IMAGE}: run `k8slab build`", pytrace=False)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """On a bridge of its own."""
    made = Lab("switchtest", IPv4Network(SUBNET), "10.213.0.1", first=10)
    yield made
    made.remove()


@pytest.fixture
def pair(lab: Lab) -> Lab:
    lab.start_switch()
    lab.start_node(1)
    lab.start_node(2)
    lab.wired("n1", "n2")
    return lab


def test_nodes_started_at_once_are_wired_and_reach_each_other(lab: Lab) -> None:
    lab.start_switch()
    threads = [threading.Thread(target=lab.start_node, args=(number,)) for number in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = lab.wired("n1", "n2", "n3", "n4")
    bridge = names.bridge_name(lab.lab)
    assert (state["bridge"]["name"], state["bridge"]["own"]) == (bridge, True)
    assert state["error"] == ""
    assert "host" not in {node["verified_from"] for node in state["nodes"].values()}
    assert lab.seen("n2") == {
        "mac": lab.mac(2),
        "mtu": 1500,
        "state": "UP",
        "addresses": [f"{lab.address(2)}/24"],
        "routes": {"default": lab.gateway, SUBNET: "", PODS: lab.address(1)},
    }
    assert lab.reaches("n1", 4)
    host_end = json.loads(lab.run("ip", "-json", "-details", "link", "show", lab.link("n1")))[0]
    assert host_end["altnames"] == [names.link_altname(lab.lab, "n1")]
    assert host_end["master"] == bridge
    assert int(host_end["group"]) == state["bridge"]["group"]


def test_nodes_that_reach_out_ask_the_hosts_name_servers(lab: Lab) -> None:
    wire = {"address": lab.address(1), "prefix": lab.subnet.prefixlen, "mac": lab.mac(1), "routes": []}
    spec = MachineSpec(
        name=lab.container("n1"),
        image=IMAGE,
        command=("sleep", "600"),
        labels={labels.LAB: lab.lab, labels.NODE: "n1", labels.WIRE: json.dumps(wire)},
    )
    runtime = DockerRuntime(connect())
    lab.made.append(spec.name)
    runtime.create(spec)
    runtime.power(spec.name, "start")
    assert docker("exec", spec.name, "cat", "/etc/resolv.conf") == ""
    lab.start_switch()
    lab.wired("n1")
    assert docker("exec", spec.name, "cat", "/etc/resolv.conf").strip() == resolver.of_host().strip()


def test_a_node_keeps_its_address_and_mac_whoever_restarts_it(pair: Lab) -> None:
    for commands in ([("restart", "-t", "0")], [("kill",), ("start",)]):
        before = pair.state()["nodes"]["n2"]
        for command in commands:
            docker(*command, pair.container("n2"))
        state = pair.until(
            "n2 wired anew",
            lambda s, old=before: s["nodes"].get("n2", {}).get("wired") and s["nodes"]["n2"]["pid"] != old["pid"],
        )
        assert {k: state["nodes"]["n2"][k] for k in ("address", "mac")} == {k: before[k] for k in ("address", "mac")}
        assert pair.seen("n2")["mac"] == pair.mac(2)
        assert pair.reaches("n1", 2)
        assert pair.reaches("n2", 1)


def test_a_stopped_node_is_not_listed(pair: Lab) -> None:
    docker("stop", "-t", "0", pair.container("n2"))
    pair.until("n2 gone", lambda s: "n2" not in s["nodes"])
    assert pair.state()["nodes"]["n1"]["wired"]


@pytest.mark.parametrize("where", ["host", "node"])
def test_a_cut_wire_is_reported_stays_cut_and_is_mended_when_asked(pair: Lab, where: str) -> None:
    if where == "host":
        pair.run("ip", "link", "delete", pair.link("n1"))
    else:
        pair.inside("n1", "ip", "link", "delete", "eth0")
    state = pair.wired("n2")
    assert state["nodes"]["n1"]["problem"] == "Its wire was deleted."
    docker("restart", "-t", "0", pair.container("n2"))
    pair.until("n2 wired anew", lambda s: s["nodes"].get("n2", {}).get("wired"))
    assert not pair.state()["nodes"]["n1"]["wired"]
    pair.run(*SWITCH, "recheck")
    pair.wired("n1", "n2")
    assert pair.reaches("n2", 1)


def test_what_is_wrong_inside_a_node_is_mended_without_a_new_wire(pair: Lab) -> None:
    before = pair.seen("n1"), pair.index("n1")
    pair.inside("n1", "ip", "link", "set", "eth0", "down", "address", "02:00:00:00:00:99", "mtu", "1400")
    pair.inside("n1", "ip", "address", "flush", "dev", "eth0")
    state = pair.until("n1 not wired", lambda s: not s["nodes"]["n1"]["wired"])
    assert "carrier" in state["nodes"]["n1"]["problem"]
    pair.run(*SWITCH, "recheck")
    pair.wired("n1", "n2")
    assert (pair.seen("n1"), pair.index("n1")) == before


def test_a_pulled_plug_is_seen_and_so_is_its_return(pair: Lab) -> None:
    bridge = names.bridge_name(pair.lab)
    pair.run("ip", "link", "set", pair.link("n1"), "down")
    assert "is down" in pair.wired("n2")["nodes"]["n1"]["problem"]
    pair.run("ip", "link", "set", pair.link("n1"), "up", "nomaster")
    pair.until("unplugged", lambda s: "not plugged into" in s["nodes"]["n1"]["problem"])
    pair.run("ip", "link", "set", pair.link("n1"), "master", bridge)
    pair.wired("n1", "n2")


def test_a_restart_of_the_switch_leaves_right_wires_alone(pair: Lab) -> None:
    before = [pair.index(node) for node in ("n1", "n2")], pair.state()["pid"]
    docker("restart", "-t", "5", pair.switch)
    pair.until("the new switch's word", lambda s: s["pid"] not in (0, before[1]))
    pair.wired("n1", "n2")
    assert [pair.index(node) for node in ("n1", "n2")] == before[0]


def test_nodes_that_cannot_be_wired_say_why(pair: Lab) -> None:
    pair.start_node(3, network="host")
    pair.start_node(4, wire="{}")
    pair.until("both known", lambda s: {"n3", "n4"} <= set(s["nodes"]))
    nodes = pair.wired("n1", "n2")["nodes"]
    assert "shares the host's network" in nodes["n3"]["problem"]
    assert "label of its wire" in nodes["n4"]["problem"]


def test_a_firewall_that_drops_is_named_and_put_right(pair: Lab) -> None:
    if "DROP" not in pair.run("iptables-nft", "-S", "FORWARD").splitlines()[0]:
        pytest.fail("this host's FORWARD does not drop: the test cannot tell anything here", pytrace=False)
    rule = ("FORWARD", "-i", names.bridge_name(pair.lab), "-o", names.bridge_name(pair.lab))
    mark = ("-m", "comment", "--comment", names.comment(pair.lab), "-j", "ACCEPT")
    pair.run("iptables-nft", "-D", *rule, *mark)
    docker("restart", "-t", "0", pair.container("n2"))
    state = pair.until("n2 not reached", lambda s: s["nodes"].get("n2", {}).get("problem"))
    assert "No packet from n1 was answered" in state["nodes"]["n2"]["problem"]
    assert "iptables-nft" in state["nodes"]["n2"]["problem"]
    pair.run(*SWITCH, "recheck")
    pair.wired("n1", "n2")


def test_clean_takes_all_of_the_lab_and_nothing_else(pair: Lab) -> None:
    bridge, stranger = names.bridge_name(pair.lab), "brswitchtest"
    other = ("FORWARD", "-i", stranger, "-m", "comment", "--comment", names.comment(pair.lab + "2"), "-j", "ACCEPT")
    pair.run("ip", "link", "add", stranger, "type", "bridge")
    try:
        # A mark on a stranger's interface does not make it the lab's.
        pair.run("ip", "link", "property", "add", "dev", stranger, "altname", names.link_altname(pair.lab, "stranger"))
        pair.run("iptables-nft", "-A", *other)
        left = pair.ask("leftovers")
        assert {link["name"] for link in left["links"]} == {pair.link("n1"), pair.link("n2")}
        assert left["bridge"] == bridge
        assert len(left["rules"]) == 4
        assert pair.ask("leftovers", "--all")["labs"][pair.lab] == {k: left[k] for k in ("links", "bridge", "rules")}
        assert {k: v for k, v in pair.ask("clean").items() if k != "rules"} == {
            k: v for k, v in left.items() if k != "rules"
        }
        nothing = {"links": [], "bridge": None, "rules": []}
        for verb in ("clean", "leftovers"):
            assert {k: v for k, v in pair.ask(verb).items() if k in nothing} == nothing
        links = json.loads(pair.run("ip", "-json", "link"))
        assert not {bridge, pair.link("n1"), pair.link("n2")} & {link["ifname"] for link in links}
        assert stranger in {link["ifname"] for link in links}
        saved = pair.run("iptables-nft-save")
        assert f"{names.comment(pair.lab)}2" in saved
        assert bridge not in saved
        assert len(pair.state()["nodes"]) == 2
    finally:
        pair.run("iptables-nft", "-D", *other, check=False)
        pair.run("ip", "link", "delete", stranger)


def test_the_engines_bridge_is_used_as_it_is_and_a_hermetic_lab_has_no_way_out() -> None:
    network = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
    subnet = IPv4Network(network["Subnet"])
    gateway = network.get("Gateway") or str(subnet[1])
    lab = Lab("switchtest0", subnet, gateway, first=subnet.num_addresses - 40, egress=False)
    try:
        lab.start_switch()
        for number in (1, 2, 3):
            lab.start_node(number)
        before = json.loads(lab.run("ip", "-json", "address", "show", "docker0"))[0]["addr_info"]
        state = lab.wired("n1", "n2", "n3")
        assert state["bridge"] == {
            "name": "docker0",
            "address": gateway,
            "own": False,
            "group": state["bridge"]["group"],
        }
        assert lab.seen("n1")["routes"] == {str(subnet): ""}
        assert lab.seen("n2")["routes"] == {str(subnet): "", PODS: lab.address(1)}
        assert lab.reaches("n3", 1)
        removed = lab.ask("clean")
        assert len(removed["links"]) == 3
        assert (removed["bridge"], removed["rules"]) == (None, [])
        after = json.loads(lab.run("ip", "-json", "address", "show", "docker0"))[0]["addr_info"]
        assert [a["local"] for a in after] == [a["local"] for a in before]
    finally:
        lab.remove()


def test_two_labs_do_not_share_a_subnet(pair: Lab) -> None:
    other = Lab("switchtest2", IPv4Network(SUBNET), "10.213.0.1", first=100)
    try:
        other.start_switch()
        state = other.until("its error", lambda s: s.get("error"))
        assert state["error"] == f"The lab's subnet {SUBNET} belongs to lab switchtest."
        assert not state["ready"]
    finally:
        other.remove()
