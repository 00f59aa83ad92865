"""The error catalogue: every failure a person can meet, with its id, exit code, cause and remedy.

    LabError                  1   a step failed
    ├── StepFailed            1   ├─ DaemonFailed, NodeFailed, BuildFailed, ForeignName, NoLeadingMaster
    ├── UsageError            2   ├─ UnknownTopology, UnknownTarget, UnknownPackage, InvalidTopology, InvalidOptions, …
    ├── PreconditionMissing   3   ├─ EngineUnreachable, EngineForbidden, ImageMissing, SubnetTaken, AddressTaken, …
    ├── TimedOut              4
    └── Interrupted         130

A traceback belongs to bugs alone; whatever a person can cause or meet is one of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar


class LabError(Exception):
    """What went wrong, why, and what to do. ``output`` is the end of a log or of a command's output, shown as it is."""

    id: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", remedy: str = "", output: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.remedy, self.output = what, why, remedy, output

    def as_json(self) -> dict[str, object]:
        return {
            "schema": 1,
            "error": self.id,
            "exit_code": self.exit_code,
            "what": self.what,
            "why": self.why,
            "remedy": self.remedy,
            "output": self.output,
        }


class StepFailed(LabError):
    id = "step-failed"


class UsageError(LabError):
    id = "usage"
    exit_code = 2


class PreconditionMissing(LabError):
    id = "precondition"
    exit_code = 3


class TimedOut(LabError):
    id = "timed-out"
    exit_code = 4


class Interrupted(LabError):
    id = "interrupted"
    exit_code = 130

    def __init__(self, lab: str) -> None:
        super().__init__(
            "Interrupted.",
            remedy="What was done stays, and the same command goes on from there. "
            f"`k8slab run --lab {lab}` brings everything up, `k8slab rm --lab {lab}` removes it.",
        )


class DaemonFailed(StepFailed):
    id = "daemon-failed"

    def __init__(self, node: str, daemon: str, why: str, log: str) -> None:
        super().__init__(
            f"{daemon} on {node} did not come up.",
            why=why,
            remedy=f"`k8slab logs {node}/{daemon}` has its whole log; `k8slab run` then goes on where it stopped.",
            output=log,
        )


class DaemonTimedOut(TimedOut):
    id = "daemon-timed-out"

    def __init__(self, node: str, daemon: str, seconds: float, log: str) -> None:
        super().__init__(
            f"{daemon} on {node} was not ready after {seconds:g} s.",
            why="It runs, but its readiness check never succeeded.",
            remedy=f"Read its whole log with `k8slab logs {node}/{daemon}`; a slow machine can be given "
            "`k8slab run --timeout SECONDS`.",
            output=log,
        )


class NodeFailed(StepFailed):
    id = "node-failed"


class WireFailed(StepFailed):
    id = "wire-failed"


class BuildFailed(StepFailed):
    id = "build-failed"


class ForeignName(PreconditionMissing):
    """A container or volume that the lab needs the name of exists and belongs to somebody else."""

    id = "name-taken"

    def __init__(self, kind: str, name: str, lab: str) -> None:
        super().__init__(
            f"The name {name} is taken by a {kind} that is not part of lab {lab}.",
            why="k8slab never touches what it did not create.",
            remedy=f"Rename or remove that {kind} yourself, or give this lab another name: `k8slab run --lab NAME`.",
        )


class EngineUnreachable(PreconditionMissing):
    id = "engine-unreachable"

    def __init__(self, why: str, *, host: str = "") -> None:
        start = "Start it (`sudo systemctl start docker`, or `sudo dockerd &` where there is no systemd)"
        elsewhere = f"; DOCKER_HOST points at {host}: is that right?" if host else "."
        super().__init__("The Docker Engine does not answer.", why=why, remedy=start + elsewhere)


class EngineForbidden(PreconditionMissing):
    id = "engine-forbidden"

    def __init__(self, socket: str) -> None:
        super().__init__(
            f"You may not use the Docker Engine at {socket}.",
            why="Your user is neither root nor in the docker group.",
            remedy="`sudo usermod -aG docker $USER`, then log in again (or run `newgrp docker`).",
        )


class ImageMissing(PreconditionMissing):
    id = "image-missing"

    def __init__(self, images: Iterable[str]) -> None:
        names = ", ".join(sorted(images))
        super().__init__(f"Not built yet: {names}.", remedy="Run `k8slab build`.")


class SubnetTaken(PreconditionMissing):
    id = "subnet-taken"

    def __init__(self, subnet: str, route: str, device: str) -> None:
        super().__init__(
            f"The lab's subnet {subnet} overlaps a route of this machine.",
            why=f"{route} is reached through {device}; two networks cannot share addresses.",
            remedy="Choose another subnet, and addresses in it, in the topology (or with `--set network.subnet=…`).",
        )


class AddressTaken(PreconditionMissing):
    id = "address-taken"

    def __init__(self, address: str, owner: str) -> None:
        super().__init__(
            f"The address {address} already answers on the lab's bridge.",
            why=f"It belongs to {owner}.",
            remedy="Stop what uses it, or choose other addresses in the topology.",
        )


class NoLeadingMaster(StepFailed):
    """``said``: what each master asked has to say, a line each."""

    id = "no-leading-master"

    def __init__(self, said: Iterable[str]) -> None:
        super().__init__(
            "No Mesos master leads.",
            why="Masters lead only while ZooKeeper has a quorum; another one takes over within its session's 10 s.",
            remedy="`k8slab status` shows who is missing; `k8slab start zk mm` starts what was killed.",
            output="\n".join(said),
        )


class UnknownTask(UsageError):
    id = "unknown-task"

    def __init__(self, task: str, known: Iterable[str]) -> None:
        near = get_close_matches(task, sorted(set(known)), n=3, cutoff=0.5)
        super().__init__(
            f"The cluster knows no task {task!r}.",
            # A cluster may know thousands.
            remedy=f"Did you mean {' or '.join(near)}?" if near else "`k8slab mesos tasks` lists those it knows.",
        )


class AmbiguousTask(UsageError):
    id = "ambiguous-task"

    def __init__(self, task: str, meant: Iterable[str]) -> None:
        super().__init__(f"Several tasks are meant by {task!r}.", remedy=f"Say which: {', '.join(sorted(meant))}.")


class MesosFailed(StepFailed):
    id = "mesos-failed"


class PackageMissing(PreconditionMissing):
    id = "package-missing"

    def __init__(self, package: str) -> None:
        super().__init__(
            f"This needs the Python package {package}, which is not installed here.",
            remedy="Install k8slab with what its daemons use: `pip install 'k8slab[daemons]'`.",
        )


class UnknownTopology(UsageError):
    id = "unknown-topology"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no topology {name!r}.", remedy=_did_you_mean(name, known, "`k8slab topology list`"))


class UnknownPackage(UsageError):
    id = "unknown-package"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no package {name!r}.", remedy=_did_you_mean(name, known, "`k8slab package list`"))


class UnknownTarget(UsageError):
    id = "unknown-target"

    def __init__(self, target: str, known: Iterable[str]) -> None:
        super().__init__(
            f"Nothing in this lab is called {target!r}.",
            remedy=_did_you_mean(target, known, "an alias (etcd, zk, mm…), a node, node/daemon, or all"),
        )


class NoSuchLab(UsageError):
    id = "no-such-lab"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        labs = sorted(known)
        super().__init__(
            f"There is no lab {name!r}." if name else "Which lab?" if labs else "There is no lab.",
            remedy=f"These are there: {', '.join(labs)} (`--lab NAME`)." if labs else "`k8slab run` brings one up.",
        )


class BadName(UsageError):
    id = "bad-name"


class LabBusy(StepFailed):
    id = "lab-busy"

    def __init__(self, lab: str, holder: str) -> None:
        super().__init__(
            f"Another k8slab command is at work on lab {lab}.",
            why=holder,
            remedy="Wait for it to end, or stop it; then run this again.",
        )


class LabChanged(StepFailed):
    id = "lab-changed"

    def __init__(self, lab: str) -> None:
        super().__init__(
            f"Lab {lab} is not what it was when this command began.",
            why="The command that it waited for gave the lab other machines.",
            remedy="Run this again: nothing was touched.",
        )


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a topology: where, what, what to do. ``line`` counts from 1; 0 means the file as a whole.

    ``setting`` is the ``key=value`` that was laid over the file when it is that which is wrong.
    """

    file: str
    line: int
    what: str
    remedy: str = ""
    setting: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        place = f"setting {self.setting}" if self.setting else place
        return f"{place}: {self.what}" + (f" {self.remedy}" if self.remedy else "")


class InvalidTopology(UsageError):
    id = "invalid-topology"

    def __init__(self, topology: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        only_settings = all(problem.setting for problem in self.problems)
        what = "what was set over the file" if only_settings else "the file"
        super().__init__(
            f"The topology {topology} has {count} problem{'s' * (count != 1)}.",
            remedy=f"Mend {what}; `k8slab topology validate {topology}` checks it without starting anything.",
            output="\n".join(map(str, self.problems)),
        )


class InvalidOptions(UsageError):
    id = "invalid-options"

    def __init__(self, package: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(
            f"The options for {package} have {count} problem{'s' * (count != 1)}.",
            remedy=f'Give a file of JSON or YAML with {{"{package}": {{OPTION: VALUE, …}}}} in it; '
            f"`k8slab package describe {package}` names every option.",
            output="\n".join(map(str, self.problems)),
        )


def _did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    names = sorted(set(known))
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known: {', '.join(names)} ({otherwise})." if names else f"See {otherwise}."
