"""``k8slab kubectl`` and ``k8slab etcdctl``: the real clients, already pointed at the lab."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from k8slab.cli import options
from k8slab.cli.execute import has_terminal
from k8slab.cli.session import Session, session_of

if TYPE_CHECKING:
    from k8slab.lab.lab import Lab
    from k8slab.lab.runtime.base import Machine

# Every argument is the client's own; only a --lab before them is ours.
CONTEXT = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}

# A folder of these, mounted at its own path, would cover what the client's image has there; but below those of OWN
# people keep files of their own.
SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr", "var")
OWN = ("/run/media", "/usr/src", "/usr/local/src", "/var/home", "/var/tmp")


def kubectl(context: typer.Context, lab_name: options.LabName = "") -> None:
    """kubectl, with the lab's kubeconfig."""
    client(session_of(context), lab_name, "kubectl", context.args, daemon="apiserver")


def etcdctl(context: typer.Context, lab_name: options.LabName = "") -> None:
    """etcdctl, with the lab's members as its endpoints."""
    client(session_of(context), lab_name, "etcdctl", context.args, daemon="etcd")


def client(session: Session, lab_name: str, program: str, arguments: list[str], *, daemon: str) -> None:
    """The host's own program if there is one, else that of the role's image; ends with its exit code."""
    from k8slab.errors import UsageError

    lab = session.lab(lab_name)
    if not lab.topology.with_daemon(daemon):
        raise UsageError(
            f"Lab {lab.name} has no {daemon}.",
            why=f"No node of it runs one, so there is nothing for {program} to talk to.",
            remedy="`k8slab status` shows what it has; --lab NAME chooses another lab.",
        )
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
    from k8slab.lab import labels
    from k8slab.lab.runtime.base import MachineSpec, Mount

    image, beside = _beside(session, lab, daemon)
    here = Path.cwd()
    folders = [str(lab.directory)]
    if is_system(here):
        session.say(f"{program} runs in a container here and does not see the files of {here}.")
        workdir = "/"
    else:
        folders = list(dict.fromkeys([str(here), *folders]))
        workdir = str(here)
    spec = MachineSpec(
        name=f"k8slab-{program}-{os.getpid()}",
        image=image,
        command=(program, *arguments),
        labels={labels.LAB: lab.name, labels.TOPOLOGY: lab.topology.name, labels.CLIENT: "true"},
        environment={**environment, "HOME": "/tmp", "TERM": os.environ.get("TERM", "dumb")},
        mounts=tuple(Mount(folder, folder) for folder in folders),
    )
    user = f"{os.getuid()}:{os.getgid()}"
    return session.attached.run_aside(spec, network_of=beside.id, terminal=has_terminal(), user=user, workdir=workdir)


def _beside(session: Session, lab: Lab, daemon: str) -> tuple[str, Machine]:
    """The image that has the daemon's client, and a running machine with the daemon. Raises NodeFailed."""
    from k8slab.cli.machines import machines, running

    there = machines(session, lab)
    nodes = lab.topology.with_daemon(daemon)
    node = next((one for one in nodes if one.name in there and there[one.name].state == "running"), nodes[0])
    return node.image, running(session, lab, node.name)


def is_system(folder: Path) -> bool:
    top = folder.parts[1:2]
    return not top or (top[0] in SYSTEM and not any(Path(own) in folder.parents for own in OWN))
