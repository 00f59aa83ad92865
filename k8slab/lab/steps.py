"""Steps as data: what a lab still needs, each with its reason, its order and the commands a person would type.

The dry run, the explanation, the timings and the real run all consume the same list.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from k8slab.lab import specs
from k8slab.lab.runtime.base import MachineSpec, Mount
from k8slab.topology.resolved import Daemon, Network, Node, Route

PhaseName = Literal["nodes", "wires", "daemons"]
Button = Literal["kill", "pause", "unpause"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """``key`` names the step within its plan, ``after`` the keys that must be done before it begins."""

    phase: ClassVar[PhaseName]
    verb: ClassVar[str]
    doing: ClassVar[str]

    subject: str
    reason: str = ""
    after: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        return f"{type(self).__name__}:{self.subject}"

    @property
    def did(self) -> str:
        """The verb for a report of what was done."""
        return self.verb

    def explain(self) -> tuple[str, ...]:
        """The docker, ip and s6 command lines that do the same by hand."""
        raise AssertionError(f"{type(self).__name__} explains nothing")


@dataclass(frozen=True, kw_only=True)
class RemoveMachine(Step):
    phase, verb, doing = "nodes", "removed", "remove"
    container: str

    def explain(self) -> tuple[str, ...]:
        return (f"docker rm -f {self.container}",)


@dataclass(frozen=True, kw_only=True)
class StartSwitch(Step):
    """Create (if ``spec`` is given) and start the lab's switch."""

    phase, verb, doing = "nodes", "started", "start"
    container: str
    spec: MachineSpec | None

    def explain(self) -> tuple[str, ...]:
        create = (docker_create(self.spec),) if self.spec else ()
        return (*create, f"docker start {self.container}")


@dataclass(frozen=True, kw_only=True)
class CreateNode(Step):
    phase, verb, doing = "nodes", "created", "create"
    node: Node
    spec: MachineSpec

    def explain(self) -> tuple[str, ...]:
        files = " ".join(specs.unpacked(self.spec.environment[specs.FILES]))
        about = f"# {specs.FILES} is a tar archive, unpacked at the first boot: {files}"
        return (about, docker_create(self.spec), f"docker start {self.node.container}")


@dataclass(frozen=True, kw_only=True)
class StartNode(Step):
    phase, verb, doing = "nodes", "started", "start"
    node: Node

    def explain(self) -> tuple[str, ...]:
        return (f"docker start {self.node.container}",)


@dataclass(frozen=True, kw_only=True)
class UnpauseNode(Step):
    phase, verb, doing = "nodes", "unpaused", "unpause"
    node: Node

    def explain(self) -> tuple[str, ...]:
        return (f"docker unpause {self.node.container}",)


@dataclass(frozen=True, kw_only=True)
class PressButton(Step):
    """Cut the power (kill), stop the clock (pause), let it go on (unpause)."""

    phase, verb, doing = "nodes", "switched", "switch"
    node: Node
    button: Button
    outcome: str

    @property
    def did(self) -> str:
        return self.outcome

    @property
    def key(self) -> str:
        return f"PressButton:{self.subject}:{self.button}"

    def explain(self) -> tuple[str, ...]:
        return (f"docker {self.button} {self.node.container}",)


@dataclass(frozen=True, kw_only=True)
class PlugWire(Step):
    """Wait until the switch has wired the node and a packet has reached it; ``again`` asks it to look anew."""

    phase, verb, doing = "wires", "wired", "wire"
    node: Node
    network: Network
    host_end: str
    again: bool

    def explain(self) -> tuple[str, ...]:
        node = self.node
        enter = "nsenter --net=/proc/$PID/ns/net"
        outwards = (f"{enter} ip route add default via {self.network.gateway}",) if self.network.egress else ()
        return (
            f"PID=$(docker inspect -f '{{{{.State.Pid}}}}' {node.container})",
            f"BRIDGE=$(ip -o -4 address show to {self.network.gateway} | awk '{{print $2}}')",
            f"ip link add {self.host_end} mtu {self.network.mtu} master $BRIDGE up "
            f"type veth peer name eth0 mtu {self.network.mtu} address {node.mac} netns $PID",
            f"{enter} ip address add {node.address}/{node.prefix} dev eth0",
            f"{enter} ip link set eth0 up",
            *(f"{enter} ip route add {_way(route)}" for route in node.routes),
            *outwards,
            f"{enter} arping -c 1 -A -I eth0 {node.address}",
        )


def _way(route: Route) -> str:
    return f"{route.to} via {route.via}" if route.via else f"{route.to} dev eth0"


@dataclass(frozen=True, kw_only=True)
class StartDaemon(Step):
    phase, verb, doing = "daemons", "started", "start"
    node: Node
    daemon: Daemon
    timeout: float

    def explain(self) -> tuple[str, ...]:
        service = f"{specs.SERVICES}/{self.daemon.name}"
        return (
            f"docker exec {self.node.container} s6-svc -U -wU -T {int(self.timeout * 1000)} {service}",
            *(f"#   {line}" for line in specs.manual_lines(self.daemon).splitlines()),
        )


@dataclass(frozen=True, kw_only=True)
class StopDaemon(Step):
    phase, verb, doing = "daemons", "killed", "kill"
    node: Node
    daemon: Daemon
    signal: str

    def explain(self) -> tuple[str, ...]:
        service = f"{specs.SERVICES}/{self.daemon.name}"
        enter = f"docker exec {self.node.container}"
        if self.signal:
            return (
                f"{enter} s6-svc -O {service}; {enter} touch {service}/down",
                f"{enter} sh -c 'kill -{self.signal} $(s6-svstat -o pid {service})'",
            )
        return (f"{enter} s6-svc -D -wD {service}",)


def docker_create(spec: MachineSpec) -> str:
    """``docker create`` with every option that ``spec`` stands for."""
    options: list[str] = [f"--name={spec.name}"]
    if spec.sharing_host:
        options += ["--network=host", "--pid=host", "--userns=host", "--security-opt=apparmor=unconfined"]
    else:
        options += [f"--hostname={spec.hostname}", "--network=none", "--cgroupns=private"]
    options += ["--restart=unless-stopped"]
    options += ["--cap-drop=ALL"] if spec.drop_other_capabilities else []
    options += [f"--cap-add={name}" for name in spec.capabilities]
    options += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"] if spec.unconfined else []
    options += [f"--cpu-shares={spec.cpu_shares}"] if spec.cpu_shares else []
    options += _pairs("--sysctl", spec.sysctls)
    options += [f"--tmpfs={path}:exec" for path in spec.tmpfs]
    options += [_mount(mount, spec) for mount in spec.mounts]
    options += _pairs("--env", spec.environment)
    options += _pairs("--label", spec.labels)
    return " ".join(["docker create", *options, spec.image, *map(shlex.quote, spec.command)])


def _mount(mount: Mount, spec: MachineSpec) -> str:
    words = [f"type={'volume' if mount.is_volume else 'bind'}", f"source={mount.source}", f"target={mount.target}"]
    if mount.is_volume:
        words += [f"volume-label={name}={text}" for name, text in spec.volume_labels.items()]
    words += ["readonly"] if mount.read_only else []
    return shlex.quote(f"--mount={','.join(words)}")


def _pairs(option: str, values: Mapping[str, str]) -> list[str]:
    return [f"{option}={shlex.quote(f'{name}={value}')}" for name, value in values.items()]
