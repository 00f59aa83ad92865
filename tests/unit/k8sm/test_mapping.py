from __future__ import annotations

import base64

import orjson
import pytest

from k8slab.k8sm import mapping
from k8slab.k8sm.scheduler.settings import settings
from tests.unit.k8sm.samples import EXECUTOR, a_pod, scalar


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
    flags = settings(["--api-servers=172.17.1.7:8080", "--address=172.17.1.7", "--km-path=/usr/local/bin/km", "-v=1"])
    assert flags.executor.command[:4] == (
        "/usr/local/bin/km",
        "minion",
        "--run-proxy=true",
        "--api-servers=http://172.17.1.7:8080",
    )
    assert flags.advertised_address == "172.17.1.7:10251"
    assert (flags.executor.cpus, flags.executor.mem) == (0.25, 128.0)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--api-servers=a", "--nonsense=1"],
        ["--api-servers=a", "--proxy-mode=ipvs", "--address=1.2.3.4"],
        ["--api-servers=a", "--address=1.2.3.4", "--mesos-framework-roles=a,b"],
        ["--api-servers=a", "--address=1.2.3.4", "--port=x"],
    ],
)
def test_wrong_flags_end_with_one_line_and_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(argv)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
