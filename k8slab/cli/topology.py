"""``k8slab topology``: what labs there can be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from k8slab.cli import options
from k8slab.cli.boundary import Part
from k8slab.cli.session import Session, look, session_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from k8slab.topology.resolved import Topology
    from k8slab.view.look import Look

    Drawn = Callable[[Topology, Look], RenderableType]
    AsJson = Callable[[Topology], Any]

app = typer.Typer(cls=Part, help="Topologies: what labs there can be.", no_args_is_help=True)


@app.command("list")
def list_(context: typer.Context, output: options.Output = options.Form.table) -> None:
    """List the topologies there are."""
    from k8slab.cli.topologies import summaries
    from k8slab.view.topologies import listed, listed_json

    session = session_of(context)
    found = summaries()
    if session.json:
        session.answer_json(listed_json(found))
    else:
        session.answer(listed(found, look(session.out)))


@app.command()
def show(
    context: typer.Context,
    topology: options.TopologyName = "",
    settings: options.Settings = [],  # noqa: B006
    output: options.Output = options.Form.table,
) -> None:
    """Show a topology's network, nodes and daemons."""
    from k8slab.view.topologies import shown, shown_json

    _answer(session_of(context), topology, settings, shown, shown_json)


@app.command()
def validate(
    context: typer.Context,
    topology: options.TopologyName = "",
    settings: options.Settings = [],  # noqa: B006
    output: options.Output = options.Form.table,
) -> None:
    """Check a topology: every problem at once, with its file, line and remedy."""
    from k8slab.view.topologies import valid, valid_json

    _answer(session_of(context), topology, settings, valid, valid_json)


def _answer(session: Session, name: str, settings: Sequence[str], drawn: Drawn, as_json: AsJson) -> None:
    from k8slab.cli.topologies import load

    found = load(name, settings)
    if session.json:
        session.answer_json(as_json(found))
    else:
        session.answer(drawn(found, look(session.out)))


@app.command()
def graph(
    context: typer.Context,
    topology: options.TopologyName = "",
    settings: options.Settings = [],  # noqa: B006
    form: Annotated[
        Literal["tree", "mermaid", "dot"], typer.Option("--as", help="A drawing, or text for a drawing program.")
    ] = "tree",
) -> None:
    """Draw which daemon needs which."""
    from k8slab.cli.topologies import load
    from k8slab.view.graph import dot, mermaid, tree

    session = session_of(context)
    found = load(topology, settings)
    match form:
        case "mermaid":
            typer.echo(mermaid(found))
        case "dot":
            typer.echo(dot(found))
        case _:
            session.answer(tree(found, look(session.out)))


@app.command()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option("--in", metavar="DIR", help="Where; by default here.", show_default=False)
    ] = None,
) -> None:
    """Write a commented topology of one's own."""
    from rich.text import Text

    from k8slab.cli.topologies import write_new

    file = write_new(name, folder or Path.cwd())
    session_of(context).answer(Text(f"Wrote {file}. Edit it, then: k8slab run {file.parent}"))


@app.command()
def schema() -> None:
    """Print the JSON schema of topology.yaml, for editors."""
    from k8slab.topology.model import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
