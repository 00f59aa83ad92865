"""``k8slab build``: the images of nodes and pods."""

from __future__ import annotations

from typing import Annotated

import typer

from k8slab.cli import completion, options
from k8slab.cli.session import session_of


def build(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGE…]",
            help="Which ones, with those they stand on; all by default.",
            autocompletion=completion.images,
            show_default=False,
        ),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build anew what is already current.")] = False,
    base: Annotated[
        str, typer.Option("--base", metavar="IMAGE", help="Take this Debian image as the root.", show_default=False)
    ] = "",
    output: options.Output = options.Form.table,
) -> None:
    """Build the role images. Short: b.

    What is current stays as it is; a second build takes a second.
    """
    from k8slab.cli.building import watched
    from k8slab.cli.session import look
    from k8slab.lab.images import build as build_images
    from k8slab.lab.runtime.engine import connect
    from k8slab.view.build import built, built_json

    session = session_of(context)
    with watched(session) as listener:
        made = build_images(connect(), images or None, no_cache=no_cache, base=base or None, on_event=listener)
    if session.json:
        session.answer_json(built_json(made))
    else:
        session.answer(built(made, look(session.out)))
