"""A lab can be cut off at any moment; what is left can always be finished, and always be removed without a trace."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import K8SLAB, NGINX, docker, is_running, k8slab, until
from leftovers import Ground, ground

# A whole run takes four to eight seconds; moments are spread over all of it, and over a little more.
LONGEST = 8.0


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def bystander() -> Iterator[str]:
    """Somebody else's container, volume and link, which nothing here may touch."""
    name = "k8slab-test-bystander"
    docker("run", "-d", "--name", name, "-v", f"{name}:/data", "--entrypoint", "sleep", "k8slab/base", "infinity")
    subprocess.run(["ip", "link", "add", "k8sbystander", "type", "bridge"], check=True)
    yield name
    docker("rm", "-f", name)
    docker("volume", "rm", name)
    subprocess.run(["ip", "link", "del", "k8sbystander"], check=True)


def assert_nothing_beyond(before: Ground, state_home: Path, said: str) -> None:
    found: dict[str, list[str]] = {}

    def clean() -> bool:
        found.clear()
        found.update(ground(state_home).beyond(before))
        return not found

    try:
        until("nothing is left", clean, within=5)
    finally:
        assert not found, f"{said} left {found}"
    assert not before.beyond(ground(state_home)), f"{said} took away {before.beyond(ground(state_home))}"


@pytest.mark.slow
@pytest.mark.parametrize("times", [4, pytest.param(10, marks=pytest.mark.long)])
def test_killed_at_random_moments_it_can_be_removed_without_a_trace(
    hermetic: None, state_home: Path, bystander: str, times: int
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    before = ground(state_home)
    for number in range(times):
        moment = LONGEST * (number + moments.random()) / times
        running = subprocess.Popen([str(K8SLAB), "run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            running.wait(moment)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
        k8slab("rm", "--lab", "k8s-mesos")
        assert_nothing_beyond(before, state_home, f"rm after SIGKILL at {moment:.2f} s (seed {seed})")
        assert "nothing" in (again := k8slab("rm", "--lab", "k8s-mesos")).out.lower() + again.err.lower()


def test_what_was_cut_off_is_finished_by_the_next_run(hermetic: None, state_home: Path) -> None:
    before = ground(state_home)
    for sent in (signal.SIGINT, signal.SIGKILL):
        running = subprocess.Popen([str(K8SLAB), "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        threading.Event().wait(2.0)
        running.send_signal(sent)
        _, said = running.communicate(timeout=20)
        if sent == signal.SIGINT:
            assert running.returncode == 130, said
            assert "k8slab rm" in said
            assert "Traceback" not in said
    assert k8slab("run", "-o", "json").json["ready"]
    k8slab("rm", "--lab", "k8s-mesos")
    assert_nothing_beyond(before, state_home, "rm")


def test_two_runs_at_once_take_turns(hermetic: None, state_home: Path) -> None:
    before = ground(state_home)
    first = subprocess.Popen([str(K8SLAB), "run", "--no-start"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    second = subprocess.Popen(
        [str(K8SLAB), "run", "--no-start"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    first.communicate(timeout=60)
    _, err = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), err
    assert len(docker("ps", "-q", "--filter", "label=k8slab.lab=k8s-mesos").split()) == 12
    k8slab("rm", "--lab", "k8s-mesos")
    assert_nothing_beyond(before, state_home, "rm")


def test_a_lab_on_a_bridge_of_its_own_beside_the_default_one(hermetic: None, state_home: Path, tmp_path: Path) -> None:
    """Its subnet is nobody's, so the switch makes the bridge, and the firewall rule that lets its packets pass."""
    before = ground(state_home)
    topology = tmp_path / "pair.yaml"
    topology.write_text(
        "name: pair\nnetwork: {subnet: 10.214.0.0/24}\nnodes:\n  etcd: {role: etcd, count: 3, first: 10.214.0.11}\n"
    )
    assert k8slab("run", str(topology), "-o", "json").json["ready"]
    assert docker("exec", "etcd-0", "ping", "-c", "1", "-W", "2", "etcd-2")
    assert ground(state_home).beyond(before)["links"]
    assert "pair" in k8slab("status", "--lab", "pair", "-o", "json").out
    k8slab("rm", "--lab", "pair")
    assert_nothing_beyond(before, state_home, "rm")


def test_a_lab_with_a_paused_minion_and_a_pod_goes_without_a_trace(hermetic: None, state_home: Path) -> None:
    before = ground(state_home)
    k8slab("run")
    k8slab("kubectl", "create", "-f", str(NGINX))
    minion = until("nginx is Running", is_running, within=20)["spec"]["nodeName"]
    k8slab("node", "pause", minion)
    k8slab("rm", "--lab", "k8s-mesos")
    assert_nothing_beyond(before, state_home, "rm")


def test_names_of_others_are_never_touched(hermetic: None, state_home: Path) -> None:
    docker("create", "--name", "etcd-1", "k8slab/base", "true")
    try:
        before = ground(state_home)
        refused = k8slab("run", check=False)
        assert refused.code == 3
        assert "etcd-1" in refused.err
        assert_nothing_beyond(before, state_home, "a refused run")
        assert docker("ps", "-aq", "--filter", "name=^etcd-1$")
    finally:
        docker("rm", "etcd-1")


def test_an_address_that_answers_already_is_not_taken(hermetic: None, state_home: Path) -> None:
    """A stranger on docker0 has the address of etcd-2."""
    name = "k8slab-test-stranger"
    docker("run", "-d", "--name", name, "--cap-add", "NET_ADMIN", "--entrypoint", "sleep", "k8slab/base", "infinity")
    try:
        docker("exec", name, "ip", "address", "add", "172.17.1.3/16", "dev", "eth0")
        before = ground(state_home)
        refused = k8slab("run", check=False)
        assert refused.code == 3, refused
        assert "172.17.1.3" in refused.err
        assert_nothing_beyond(before, state_home, "a refused run")
    finally:
        docker("rm", "-f", name)


def test_a_subnet_that_the_host_routes_elsewhere_is_refused(hermetic: None, state_home: Path) -> None:
    subprocess.run(["ip", "link", "add", "k8stest0", "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "link", "set", "k8stest0", "up"], check=True)
        subprocess.run(["ip", "route", "add", "172.17.1.0/24", "dev", "k8stest0"], check=True)
        refused = k8slab("run", check=False)
        assert refused.code == 3
        assert "k8stest0" in refused.err
    finally:
        subprocess.run(["ip", "link", "del", "k8stest0"], check=True)


def test_an_engine_that_does_not_answer_is_named_with_its_remedy(state_home: Path, tmp_path: Path) -> None:
    gone = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    for words in (("run",), ("status",), ("doctor",), ("build",)):
        refused = k8slab(*words, check=False, environment=gone)
        assert refused.code == 3, (words, refused)
        assert "Traceback" not in refused.err
        assert "Docker Engine" in refused.err + refused.out
    assert os.environ.get("DOCKER_HOST") is None


def test_a_daemon_that_dies_at_once_shows_its_last_words(hermetic: None, state_home: Path, tmp_path: Path) -> None:
    before = ground(state_home)
    topology = tmp_path / "broken.yaml"
    topology.write_text(
        "name: broken\nnetwork: {subnet: 10.215.0.0/24}\n"
        "nodes:\n  alone: {role: r, address: 10.215.0.2}\n"
        "roles:\n  r: {image: base, daemons: [fails, dawdles]}\n"
        "daemons:\n"
        "  fails: {command: sh -c 'echo my last words; exit 9'}\n"
        "  dawdles: {command: sleep infinity, ready: 'false', timeout: 3}\n"
    )
    try:
        failed = k8slab("run", str(topology), check=False)
        assert failed.code == 1, failed
        assert "alone" in failed.err
        died = k8slab("start", "fails", "--lab", "broken", check=False)
        assert died.code == 1
        assert "my last words" in died.err
        dawdled = k8slab("start", "dawdles", "--lab", "broken", check=False)
        assert dawdled.code == 4
        shown = k8slab("status", "--lab", "broken", "-o", "json").json
        assert shown["ready"] is False
        states = {one["name"]: one["state"] for one in shown["nodes"][0]["daemons"]}
        assert states == {"fails": "failed", "dawdles": "up"}
    finally:
        k8slab("rm", "--lab", "broken")
    assert_nothing_beyond(before, state_home, "rm")
