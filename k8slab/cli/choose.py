"""Which lab ``run`` and ``doctor`` mean: the topology asked for, else the lab named (or the default), as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from k8slab.cli.session import Session
from k8slab.errors import NoSuchLab, PreconditionMissing, UsageError
from k8slab.lab.lab import Lab, existing, open_lab
from k8slab.topology import store
from k8slab.topology.packages.places import carried_over
from k8slab.topology.resolve import resolve
from k8slab.topology.resolved import Topology
from k8slab.topology.source import Source

# A pod for today's kubectl, or else one in the words of the API's first version.
FIRST_MANIFESTS = ("nginx.yaml", "pod-nginx.json")


def lab_to_run(session: Session, topology: str, lab: str, settings: Sequence[str]) -> Lab:
    """Raises what a wrong name or an invalid topology raises before it asks the engine for anything."""
    chosen = [*store.environment_settings(os.environ), *settings]
    if topology:
        wanted = store.load(topology, lab=lab, settings=chosen)
        labs = existing(session.engine)
        _demand_same(wanted, labs.get(wanted.lab, ""))
        if wanted.packages and wanted.lab in labs and not any("packages." in one for one in chosen):
            wanted = carried_over(wanted, open_lab(session.engine, wanted.lab).topology)
        return Lab(session.engine, wanted)
    try:
        there = open_lab(session.engine, lab or store.DEFAULT)
    except NoSuchLab:
        return Lab(session.engine, store.load(lab=lab, settings=chosen))
    if chosen:
        return Lab(session.engine, changed(there.topology, chosen))
    if _differs_from_file(there.topology):
        option = "" if there.name == there.topology.name else f" --lab {there.name}"
        told = f"As it was last run; `k8slab run {there.topology.name}{option}` takes its topology's file anew."
        session.say(Text(told))
    return there


def _demand_same(wanted: Topology, there: str) -> None:
    """A lab stays what it is: as another topology its nodes would be taken apart without a word."""
    if there not in ("", wanted.name):
        raise UsageError(
            f"Lab {wanted.lab} is a lab of topology {there}, not {wanted.name}.",
            remedy=f"`k8slab rm --lab {wanted.lab}` first, or give the new one another name: "
            f"`k8slab run {wanted.name} --lab NAME`.",
        )


def changed(topology: Topology, settings: Sequence[str]) -> Topology:
    source = Source(f"lab {topology.lab}", json.loads(topology.source), {})
    return resolve(store.with_settings(source, settings), lab=topology.lab)


def _differs_from_file(topology: Topology) -> bool:
    if topology.name not in store.known():
        return False
    return carried_over(store.load(topology.name, lab=topology.lab), topology).source != topology.source


def lab_or_default(session: Session, name: str) -> Lab:
    """For questions that need no running lab: the one there is, else the default as it would be."""
    try:
        return open_lab(session.engine, name)
    except NoSuchLab:
        if name or existing(session.engine):
            raise
        return Lab(session.engine, store.load(settings=store.environment_settings(os.environ)))


def topology_to_check(session: Session, topology: str, lab: str, settings: Sequence[str]) -> Topology:
    """What ``run`` would bring up. The engine may be what is wrong, so its errors do not count here."""
    chosen = [*store.environment_settings(os.environ), *settings]
    if not topology:
        try:
            there = open_lab(session.engine, lab or store.DEFAULT).topology
            return changed(there, chosen) if chosen else there
        except (NoSuchLab, PreconditionMissing):
            pass
    return store.load(topology or store.DEFAULT, lab=lab, settings=chosen)


def first_manifest(topology: Topology) -> str:
    """A pod that the topology brings along, named as one would from the current folder; "" when it has none."""
    file = store.known().get(topology.name)
    pods = [file.parent / name for name in FIRST_MANIFESTS] if file else []
    pod = next((one for one in pods if one.is_file()), None)
    if pod is None:
        return ""
    return str(pod.relative_to(Path.cwd()) if pod.is_relative_to(Path.cwd()) else pod)
