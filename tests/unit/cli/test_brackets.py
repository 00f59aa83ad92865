"""What comes from outside is printed as it is, whatever it looks like to a markup language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k8slab.errors import EngineUnreachable


@pytest.mark.parametrize("text", ["[/b", "[/b]", "[a-z]", "[red]x[/red]", ":smile:"])
def test_errors_and_answers_keep_them(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert text in shell("run", text, code=2).stderr
    assert text in shell("topology", "show", f"no-{text}", code=2).stderr
    assert text in shell(f"st-{text}", code=2).stderr
    folder = tmp_path / text.replace("/", "").replace(":", "")
    folder.mkdir()
    assert f"{folder}/mine/topology.yaml" in shell("topology", "new", "mine", "--in", str(folder)).stdout
    assert str(folder) in shell("topology", "list", K8SLAB_TOPOLOGIES=str(folder)).stdout
    monkeypatch.setattr("k8slab.lab.lab.Lab.export", lambda self, directory: directory)
    shell("run")
    assert f"{folder}/report" in shell("export", str(folder / "report")).stdout
    shell.error = EngineUnreachable(f"no {text} there")
    assert f"no {text} there" in shell("status", code=3).stderr
