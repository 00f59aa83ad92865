"""Ctrl-C before the command has begun anything: no word, and the exit code of an interruption."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import pytest

import k8slab.cli
from k8slab.cli import app, entry


class Impatient:
    def find_spec(self, name: str, *_: Any) -> None:
        if name == "k8slab.cli.app":
            raise KeyboardInterrupt


def test_while_it_is_imported(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "k8slab.cli.app")
    monkeypatch.delattr(k8slab.cli, "app")
    monkeypatch.setattr(sys, "meta_path", [Impatient(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
    assert capfd.readouterr() == ("", "")


def test_while_its_commands_are_put_together(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "main", interrupted)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
    assert capfd.readouterr() == ("", "")
