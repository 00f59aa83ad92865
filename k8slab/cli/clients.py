"""``k8slab kubectl`` and ``k8slab etcdctl``: the real clients, already pointed at the lab."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import typer

from k8slab.cli import options
from k8slab.cli.execute import has_terminal
from k8slab.cli.session import Session, session_of

if TYPE_CHECKING:
    from k8slab.lab.lab import Lab

# Every argument is the client's own; only a --lab before them is ours.
CONTEXT = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


def kubectl(context: typer.Context, lab_name: options.LabName = "") -> None:
    """kubectl, with the lab's kubeconfig."""
    client(session_of(context), lab_name, "kubectl", context.args, daemon="apiserver")


def etcdctl(context: typer.Context, lab_name: options.LabName = "") -> None:
    """etcdctl, with the lab's members as its endpoints."""
    client(session_of(context), lab_name, "etcdctl", context.args, daemon="etcd")


def client(session: Session, lab_name: str, program: str, arguments: list[str], *, daemon: str) -> None:
    """The host's own program if there is one, else that of the role's image; ends with its exit code."""
    lab = session.lab(lab_name)
    environment = lab.environment()
    own = shutil.which(program)
    if own:
        sys.stdout.flush()
        os.execve(own, [program, *arguments], {**os.environ, **environment})
    raise typer.Exit(_aside(session, lab, program, arguments, daemon, environment))


def _aside(
    session: Session, lab: Lab, program: str, arguments: list[str], daemon: str, environment: dict[str, str]
) -> int:
    """In a throw-away machine beside the daemon, with the current folder at the same path, so that ``-f`` works."""
    from pathlib import Path

    from k8slab.errors import UsageError
    from k8slab.lab.runtime.base import MachineSpec, Mount

    nodes = lab.topology.with_daemon(daemon)
    if not nodes:
        raise UsageError(f"No node of lab {lab.name} runs {daemon}, so there is nothing for {program} to talk to.")
    running = {machine.name for machine in session.engine.machines() if machine.state == "running"}
    node = next((node for node in nodes if node.container in running), nodes[0])
    here = str(Path.cwd())
    folders = dict.fromkeys([here, str(lab.directory)])
    spec = MachineSpec(
        name=f"k8slab-{program}-{os.getpid()}",
        image=node.image,
        command=(program, *arguments),
        environment={**environment, "HOME": "/tmp", "TERM": os.environ.get("TERM", "dumb")},
        mounts=tuple(Mount(folder, folder) for folder in folders),
    )
    user = f"{os.getuid()}:{os.getgid()}"
    return session.attached.run_aside(spec, network_of=node.container, terminal=has_terminal(), user=user, workdir=here)
