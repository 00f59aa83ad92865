"""`km teardown`: ends frameworks in Mesos that nobody will come back for, and waits until their executors are gone.

A framework's id is kept in etcd. Where etcd is gone, the next scheduler registers as another framework, and the former
one's executors would linger on their agents for as long as its failover timeout.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from k8slab import daemon
from k8slab.mesos.client.errors import MesosError
from k8slab.mesos.client.operator import AgentClient, MasterClient

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 0.2
PATIENCE: Final = 30.0


def run(argv: Sequence[str]) -> int:
    parser = daemon.FlagParser(prog="km teardown", allow_abbrev=False, description="Ends frameworks in Mesos.")
    parser.flag("mesos-master", "zk://host:port,…/path or host:port", required=True)
    parser.flag("framework-name", "frameworks of this name", required=True)
    parser.flag("framework-hostname", "and of schedulers on this host; any unless given")
    parser.flag("v", "how much to log", default="0")
    flags = parser.parse_args(list(argv))
    try:
        daemon.configure_logging(daemon.whole("--v", flags.v) - 1)
        logging.getLogger("kazoo").setLevel(logging.WARNING)
        asyncio.run(teardown(flags.mesos_master, flags.framework_name, flags.framework_hostname))
    except ValueError as error:
        parser.error(str(error))
    except (MesosError, TimeoutError) as error:
        log.error("not all is gone: %s", error)
        return 1
    return 0


async def teardown(master: str, name: str, hostname: str | None, *, patience: float = PATIENCE) -> list[str]:
    """Ids of the frameworks that were ended. Raises MesosError without a leader, TimeoutError if executors stay."""
    client = MasterClient(master, patience=patience)
    try:
        state = await client.state()
        ended = [one["id"] for one in state.get("frameworks", ()) if _is_meant(one, name, hostname)]
        for framework in ended:
            await client.teardown(framework)
            log.info("framework %s (%s) is ended", framework, name)
    finally:
        await client.close()
    # Those of a teardown that was cut off have ended, and their executors may not have.
    before = [one["id"] for one in state.get("completed_frameworks", ()) if _is_meant(one, name, hostname)]
    agents = [one["pid"] for one in state.get("slaves", ()) if one.get("active")]
    if gone := {*ended, *before}:
        await _without_any(agents, gone, patience)
    return ended


async def _without_any(agents: Sequence[str], frameworks: set[str], patience: float) -> None:
    left = set(agents)

    async def wait_for(agent: str) -> None:
        await _without(agent, frameworks)
        left.discard(agent)

    try:
        async with asyncio.timeout(patience):
            await asyncio.gather(*(wait_for(agent) for agent in agents))
    except TimeoutError:
        where = ", ".join(sorted(left))
        raise TimeoutError(f"after {patience:g} s there are still executors at {where}") from None


def _is_meant(framework: Mapping[str, Any], name: str, hostname: str | None) -> bool:
    return framework.get("name") == name and hostname in (None, framework.get("hostname"))


async def _without(agent: str, frameworks: set[str]) -> None:
    """Returns when the agent has no executors of the frameworks. One that is away is told when it returns."""
    client = AgentClient(agent)
    try:
        while True:
            state = await client.state()
            if not frameworks.intersection(one["id"] for one in state.get("frameworks", ())):
                return
            await asyncio.sleep(LOOK_EVERY)
    except MesosError as error:
        log.warning("%s was not asked: %s", agent, error)
    finally:
        await client.close()
