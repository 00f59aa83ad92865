from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_list_and_show(shell: Any) -> None:
    assert any(one["name"] == "k8s-mesos" and one["valid"] for one in shell.json("topology", "list")["topologies"])
    assert "kubernetes-minion-3" in shell("topology", "show").stdout
    assert shell.json("topology", "show", "k8s-mesos")["nodes"][0]["address"] == "172.17.1.1/16"


def test_validate_reports_every_problem_with_its_line(shell: Any, tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(
        "name: broken\n"
        "network: {subnet: 172.17.0.0/16}\n"
        "nodes:\n"
        "  one: {role: etcd, address: 10.9.9.9}\n"
        "  two: {role: nonsense, address: 172.17.1.2}\n"
    )
    done = shell("topology", "validate", str(file), code=2)
    assert f"{file}:4: " in done.stderr
    assert f"{file}:5: " in done.stderr
    form = shell.json("topology", "validate", str(file), code=2)
    assert form["error"] == "invalid-topology"
    assert form["output"].count("\n") == 1


def test_a_new_topology_is_valid_and_its_own(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Wrote " in shell("topology", "new", "my-lab").stdout
    assert "my-lab is valid: 4 nodes, 4 daemons." in shell("topology", "validate", "my-lab").stdout
    assert "is there already" in shell("topology", "new", "my-lab", code=2).stderr
    assert "cannot name a lab" in shell("topology", "new", "My Lab", code=2).stderr
    assert shell.json("run", "my-lab")["nodes"][3]["daemons"][0]["alias"] == "w"


def test_graph_in_each_form(shell: Any) -> None:
    assert shell("topology", "graph").stdout.splitlines()[0] == "k8s-mesos"
    assert shell("topology", "graph", "--as", "mermaid").stdout.startswith("graph LR\n")
    assert shell("topology", "graph", "--as", "dot").stdout.startswith('digraph "k8s-mesos" {')


def test_schema_is_a_json_schema(shell: Any) -> None:
    assert json.loads(shell("topology", "schema").stdout)["properties"]["nodes"]


def test_unknown_topologies_get_a_suggestion(shell: Any) -> None:
    assert "Did you mean k8s-mesos?" in shell("run", "k8s-meso", code=2).stderr


def test_help_lists_the_verbs_but_not_their_short_forms(shell: Any) -> None:
    text = shell("--help").stdout
    assert "status" in text
    assert " ps " not in text
    assert shell("h").stdout.split() == text.split()
    assert "k8slab " in shell("--version").stdout


def test_usage_errors_end_with_2(shell: Any) -> None:
    assert "No such command" in shell("nonsense", code=2).stderr
    assert "Did you mean" in shell("statsu", code=2).stderr
    shell("kill", code=2)
    shell("status", "-o", "xml", code=2)
