"""Answering with what was done."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from k8slab.cli.session import Session, look
from k8slab.snapshot import Change
from k8slab.view import changes


def report_changes(session: Session, lab: str, done: Sequence[Change], *, nothing: str) -> None:
    session.changing = ""
    if session.json:
        session.answer_json(changes.changes_json(lab, done))
    else:
        session.answer(changes.changes(done, look(session.out)) if done else Text(nothing))
