"""Which labs ``rm`` takes away, and how."""

from __future__ import annotations

from collections.abc import Sequence

from k8slab.cli.session import Session
from k8slab.cli.work import watched
from k8slab.errors import NoSuchLab
from k8slab.lab.lab import Lab, existing, state_directory
from k8slab.snapshot import Change
from k8slab.topology import store


def labs_to_remove(session: Session, name: str, *, everything: bool) -> Sequence[str]:
    """Names, of labs or of what may be left of them. Raises NoSuchLab when it is not clear which one is meant."""
    folder = state_directory()
    kept = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    known = sorted(kept | set(existing(session.engine)))
    if everything:
        return known or [store.DEFAULT]
    if name:
        return [name]
    if store.DEFAULT in known or not known:
        return [store.DEFAULT]
    if len(known) > 1:
        raise NoSuchLab("", known)
    return known


def remove_lab(session: Session, name: str) -> tuple[Change, ...]:
    """By its name alone: its topology may be gone, or no longer valid."""
    lab = Lab(session.engine, store.load(lab=name))
    session.changing = name
    with watched(session, lab.topology, f"Removing {name}") as listener:
        done = lab.remove(listener=listener)
    session.changing = ""
    return done


def remove_images() -> list[str]:
    from k8slab.lab.images import remove
    from k8slab.lab.runtime.engine import connect

    return remove(connect())
