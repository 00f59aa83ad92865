"""Every precondition as a check with a remedy: ``doctor`` shows them all, ``run`` stops at the first that fails."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from k8slab.errors import (
    AddressTaken,
    ForeignName,
    ImageMissing,
    LabError,
    PreconditionMissing,
    SubnetTaken,
)
from k8slab.lab import labels, observe, specs
from k8slab.lab.runtime.base import EngineInfo, Machine, Runtime
from k8slab.topology.resolved import Topology

Level = Literal["ok", "warn", "fail"]

OLDEST_ENGINE = (20, 10)
MEMORY_PER_NODE = 128 * 2**20
DISK_WANTED = 3 * 2**30
INOTIFY_PER_NODE = 8


@dataclass(frozen=True)
class Check:
    """What was looked at, how it stands, what to do. ``error`` is what ``run`` raises when it fails."""

    name: str
    level: Level
    text: str
    remedy: str = ""
    error: LabError | None = None


@dataclass(frozen=True)
class Ground:
    """Everything the checks of one lab look at, read once."""

    runtime: Runtime
    info: EngineInfo
    machines: tuple[Machine, ...]
    topology: Topology


def examine(connect: Callable[[], Runtime], topology: Topology | None) -> Iterator[Check]:
    """All checks in order; those of the engine alone when there is no topology to look at."""
    try:
        runtime = connect()
        info = runtime.info()
    except LabError as error:
        yield _failed("engine", error)
        return
    yield Check("engine", "ok", f"Docker Engine {info.version}, cgroup v{info.cgroup_version}, {info.storage_driver}")
    yield _engine_kind(info)
    yield _engine_age(info)
    yield _disk(info)
    if topology is not None:
        ground = Ground(runtime, info, tuple(runtime.machines()), topology)
        for check in (_images, _names, _subnet_and_addresses, _memory, _inotify):
            yield check(ground)


def demand(runtime: Runtime, topology: Topology) -> EngineInfo:
    """Raise the error of the first check that fails; what the engine says of itself otherwise."""
    info = runtime.info()
    kind = _engine_kind(info)
    if kind.error:
        raise kind.error
    ground = Ground(runtime, info, tuple(runtime.machines()), topology)
    for check in (_images, _names, _subnet_and_addresses):
        found = check(ground)
        if found.error is not None:
            raise found.error
    return info


def _failed(name: str, error: LabError) -> Check:
    return Check(name, "fail", " ".join(filter(None, [error.what, error.why])), error.remedy, error)


def _engine_kind(info: EngineInfo) -> Check:
    if info.rootless:
        return _failed(
            "rootful engine",
            PreconditionMissing(
                "This Docker Engine is rootless.",
                why="A rootless engine has no access to the host's network, where the lab's bridge and wires are.",
                remedy="Use the system's engine: `docker context use default`, or unset DOCKER_HOST.",
            ),
        )
    return Check("rootful engine", "ok", "the engine may wire the host's network")


def _engine_age(info: EngineInfo) -> Check:
    numbers = tuple(int(part) for part in info.version.split(".")[:2] if part.isdigit())
    oldest = ".".join(map(str, OLDEST_ENGINE))
    if len(numbers) == 2 and numbers < OLDEST_ENGINE:
        return Check("engine's age", "warn", f"{info.version} is older than {oldest}", f"Use Docker {oldest} or newer.")
    return Check("engine's age", "ok", f"{info.version or 'unknown'} (at least {oldest} is asked for)")


def _disk(info: EngineInfo) -> Check:
    root = Path(info.data_root)
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        return Check("disk", "ok", "the engine's disk is not visible from here")
    text = f"{free / 2**30:.1f} GiB free under {root}"
    if free < DISK_WANTED:
        return Check("disk", "warn", text, "`docker system prune` gives back what nobody uses.")
    return Check("disk", "ok", text)


def _images(ground: Ground) -> Check:
    wanted = sorted({*(node.image for node in ground.topology.nodes), specs.SWITCH_IMAGE})
    missing = set(wanted) - set(ground.runtime.image_ids(wanted))
    if missing:
        return _failed("images", ImageMissing(missing))
    return Check("images", "ok", f"{len(wanted)} images are built")


def _names(ground: Ground) -> Check:
    lab = ground.topology.lab
    wanted = {node.container for node in ground.topology.nodes} | {specs.switch_name(lab)}
    for machine in ground.machines:
        if machine.name in wanted and machine.labels.get(labels.LAB) != lab:
            return _failed("names", ForeignName("container", machine.name, lab))
    volumes = {specs.volume_name(lab, node, path) for node in ground.topology.nodes for path in node.volumes}
    for volume in ground.runtime.volumes():
        if volume.name in volumes and volume.labels.get(labels.LAB) != lab:
            return _failed("names", ForeignName("volume", volume.name, lab))
    return Check("names", "ok", f"{len(wanted)} names are free or this lab's own")


def _subnet_and_addresses(ground: Ground) -> Check:
    # Slow to import, and needed by the commands alone that make a lab.
    from k8slab.lab.switch import survey

    subnet = ground.topology.network.subnet
    found = survey.routes()
    obstacle = survey.overlapping(subnet, found)
    if obstacle is not None:
        return _failed("subnet", SubnetTaken(str(subnet), str(obstacle.to), obstacle.device))
    bridge = survey.bridge_of(subnet, found)
    if not bridge:
        return Check("subnet", "ok", f"{subnet} is free")
    owner = survey.lab_of_bridge(bridge)
    if owner not in ("", ground.topology.lab):
        return _failed("subnet", SubnetTaken(str(subnet), f"the lab {owner}'s subnet {subnet}", bridge))
    mine = {one.labels.get(labels.NODE) for one in _running(ground)}
    strangers = {node.address: node.name for node in ground.topology.nodes if node.name not in mine}
    taken = survey.answering(bridge, ground.topology.lab, strangers) if strangers else {}
    for address, mac in taken.items():
        return _failed("subnet", AddressTaken(str(address), _owner(ground, mac) or f"a machine on {bridge} ({mac})"))
    return Check("subnet", "ok", f"{subnet} is {bridge}'s, and nobody else has the lab's addresses")


def _owner(ground: Ground, mac: str) -> str:
    """The node of another lab that has this MAC; "" when it is nobody we know."""
    for machine in ground.machines:
        wire = machine.labels.get(labels.WIRE)
        if wire and json.loads(wire).get("mac") == mac:
            return f"{machine.labels[labels.NODE]} of lab {machine.labels[labels.LAB]}"
    return ""


def _running(ground: Ground) -> list[Machine]:
    own = [one for one in ground.machines if one.labels.get(labels.LAB) == ground.topology.lab]
    return [one for one in own if observe.is_running(one) or one.state == "paused"]


def _memory(ground: Ground) -> Check:
    needed = MEMORY_PER_NODE * len(ground.topology.nodes)
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    text = f"{available / 2**30:.1f} GiB available, about {needed / 2**30:.1f} GiB needed"
    if available < needed:
        return Check("memory", "warn", text, "Close something, or use fewer nodes: `--set nodes.NAME.count=N`.")
    return Check("memory", "ok", text)


def _inotify(ground: Ground) -> Check:
    """Each node's supervisors, engines and JVMs take inotify instances; the default of 128 is gone at once."""
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    needed = INOTIFY_PER_NODE * len(ground.topology.nodes)
    if limit < needed:
        remedy = "`sudo sysctl fs.inotify.max_user_instances=1024`"
        return Check("inotify", "warn", f"{limit} instances, about {needed} may be needed", remedy)
    return Check("inotify", "ok", f"{limit} instances")
