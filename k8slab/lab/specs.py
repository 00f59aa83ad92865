"""From a resolved node to what the engine creates: the container's form, its services, their scripts."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from k8slab.errors import UsageError
from k8slab.lab import labels
from k8slab.lab.runtime.base import MachineSpec, Mount
from k8slab.topology.resolved import Daemon, Node, Topology

SERVICES = "/etc/service"
SWITCH_IMAGE = "k8slab/switch"
HOST_RUN = "/host/run"
SWITCH_CAPABILITIES = ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")
# A node's files travel as a variable that its first process unpacks: the engine's own way into a container that does
# not run yet starts a process of the engine's for each, which costs as much as creating the container.
FILES = "K8SLAB_FILES"
LARGEST_VARIABLE = 120_000
# A daemon that ignores its stop signal is killed after this long, so that `kill` always ends.
STOP_MILLISECONDS = 8000
READY_DESCRIPTOR = 3
CHECK_EVERY_MILLISECONDS = 100


@dataclass(frozen=True)
class FileContent:
    text: str
    mode: int = 0o644


def node_spec(topology: Topology, node: Node) -> MachineSpec:
    wire = {
        "address": str(node.address),
        "prefix": node.prefix,
        "mac": node.mac,
        "routes": [{"to": str(route.to), "via": str(route.via or "")} for route in node.routes],
    }
    marks = {labels.LAB: topology.lab, labels.NODE: node.name}
    files = node_files(topology, node)
    spec = MachineSpec(
        name=node.container,
        image=node.image,
        hostname=node.name,
        environment={FILES: packed(files, node.name)},
        command=("/usr/lib/k8slab/init",),
        labels={
            **marks,
            labels.TOPOLOGY: topology.name,
            labels.ROLE: node.role,
            labels.WIRE: json.dumps(wire, separators=(",", ":")),
        },
        volume_labels=marks,
        capabilities=node.capabilities,
        unconfined=node.unconfined,
        cpu_shares=node.cpu_shares,
        sysctls=dict(node.sysctls),
        mounts=tuple(Mount(volume_name(topology.lab, node, path), path) for path in node.volumes),
        tmpfs=("/run",),
    )
    return _sealed(spec)


def switch_spec(topology: Topology, *, socket: str) -> MachineSpec:
    """``socket`` is the engine's, on its host; its folder is mounted, because the socket itself is made anew."""
    network = topology.network
    config = {
        "lab": topology.lab,
        "subnet": str(network.subnet),
        "gateway": str(network.gateway),
        "mtu": network.mtu,
        "egress": network.egress,
        "pods": str(network.pods),
    }
    path = PurePosixPath(socket)
    spec = MachineSpec(
        name=switch_name(topology.lab),
        image=SWITCH_IMAGE,
        command=("k8slab-switch",),
        labels={
            labels.LAB: topology.lab,
            labels.TOPOLOGY: topology.name,
            labels.SWITCH: "true",
            # The lab remembers what it is in the engine alone; any user of the engine can go on with it.
            labels.SOURCE: topology.source,
        },
        environment={
            "K8SLAB_SWITCH": json.dumps(config, separators=(",", ":")),
            "K8SLAB_ENGINE": f"{HOST_RUN}/{path.name}",
            "XTABLES_LOCKFILE": f"{HOST_RUN}/xtables.lock",
        },
        capabilities=SWITCH_CAPABILITIES,
        drop_other_capabilities=True,
        sharing_host=True,
        mounts=(Mount(str(path.parent), HOST_RUN),),
    )
    return _sealed(spec)


def cleaner_spec(lab: str, *, socket: str) -> MachineSpec:
    """A machine with a switch's rights that only waits for ``k8slab-switch clean``, for a lab whose switch is gone."""
    path = PurePosixPath(socket)
    return MachineSpec(
        name=f"{switch_name(lab)}-cleaner",
        image=SWITCH_IMAGE,
        command=("sleep", "infinity"),
        labels={labels.LAB: lab},
        environment={
            "K8SLAB_SWITCH": json.dumps({"lab": lab}),
            "K8SLAB_ENGINE": f"{HOST_RUN}/{path.name}",
            "XTABLES_LOCKFILE": f"{HOST_RUN}/xtables.lock",
        },
        capabilities=SWITCH_CAPABILITIES,
        drop_other_capabilities=True,
        sharing_host=True,
        mounts=(Mount(str(path.parent), HOST_RUN),),
    )


def switch_name(lab: str) -> str:
    return f"k8slab-switch-{lab}"


def volume_name(lab: str, node: Node, path: str) -> str:
    return f"k8slab-{lab}-{node.name}-{PurePosixPath(path).name}"


def node_files(topology: Topology, node: Node) -> dict[str, FileContent]:
    """Every file a node needs before its first boot: the lab's names, its daemons' services and what these read."""
    files = {"/etc/hosts": FileContent(hosts_file(topology))}
    files |= {path: FileContent(text) for path, text in node.files}
    for daemon in node.daemons:
        for path, content in service_files(daemon).items():
            files[f"{SERVICES}/{daemon.name}/{path}"] = content
    return files


def hosts_file(topology: Topology) -> str:
    """The same on every node: where the engine has no part in the network it writes no names either."""
    known = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    return "\n".join([*known, *(f"{address} {name}" for name, address in topology.hosts), ""])


def service_files(daemon: Daemon) -> dict[str, FileContent]:
    """The s6 service of a daemon, by path in its folder. It is born down: nothing starts before the lab says so."""
    files = {
        "run": FileContent(run_script(daemon), 0o755),
        "finish": FileContent('#!/bin/sh\nexec /usr/lib/k8slab/daemonctl finish "$1" "$2"\n', 0o755),
        "notification-fd": FileContent(f"{READY_DESCRIPTOR}\n"),
        "timeout-kill": FileContent(f"{STOP_MILLISECONDS}\n"),
        "down-signal": FileContent(f"SIG{daemon.stop_signal}\n"),
        "down": FileContent(""),
        "log/run": FileContent(f"#!/bin/sh\nexec s6-log -b n4 s2000000 /var/log/{daemon.name}\n", 0o755),
    }
    if daemon.check:
        files["data/check"] = FileContent(f"#!/bin/bash\n{daemon.check}\n", 0o755)
    return files


def run_script(daemon: Daemon) -> str:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in daemon.environment]
    if daemon.check:
        # Without limits: how long a daemon may take is the lab's to say, and it may become ready long after.
        start = f"exec s6-notifyoncheck -d -n 0 -T 0 -t 3000 -w {CHECK_EVERY_MILLISECONDS} {daemon.command}"
    else:
        start = f"export READY_FD={READY_DESCRIPTOR}\nexec {daemon.command}"
    return "\n".join(["#!/bin/sh", "exec 2>&1", *exports, *filter(None, [daemon.setup]), start, ""])


def manual_lines(daemon: Daemon) -> str:
    """What a person pastes into a shell on the node to start the daemon by hand, in the foreground."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in daemon.environment]
    words = _words(daemon.command)
    return "\n".join([*exports, *filter(None, [daemon.setup]), " \\\n  ".join(words)])


# A run of characters that are not blank, or are inside of quotes.
_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:\\.|[^"\\])*")+""")


def _words(command: str) -> list[str]:
    """The words of a command line as written, quotes kept."""
    return _WORD.findall(command)


def packed(files: Mapping[str, FileContent], node: str) -> str:
    """A gzipped tar archive as base64 text, the same for the same files. Raises UsageError beyond what one variable
    of a process may hold."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in sorted(files.items()):
            data = content.text.encode()
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(data), content.mode
            archive.addfile(entry, io.BytesIO(data))
    text = base64.b64encode(gzip.compress(buffer.getvalue(), mtime=0)).decode()
    if len(text) > LARGEST_VARIABLE:
        raise UsageError(
            f"The files of node {node} are too large: {len(text)} bytes packed, of {LARGEST_VARIABLE} at most.",
            remedy="Put large files into the role's image.",
        )
    return text


def unpacked(text: str) -> dict[str, str]:
    """What ``packed`` packed, by absolute path."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(base64.b64decode(text)))) as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive]
        return {f"/{name}": content.read().decode() for name, content in members if content}


def _sealed(spec: MachineSpec) -> MachineSpec:
    """The spec with its own fingerprint as a label: how a later run knows that a machine is what it should be."""
    fingerprint = hashlib.sha256(repr(spec).encode()).hexdigest()[:16]
    return MachineSpec(**{**spec.__dict__, "labels": {**spec.labels, labels.SPEC: fingerprint}})
