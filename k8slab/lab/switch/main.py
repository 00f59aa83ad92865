"""``k8slab-switch``: wires the nodes of one lab (no argument).

``recheck`` asks the running switch to look at every wire anew and to mend what is broken, ``clean`` takes everything of
the lab out of the host's network, ``leftovers`` says what of it is there (of any lab with ``--all``); the last two
print JSON. A recheck is also what SIGHUP asks for, but ``docker kill --signal HUP`` counts as a stop for the engine's
restart policy and must not be used: a switch that got one does not come back with the engine.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k8slab.lab.switch.config import (
    DEFAULT_ENGINE,
    DEFAULT_STATE,
    ENGINE,
    STATE,
    Config,
    ConfigError,
    lab_from_environment,
)

if TYPE_CHECKING:
    from k8slab.lab.switch.wire import Link

_USAGE = "usage: k8slab-switch [recheck | clean | leftovers [--all]]"


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["recheck"]:
        # Called for each node that somebody waits for: no time for imports.
        return _recheck(_state_path())
    import asyncio

    from k8slab.lab.switch.firewall import FirewallError
    from k8slab.lab.switch.wire import WireError

    _configure_logging()
    try:
        match words:
            case []:
                config = Config.from_environment(os.environ)
                _forget(_state_path())
                return asyncio.run(_serve(config))
            case ["clean"]:
                from k8slab.lab.switch.survey import forget_neighbours

                lab = lab_from_environment(os.environ)
                forget_neighbours(lab)
                return asyncio.run(_clean(lab))
            case ["leftovers"]:
                return asyncio.run(_leftovers(lab_from_environment(os.environ)))
            case ["leftovers", "--all"]:
                return asyncio.run(_leftovers(""))
            case ["-h" | "--help"]:
                print(_USAGE)
                return 0
            case _:
                print(_USAGE, file=sys.stderr)
                return 2
    except (ConfigError, WireError, FirewallError) as error:
        print(f"k8slab-switch: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


def _configure_logging() -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname).1s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )


def _state_path() -> Path:
    return Path(os.environ.get(STATE, DEFAULT_STATE))


def _forget(path: Path) -> None:
    """What the run before this one published is not so any more."""
    from k8slab.lab.switch.state import State, publish

    publish(State(), path)


async def _serve(config: Config) -> int:
    import asyncio

    from k8slab.lab.switch.controller import Controller
    from k8slab.lab.switch.engine import Engine
    from k8slab.lab.switch.firewall import Firewall
    from k8slab.lab.switch.kernel import KernelWire
    from k8slab.lab.switch.state import publish

    loop = asyncio.get_running_loop()
    # The wires stay: whoever stops the switch may be the engine, about to start it again.
    loop.add_signal_handler(signal.SIGTERM, partial(os._exit, 0))
    controller = Controller(
        config,
        engine=Engine(os.environ.get(ENGINE, DEFAULT_ENGINE)),
        wire=KernelWire(),
        firewall=Firewall(config.lab),
        publish=partial(publish, path=_state_path()),
    )
    loop.add_signal_handler(signal.SIGHUP, controller.recheck)
    await controller.run()
    return 0


def _recheck(path: Path) -> int:
    try:
        pid = int(json.loads(path.read_text())["pid"])
        # The number may be another process' by now; the switch is in this container, so in this mount namespace.
        if pid and os.path.samestat(os.stat(f"/proc/{pid}/ns/mnt"), os.stat("/proc/self/ns/mnt")):  # noqa: PTH116
            os.kill(pid, signal.SIGHUP)
            return 0
    except (OSError, ValueError, KeyError) as error:
        print(f"k8slab-switch: no switch runs here ({error}).", file=sys.stderr)
        return 1
    # It has only just started, and looks at every wire anyway.
    return 0


async def _clean(lab: str) -> int:
    from k8slab.lab.switch.firewall import Firewall
    from k8slab.lab.switch.kernel import KernelWire

    firewall, wire = Firewall(lab), KernelWire()
    try:
        # Rules first: they name the bridge.
        rules = await firewall.remove()
        links = await wire.remove(lab)
    finally:
        wire.close()
    print(json.dumps({"schema": 1, "lab": lab, **_sorted_out(lab, links), "rules": rules}))
    return 0


async def _leftovers(lab: str) -> int:
    from k8slab.lab.switch.firewall import Firewall
    from k8slab.lab.switch.kernel import KernelWire

    wire = KernelWire()
    try:
        links = await wire.links(lab)
    finally:
        wire.close()
    rules = await Firewall(lab).leftovers()
    labs = sorted({link.lab for link in links} | {owner for owner, _ in rules} | ({lab} if lab else set()))
    answer = {
        each: {
            **_sorted_out(each, [link for link in links if link.lab == each]),
            "rules": [text for owner, text in rules if owner == each],
        }
        for each in labs
    }
    print(json.dumps({"schema": 1, "lab": lab, **answer[lab]} if lab else {"schema": 1, "labs": answer}))
    return 0


def _sorted_out(lab: str, links: Sequence[Link]) -> dict[str, Any]:
    """Wires as {"name", "altname"}, and the name of the lab's own bridge, null when there is none."""
    from k8slab.lab.switch import names

    bridge = next((link.name for link in links if link.name == names.bridge_name(lab)), None)
    wires = [{"name": link.name, "altname": link.altname} for link in links if link.name != bridge]
    return {"links": wires, "bridge": bridge}


if __name__ == "__main__":
    raise SystemExit(main())
