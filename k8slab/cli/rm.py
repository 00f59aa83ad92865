"""``k8slab rm``: everything a lab owns, gone."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slab.cli import options
from k8slab.cli.session import look, session_of


def rm(
    context: typer.Context,
    lab_name: options.LabName = "",
    images: Annotated[bool, typer.Option("--images", help="The images too.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every lab there is.")] = False,
    output: options.Output = options.Form.table,
) -> None:
    """Remove everything the lab owns, and say what it was."""
    from k8slab.cli.removal import labs_to_remove, remove_images, remove_lab
    from k8slab.view import changes

    session = session_of(context)
    forms = []
    for name in labs_to_remove(session, lab_name, everything=everything):
        done = remove_lab(session, name)
        forms.append(changes.changes_json(name, done))
        if not session.json:
            session.answer(changes.removed(done, name, look(session.out)))
    gone = remove_images() if images else []
    if session.json:
        session.answer_json({"schema": 1, "labs": forms, "images": gone})
    elif images:
        session.answer(changes.removed_images(gone, look(session.out)))
