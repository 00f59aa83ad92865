"""Mesos in a whole lab: commands, a framework beside Kubernetes, somebody else's client, and what masters tell."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from driving import K8SLAB, ROOT, is_running, k8slab, until

MASTERS = ("172.17.1.4", "172.17.1.5", "172.17.1.6")
MINIONS = {f"kubernetes-minion-{number}" for number in range(4)}
PYMESOS = ROOT / ".cache" / "pymesos"
# Told with the documented keys by the leader, and where it is by the others.
KEYS = {
    "/state": {"activated_slaves", "cluster", "frameworks", "leader_info", "pid", "slaves", "version"},
    "/state-summary": {"cluster", "frameworks", "hostname", "slaves"},
    "/slaves": {"recovered_slaves", "slaves"},
    "/frameworks": {"completed_frameworks", "frameworks", "unregistered_frameworks"},
    "/tasks": {"tasks"},
    "/roles": {"roles"},
    "/metrics/snapshot": {"master/elected", "master/slaves_active", "master/tasks_running"},
}
# A whole framework of pymesos': one `sleep 1` on each agent it is offered.
ONE_ON_EACH = """
import os
from pymesos import MesosSchedulerDriver, Scheduler


class OneOnEach(Scheduler):
    agents = {}
    finished = set()

    def resourceOffers(self, driver, offers):
        for offer in offers:
            if offer.hostname in self.agents.values():
                driver.declineOffer([offer.id])
                continue
            name = f"one-{offer.hostname}"
            self.agents[name] = offer.hostname
            resources = [
                {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}},
                {"name": "mem", "type": "SCALAR", "scalar": {"value": 32}},
            ]
            task = {"task_id": {"value": name}, "name": name, "agent_id": offer.agent_id, "resources": resources}
            driver.launchTasks(offer.id, [{**task, "command": {"value": "sleep 1"}}])

    def statusUpdate(self, driver, update):
        if update.state == "TASK_FINISHED":
            self.finished.add(self.agents[update.task_id.value])
            print(*sorted(self.finished), flush=True)
        if len(self.finished) == 4:
            driver.stop()


framework = {"user": "root", "name": "outside"}
driver = MesosSchedulerDriver(OneOnEach(), framework, os.environ["MESOS_MASTER"], use_addict=True)
driver.start()
driver.join()
"""


def environment() -> dict[str, str]:
    """What ``eval "$(k8slab env)"`` sets."""
    shown = subprocess.run(
        ["bash", "-c", f'eval "$({K8SLAB} env)"; env -0'], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return dict(line.split("=", 1) for line in shown.stdout.split("\0") if "=" in line)


def ask(master: str, path: str) -> tuple[int, str, Any]:
    """Status, Location and JSON of a GET."""
    connection = http.client.HTTPConnection(master, 5050, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, answer.getheader("Location") or "", json.loads(body) if body[:1] == b"{" else None
    finally:
        connection.close()


def test_a_command_runs_to_its_end_and_its_words_come_out(whole: dict[str, Any]) -> None:
    done = k8slab("mesos", "execute", "--cpus", "0.1", "--mem", "32", "--name", "hi", "--", "echo hi; sleep 2")
    assert done.out == "hi\n"
    assert "TASK_FINISHED" in done.err
    failed = k8slab("mesos", "execute", "--cpus", "0.1", "--mem", "32", "--", "echo no >&2; exit 3", check=False)
    assert failed.code != 0
    assert "no\n" in failed.err
    assert "TASK_FAILED" in failed.err
    assert k8slab("mesos", "logs", "hi").out == "hi\n"


def test_masters_tell_what_is_documented_and_followers_where_the_leader_is(whole: dict[str, Any]) -> None:
    (leader,) = [master for master in MASTERS if ask(master, "/metrics/snapshot")[2]["master/elected"] == 1]
    name = ask(leader, "/state")[2]["leader_info"]["hostname"]
    for path, keys in KEYS.items():
        for master in MASTERS:
            code, location, told = ask(master, path)
            if master == leader or path == "/metrics/snapshot":
                assert (code, keys - set(told)) == (200, set())
            else:
                assert (code, location) == (307, f"//{name}:5050{path}")
    assert ask(leader, "/state")[2]["activated_slaves"] == 4


def test_a_client_of_others_runs_on_all_minions(whole: dict[str, Any], tmp_path: Path) -> None:
    program = tmp_path / "one_on_each.py"
    program.write_text(ONE_ON_EACH)
    told = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**environment(), "PYTHONPATH": str(PYMESOS)},
        start_new_session=True,
    )
    assert told.stdout, told.stderr
    assert set(told.stdout.splitlines()[-1].split()) == MINIONS, told.stderr


def test_two_frameworks_share_the_cluster_and_each_share_is_shown(nginx: dict[str, Any]) -> None:
    batch = subprocess.Popen(
        [sys.executable, "examples/batch/batch.py", "--jobs", "12", "--cpus", "0.5", "sleep 4"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment()},
    )

    def both() -> dict[str, float] | None:
        told = k8slab("mesos", "frameworks", "-o", "json").json["frameworks"]
        shares = {one["name"]: one["share"] for one in told if one["share"] > 0}
        return shares if {"Kubernetes", "batch"} <= set(shares) else None

    try:
        until("both frameworks have a share", both, within=20)
        said, _ = batch.communicate(timeout=60)
    except BaseException:
        batch.kill()
        raise
    assert batch.returncode == 0, said
    assert is_running()
    assert is_running()["metadata"]["uid"] == nginx["metadata"]["uid"]


@pytest.mark.parametrize("verb", ["masters", "agents", "frameworks", "tasks", "offers"])
def test_the_cluster_in_tables_and_in_json(whole: dict[str, Any], verb: str) -> None:
    assert k8slab("mesos", verb, "-o", "json").json["schema"] == 1
    assert "Traceback" not in k8slab("mesos", verb).err
