from __future__ import annotations

import secrets
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from memory import MemoryRuntime

from k8slab.errors import DaemonFailed, DaemonTimedOut, ForeignName, ImageMissing, UsageError
from k8slab.lab import observe, specs
from k8slab.lab.lab import Lab, existing, open_lab
from k8slab.lab.plan import NOTHING, plan, plan_kill
from k8slab.lab.runtime.base import Machine, MachineSpec, Mount
from k8slab.lab.steps import docker_create
from k8slab.lab.switch import survey
from k8slab.topology import store, targets
from k8slab.topology.resolved import Topology

SOCKET = "/run/docker.sock"


@pytest.fixture(autouse=True)
def _own_state_and_no_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(survey, "routes", list)
    monkeypatch.setattr(survey, "marked_links", lambda lab: [])


@pytest.fixture
def topology() -> Topology:
    return store.load()


def everybody_is_well(topology: Topology, asked: Any) -> dict[str, dict[str, Any]]:
    truths: dict[str, dict[str, Any]] = {}
    for daemon in asked:
        first = daemon.node.endswith("-0")
        truths[daemon.target] = {
            "etcd": {"healthy": True, "leader": first, "leader_id": "1"},
            "zookeeper": {"mode": "leader" if first else "follower"},
            "mesos-master": {"leading": first},
            "mesos-slave": {"registered": True},
            "scheduler": {"registered": True},
            "apiserver": {"nodes_ready": 4},
        }.get(daemon.name, {})
    return truths


def lab_on(runtime: MemoryRuntime, topology: Topology) -> Lab:
    return Lab(runtime, topology, ask=everybody_is_well)


def silent(event: Any) -> None:
    assert event is not None


def test_from_nothing_every_node_is_made_wired_and_started_in_order(topology: Topology) -> None:
    steps = plan(topology, NOTHING, socket=SOCKET)
    keys = [step.key for step in steps]
    assert keys[0] == "StartSwitch:switch"
    assert len([key for key in keys if key.startswith("CreateNode:")]) == 11
    assert len([key for key in keys if key.startswith("PlugWire:")]) == 11
    assert len([key for key in keys if key.startswith("StartDaemon:")]) == 20
    by_key = {step.key: step for step in steps}
    api = by_key["StartDaemon:kubernetes-mesos/apiserver"]
    assert {f"StartDaemon:etcd-{i}/etcd" for i in range(3)} | {"PlugWire:kubernetes-mesos"} == api.after
    for index, step in enumerate(steps):
        assert step.after <= set(keys[:index]), f"{step.key} comes before what it needs"


def test_every_step_explains_itself_with_commands(topology: Topology) -> None:
    for step in plan(topology, NOTHING, socket=SOCKET):
        assert step.explain()
        assert all(line.split() for line in step.explain())
    create = next(step for step in plan(topology, NOTHING, socket=SOCKET) if step.key == "CreateNode:etcd-0")
    about, made, started = create.explain()
    assert "/etc/service/etcd/run" in about
    assert made.startswith("docker create --name=etcd-0 --hostname=etcd-0 --network=none")
    assert started == "docker start etcd-0"


def test_a_folder_that_may_only_be_read_is_so_in_the_command_too() -> None:
    mounts = (Mount("/a", "/b", read_only=True), Mount("c", "/d"))
    words = docker_create(MachineSpec(name="n", image="i", mounts=mounts)).split()
    assert "--mount=type=bind,source=/a,target=/b,readonly" in words
    assert "--mount=type=volume,source=c,target=/d" in words


def test_files_too_large_for_a_variable_are_refused() -> None:
    with pytest.raises(UsageError, match="too large"):
        specs.packed({"/etc/large": specs.FileContent(secrets.token_hex(100_000))}, "a")
    files = {"/etc/b": specs.FileContent("b"), "/etc/a": specs.FileContent("a", 0o755)}
    assert specs.unpacked(specs.packed(files, "a")) == {"/etc/a": "a", "/etc/b": "b"}


def test_a_whole_lab_needs_nothing(topology: Topology) -> None:
    runtime = MemoryRuntime()
    first = lab_on(runtime, topology).run(listener=silent)
    assert first.snapshot.ready
    assert {change.verb for change in first.changes} == {"started", "created", "wired"}
    runtime.calls.clear()
    second = lab_on(runtime, topology).run(listener=silent)
    assert second.changes == ()
    assert second.snapshot.ready
    assert all("daemonctl status" in call for call in runtime.calls)


def running(runtime: MemoryRuntime, topology: Topology) -> Lab:
    lab = lab_on(runtime, topology)
    lab.run(listener=silent)
    return lab


def test_each_kind_of_damage_is_repaired_and_nothing_else(topology: Topology) -> None:
    runtime = MemoryRuntime()
    lab = running(runtime, topology)
    runtime.remove("machine", "etcd-1")
    runtime.power("mesos-master-1", "kill")
    runtime.power("kubernetes-minion-2", "pause")
    runtime.unwired.add("etcd-2")
    runtime.daemons["mesos-master-2"]["zookeeper"] = "down"
    runtime.daemons["kubernetes-minion-0"]["docker"] = "failed"
    steps = {step.key: step.reason for step in lab.plan()}
    assert steps == {
        "CreateNode:etcd-1": "it is missing",
        "StartNode:mesos-master-1": "it is stopped",
        "UnpauseNode:kubernetes-minion-2": "it is paused",
        "PlugWire:etcd-1": "",
        "PlugWire:etcd-2": "its wire is gone",
        "PlugWire:mesos-master-1": "",
        "PlugWire:kubernetes-minion-2": "",
        "StartDaemon:etcd-1/etcd": "it is down",
        "StartDaemon:mesos-master-1/zookeeper": "it is down",
        "StartDaemon:mesos-master-1/mesos-master": "it is down",
        "StartDaemon:mesos-master-2/zookeeper": "it is down",
        "StartDaemon:kubernetes-minion-0/docker": "it has failed",
        "StartDaemon:kubernetes-minion-2/docker": "it is down",
        "StartDaemon:kubernetes-minion-2/mesos-slave": "it is down",
    }
    lab.run(listener=silent)
    assert lab.plan() == []


def test_a_change_of_the_topology_makes_only_what_it_touches_anew(topology: Topology) -> None:
    runtime = MemoryRuntime()
    running(runtime, topology)
    changed = store.load(settings=["nodes.kubernetes-minion.count=3"])
    verbs = {step.key for step in lab_on(runtime, changed).plan()}
    assert "RemoveMachine:kubernetes-minion-3" in verbs
    assert "RemoveMachine:switch" in verbs


def test_an_image_built_anew_replaces_its_nodes(topology: Topology) -> None:
    runtime = MemoryRuntime()
    lab = running(runtime, topology)
    old = runtime.machines_by_name["etcd-0"]
    runtime.machines_by_name["etcd-0"] = replace(old, image="an older one")
    steps = lab.plan()
    assert [step.key for step in steps if step.phase == "nodes"] == ["RemoveMachine:etcd-0", "CreateNode:etcd-0"]
    assert steps[0].reason == "its image was built anew"


def test_killing_goes_backwards(topology: Topology) -> None:
    runtime = MemoryRuntime()
    lab = running(runtime, topology)
    observed = observe.observe(runtime, topology)
    steps = plan_kill(topology, targets.daemons(topology, ["all"]), observed)
    order = [step.subject.partition("/")[2] for step in steps]
    assert order.index("scheduler") < order.index("apiserver") < order.index("etcd")
    assert order.index("mesos-slave") < order.index("mesos-master") < order.index("zookeeper")
    changes = lab.kill(["etcd-0", "mesos-master-0/zk"], listener=silent, signal="KILL")
    assert sorted(change.subject for change in changes) == ["etcd-0/etcd", "mesos-master-0/zookeeper"]
    assert "etcd-0: /usr/lib/k8slab/daemonctl stop etcd KILL" in runtime.calls
    assert lab.kill(["etcd-0"], listener=silent) == ()


def test_starting_starts_what_is_named_and_no_more(topology: Topology) -> None:
    runtime = MemoryRuntime()
    lab = running(runtime, topology)
    lab.kill(["all"], listener=silent)
    changes = lab.start(["mm", "zk"], listener=silent)
    assert [change.subject.partition("/")[2] for change in changes] == ["zookeeper"] * 3 + ["mesos-master"] * 3
    runtime.power("etcd-0", "kill")
    with pytest.raises(UsageError, match="etcd-0"):
        lab.start(["etcd"], listener=silent)


def test_buttons(topology: Topology) -> None:
    runtime = MemoryRuntime()
    lab = running(runtime, topology)
    assert [c.verb for c in lab.power("pause", ["etcd-0", "etcd-1"], listener=silent)] == ["paused", "paused"]
    assert lab.snapshot().nodes[0].state == "paused"
    assert lab.snapshot().nodes[0].daemons[0].state == "up"
    assert [c.verb for c in lab.power("unpause", ["etcd-0", "etcd-1"], listener=silent)] == ["unpaused", "unpaused"]
    assert [c.verb for c in lab.power("restart", ["etcd-2"], listener=silent)] == ["stopped", "started", "wired"]
    assert lab.power("start", ["etcd-2"], listener=silent) == ()


def test_a_daemon_that_dies_or_dawdles_is_told_apart_and_shows_its_log(topology: Topology) -> None:
    runtime = MemoryRuntime(broken={"zookeeper"})
    with pytest.raises(DaemonFailed) as died:
        lab_on(runtime, topology).run(listener=silent)
    assert died.value.exit_code == 1
    assert "the end of the log" in died.value.output
    runtime.broken.clear()
    runtime.slow.add("zookeeper")
    with pytest.raises(DaemonTimedOut) as dawdled:
        lab_on(runtime, topology).run(listener=silent)
    assert dawdled.value.exit_code == 4
    runtime.slow.clear()
    assert lab_on(runtime, topology).run(listener=silent).snapshot.ready


def test_what_is_wrong_before_the_first_node_leaves_nothing(topology: Topology, tmp_path: Path) -> None:
    runtime = MemoryRuntime(no_images=True)
    with pytest.raises(ImageMissing) as missing:
        lab_on(runtime, topology).run(listener=silent)
    assert missing.value.exit_code == 3
    assert "k8slab build" in missing.value.remedy
    runtime = MemoryRuntime(machines_by_name={"etcd-0": Machine("x", "etcd-0", "running", "y", {})})
    with pytest.raises(ForeignName):
        lab_on(runtime, topology).run(listener=silent)
    assert [call for call in runtime.calls if not call.startswith("etcd-0:")] == []
    assert list((tmp_path / "k8slab").iterdir()) == []


def test_removing_takes_everything_and_then_finds_nothing(topology: Topology, tmp_path: Path) -> None:
    runtime = MemoryRuntime(machines_by_name={"mine": Machine("x", "mine", "running", "y", {})})
    lab = running(runtime, topology)
    assert existing(runtime) == {"k8s-mesos": "k8s-mesos"}
    assert open_lab(runtime).topology == topology
    removed = lab.remove(listener=silent)
    assert {"etcd-0", "switch", "wire v1"} <= {change.subject for change in removed}
    assert list(runtime.machines_by_name) == ["mine"]
    assert runtime.volumes_by_name == {}
    assert list((tmp_path / "k8slab").iterdir()) == []
    assert lab.remove(listener=silent) == ()


def test_the_services_carry_the_real_command_lines(topology: Topology) -> None:
    files = specs.node_files(topology, topology.node("mesos-master-1"))
    assert files["/var/lib/zookeeper/myid"].text == "2\n"
    run = files["/etc/service/mesos-master/run"]
    assert run.mode == 0o755
    assert "export READY_FD=3\nexec mesos-master --zk=zk://" in run.text
    assert "s6-notifyoncheck" in files["/etc/service/zookeeper/run"].text
    assert files["/etc/service/zookeeper/down"].text == ""


def test_manual_lines_keep_quotes(topology: Topology) -> None:
    slave = next(one for one in topology.node("kubernetes-minion-0").daemons if one.alias == "ms")
    lines = specs.manual_lines(slave)
    assert lines.startswith("export MESOS_BOOT_ID_FILE=/run/boot_id\nmesos-slave \\\n  --master=zk://")
    assert "--resources='cpus:4;mem:4096;disk:20000;ports:[31000-32000]'" in lines


def test_only_a_bridge_that_owns_exactly_the_subnet_may_have_it() -> None:
    subnet = IPv4Network("172.17.0.0/16")
    bridge = survey.HostRoute(subnet, "docker0", is_bridge=True, connected=True)
    wider = survey.HostRoute(IPv4Network("172.16.0.0/12"), "tun0", is_bridge=False, connected=False)
    elsewhere = survey.HostRoute(IPv4Network("10.0.0.0/8"), "eth0", is_bridge=False, connected=True)
    assert survey.overlapping(subnet, [bridge, elsewhere]) is None
    assert survey.bridge_of(subnet, [bridge, elsewhere]) == "docker0"
    assert survey.overlapping(subnet, [bridge, wider]) == wider
    narrower = survey.HostRoute(IPv4Network("172.17.4.0/24"), "br-1", is_bridge=True, connected=True)
    assert survey.overlapping(subnet, [narrower]) == narrower
