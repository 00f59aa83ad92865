"""`km`: one program, many servers, as the original has it. Each is imported only when it is the one to run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from k8slab import __version__

SERVERS: Final = {
    "apiserver": ("k8slab.kube.api.main", "serves the Kubernetes API from etcd"),
    "controller-manager": ("k8slab.kube.controllers.main", "runs the controllers that keep the declared state"),
    "scheduler": ("k8slab.k8sm.scheduler.main", "the Mesos framework: places pods on offers"),
    "proxy": ("k8slab.kube.proxy.main", "makes a node forward what is sent to services"),
    "dns": ("k8slab.kube.dns.main", "answers for the names of services"),
    "minion": ("k8slab.k8sm.minion.main", "runs a minion's executor and its service proxy"),
    "executor": ("k8slab.k8sm.executor.main", "the Mesos executor: runs a minion's pods"),
    "monitor": ("k8slab.k8sm.monitor", "tells a webhook how an installed package fares"),
    "teardown": ("k8slab.k8sm.teardown", "ends frameworks in Mesos that nobody will come back for"),
}

# The names under which the first versions built each of them as a program of its own.
PROGRAMS: Final = {
    "kube-apiserver": "apiserver",
    "k8sm-controller-manager": "controller-manager",
    "k8sm-scheduler": "scheduler",
    "k8sm-executor": "executor",
    "kube-proxy": "proxy",
    "kube-dns": "dns",
}

USAGE: Final = "usage: km SERVER [FLAGS]   (km SERVER --help names the flags)"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _called() if argv is None else list(argv)
    command = arguments[0] if arguments else ""
    if command in SERVERS:
        run: Callable[[Sequence[str]], int] = importlib.import_module(SERVERS[command][0]).run
        return run(arguments[1:])
    if command in ("version", "--version"):
        print(f"km (k8slab) {__version__}")
        return 0
    if command in ("help", "--help", "-h"):
        print(_help())
        return 0
    known = ", ".join([*SERVERS, "help", "version"])
    print(f"km: {f'unknown server {command!r}' if command else 'no server given'}; known: {known}", file=sys.stderr)
    print(USAGE, file=sys.stderr)
    return 2


def _called() -> list[str]:
    """The words of the command line; a name that means one server stands for that server's word."""
    server = PROGRAMS.get(Path(sys.argv[0]).name)
    return [server, *sys.argv[1:]] if server else sys.argv[1:]


def _help() -> str:
    width = max(map(len, SERVERS))
    return "\n".join([USAGE, "", *(f"  {name:<{width}}  {text}" for name, (_, text) in SERVERS.items())])


if __name__ == "__main__":
    raise SystemExit(main())
