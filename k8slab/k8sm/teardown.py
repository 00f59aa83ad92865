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
    daemon.configure_logging()
    logging.getLogger("kazoo").setLevel(logging.WARNING)
    try:
        asyncio.run(teardown(flags.mesos_master, flags.framework_name, flags.framework_hostname))
    except ValueError as error:
        parser.error(str(error))
    except (MesosError, TimeoutError) as error:
        log.error("not all is gone: %s", error or "the executors take too long to end")
        return 1
    return 0


async def teardown(master: str, name: str, hostname: str | None, *, patience: float = PATIENCE) -> list[str]:
    """Ids of the frameworks that were ended. Raises MesosError without a leader, TimeoutError if executors stay."""
    client = MasterClient(master, patience=patience)
    try:
        async with asyncio.timeout(patience):
            state = await client.state()
            ended = [one["id"] for one in state.get("frameworks", ()) if _is_meant(one, name, hostname)]
            for framework in ended:
                await client.teardown(framework)
                log.info("framework %s (%s) is ended", framework, name)
            agents = [one["pid"] for one in state.get("slaves", ()) if one.get("active")]
            await asyncio.gather(*(_without(agent, set(ended)) for agent in agents if ended))
    finally:
        await client.close()
    return ended


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
