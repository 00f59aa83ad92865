"""The options that many commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from k8slab.cli import completion
from k8slab.cli.session import session_of


class Form(StrEnum):
    table = "table"
    wide = "wide"
    json = "json"


def _remember_form(context: typer.Context, value: Form) -> Form:
    session_of(context).form = value.value
    return value


LAB, INSIDE, CLIENTS, TOPOLOGIES, MACHINE = (
    "The lab",
    "Look inside",
    "The real clients",
    "Topologies",
    "This machine",
)

LabName = Annotated[
    str,
    typer.Option(
        "--lab",
        metavar="NAME",
        envvar="K8SLAB_LAB",
        show_envvar=False,
        help="Which lab, when there are several.",
        autocompletion=completion.labs,
        show_default=False,
    ),
]


def lab_beside(context: typer.Context, topology: str, lab_name: str) -> str:
    """The lab meant beside a TOPOLOGY: the one typed alone, because the environment's is of whatever it is of."""
    source = context.get_parameter_source("lab_name")
    return "" if topology and source is not None and source.name == "ENVIRONMENT" else lab_name


Output = Annotated[
    Form, typer.Option("-o", "--output", help="How to answer.", callback=_remember_form, show_default=False)
]
Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET…",
        help="An alias (etcd, zk, mm…), a node, node/daemon, or all.",
        autocompletion=completion.targets,
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", min=1, help="For every daemon, in place of its own.", show_default=False
    ),
]
TopologyName = Annotated[
    str,
    typer.Argument(
        metavar="[TOPOLOGY]",
        help="A topology's name, folder or file.",
        autocompletion=completion.topologies,
        show_default=False,
    ),
]
NodeName = Annotated[
    str, typer.Argument(metavar="NODE", help="A node's name.", autocompletion=completion.nodes, show_default=False)
]
NodeNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NODE…", help="Names or roles of nodes, or all.", autocompletion=completion.nodes, show_default=False
    ),
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value of the topology, such as nodes.etcd.count=5. May be given again.",
        show_default=False,
    ),
]
