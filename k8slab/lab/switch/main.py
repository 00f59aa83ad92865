"""``k8slab-switch``: wires the nodes of one lab (no argument), takes everything of the lab out of the host's network
(``clean``), or says what of it is there (``leftovers``, of any lab with ``--all``). The last two print JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from k8slab.lab.switch import names
from k8slab.lab.switch.config import DEFAULT_ENGINE, DEFAULT_STATE, ENGINE, STATE, Config, ConfigError
from k8slab.lab.switch.firewall import Firewall, FirewallError
from k8slab.lab.switch.wire import Link, WireError

_USAGE = "usage: k8slab-switch [clean | leftovers [--all]]"


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname).1s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    try:
        match words:
            case []:
                return asyncio.run(_serve(Config.from_environment(os.environ)))
            case ["clean"]:
                return asyncio.run(_clean(Config.from_environment(os.environ).lab))
            case ["leftovers"]:
                return asyncio.run(_leftovers(Config.from_environment(os.environ).lab))
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


async def _serve(config: Config) -> int:
    from k8slab.lab.switch.controller import Controller
    from k8slab.lab.switch.engine import Engine
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
        publish=partial(publish, path=Path(os.environ.get(STATE, DEFAULT_STATE))),
    )
    loop.add_signal_handler(signal.SIGHUP, controller.recheck)
    await controller.run()
    return 0


async def _clean(lab: str) -> int:
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
    bridge = next((link.name for link in links if link.name == names.bridge_name(lab)), None)
    wires = [{"name": link.name, "altname": link.altname} for link in links if link.name != bridge]
    return {"links": wires, "bridge": bridge}


if __name__ == "__main__":
    raise SystemExit(main())
