"""``mesos-master``: flags, election, serving."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from k8slab import daemon
from k8slab.mesos.authentication import Authentication, Realm
from k8slab.mesos.files import Files
from k8slab.mesos.flags import Flags, host_address, http_authentication
from k8slab.mesos.http import serve
from k8slab.mesos.log_file import LOG_FLAGS, log_as_told, served_log
from k8slab.mesos.master.allocator import minimums
from k8slab.mesos.master.master import Master
from k8slab.mesos.master.membership import MembershipOptions, parse_percentage, parse_rate
from k8slab.mesos.master.options import MasterOptions
from k8slab.mesos.master.registrar import Nothing, Registrar, RegistryError, Storage
from k8slab.mesos.master.routes import routes
from k8slab.mesos.master.storage import FileStorage, ZooKeeperStorage
from k8slab.mesos.zookeeper import Leadership, MasterGroup, ZooKeeperAddress

log = logging.getLogger("mesos-master")

PROGRAM = "mesos-master"
REGISTRY = "replicated_log"

FLAGS: dict[str, tuple[str | None, str]] = {
    "zk": (None, "where the masters elect: zk://host:port,…/path; without it this master leads alone"),
    "quorum": (None, "required with zk and registry=replicated_log, and only that: ZooKeeper alone elects"),
    "ip": (None, "address to listen on and to be known by"),
    "port": ("5050", "port to listen on"),
    "hostname": (None, "name to be known by"),
    "work_dir": (
        None,
        "required unless registry=in_memory; a master that leads alone keeps its registry there",
    ),
    "cluster": ("", "name of the cluster, shown to people"),
    "registry": (
        "replicated_log",
        "replicated_log: kept in ZooKeeper, without zk in work_dir; in_memory: not kept",
    ),
    "registry_fetch_timeout": ("1mins", "how long a new leader may take to read the registry before it gives up"),
    "registry_store_timeout": ("20secs", "how long a change of the registry may take before the leader gives up"),
    "registry_gc_interval": ("15mins", "how often entries of unreachable and gone agents that are too many or old go"),
    "registry_max_agent_age": ("2weeks", "how long unreachable and gone agents are remembered"),
    "registry_max_agent_count": ("102400", "how many unreachable, and how many gone agents are remembered"),
    "agent_removal_rate_limit": (None, "at most so many agents become unreachable, as in 1/10mins; any unless set"),
    "recovery_agent_removal_limit": (
        "100%",
        "a new leader ends instead when more of the registry's agents than this did not return to it",
    ),
    "zk_session_timeout": ("10secs", "ZooKeeper session: how long a dead leader is still believed to lead"),
    "allocation_interval": ("1secs", "how often free resources are offered"),
    "agent_ping_timeout": ("15secs", "how long an agent may take to answer a ping"),
    "max_agent_ping_timeouts": ("5", "how many pings an agent may miss before it counts as unreachable"),
    "agent_reregister_timeout": (
        "10mins",
        "how long a new leader waits for the registry's agents; those that have not returned then are unreachable",
    ),
    "offer_timeout": (None, "rescind offers not used within this time; never unless set"),
    "min_allocatable_resources": (
        "cpus:0.01|mem:32",
        "less than any of these is not offered",
    ),
    "roles": (None, "comma-separated roles frameworks may use; any unless set"),
    "root_submissions": ("true", "whether frameworks may run as root"),
    **LOG_FLAGS,
    "logging_level": ("INFO", "INFO, WARNING or ERROR"),
    "authenticate_frameworks": ("false", "only false"),
    "authenticate_agents": ("false", "only false"),
    "credentials": (None, "file of principals and secrets, as JSON or one pair a line"),
    "authenticate_http_frameworks": ("false", "whether the scheduler API asks who is calling"),
    "http_framework_authenticators": (None, "basic, required with authenticate_http_frameworks"),
    "authenticate_http_readonly": ("false", "whether routes that only show ask who is calling"),
    "authenticate_http_readwrite": ("false", "whether the operator API and what changes anything ask who is calling"),
    "http_authenticators": ("basic", "only basic"),
}
ALIASES = {
    "slave_ping_timeout": "agent_ping_timeout",
    "max_slave_ping_timeouts": "max_agent_ping_timeouts",
    "slave_reregister_timeout": "agent_reregister_timeout",
    "slave_removal_rate_limit": "agent_removal_rate_limit",
    "recovery_slave_removal_limit": "recovery_agent_removal_limit",
    "authenticate_slaves": "authenticate_agents",
}


@dataclass(frozen=True)
class Settings:
    """What is not the books' business. ``work_dir`` is None when nothing is kept. Times in seconds."""

    zk: ZooKeeperAddress | None
    session_timeout: float
    work_dir: Path | None
    fetch_timeout: float
    store_timeout: float
    membership: MembershipOptions


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    flags = Flags.parse(PROGRAM, FLAGS, argv, aliases=ALIASES, paths={"credentials"})
    daemon.configure_logging()
    logging.getLogger("kazoo").setLevel(logging.WARNING)
    log_as_told(flags, PROGRAM)
    ip = host_address(flags)
    roles = flags.text("roles")
    options = MasterOptions(
        ip=ip,
        port=flags.port("port"),
        hostname=flags.text("hostname") or ip,
        cluster=flags.text("cluster") or "",
        allocation_interval=flags.interval("allocation_interval"),
        agent_ping_timeout=flags.interval("agent_ping_timeout"),
        max_agent_ping_timeouts=flags.whole("max_agent_ping_timeouts", 1),
        offer_timeout=flags.seconds("offer_timeout") if flags.text("offer_timeout") else None,
        min_allocatable=flags.read("min_allocatable_resources", minimums),
        roles=frozenset(roles.split(",")) if roles else None,
        root_submissions=flags.boolean("root_submissions"),
        flags=flags.shown(),
    )
    zk = flags.read("zk", ZooKeeperAddress.parse) if flags.text("zk") else None
    if zk is not None and flags.text("registry") == "replicated_log":
        flags.whole("quorum", 1)
    flags.refuse_when_true("authenticate_frameworks", "authenticate_agents")
    authentication = http_authentication(flags, "mesos-master", credentials="credentials", realms=Realm)
    settings = Settings(
        zk=zk,
        session_timeout=flags.interval("zk_session_timeout"),
        work_dir=Path(flags.required("work_dir")) if flags.read("registry", _kept) else None,
        fetch_timeout=flags.seconds("registry_fetch_timeout"),
        store_timeout=flags.seconds("registry_store_timeout"),
        membership=MembershipOptions(
            reregister_timeout=flags.seconds("agent_reregister_timeout"),
            removal_interval=flags.read("agent_removal_rate_limit", parse_rate)
            if flags.text("agent_removal_rate_limit")
            else 0.0,
            recovery_removal_limit=flags.read("recovery_agent_removal_limit", parse_percentage),
            gc_interval=flags.interval("registry_gc_interval"),
            max_age=flags.seconds("registry_max_agent_age"),
            max_count=flags.whole("registry_max_agent_count"),
        ),
    )
    return daemon.run(lambda stop: _serve(options, settings, authentication, stop))


def _kept(registry: str) -> bool:
    if registry not in ("replicated_log", "in_memory"):
        raise ValueError(f"expected replicated_log or in_memory, got {registry!r}")
    return registry == "replicated_log"


async def _serve(
    options: MasterOptions, settings: Settings, authentication: Authentication, stop: asyncio.Event
) -> int:
    """Serve until told to stop (0), or until leadership or the registry is lost (1): nothing a former leader knows can
    be trusted."""
    failed = asyncio.Event()

    def fail(reason: str) -> None:
        log.error("%s: exiting", reason)
        failed.set()
        stop.set()

    election = Election(options, settings, on_failure=fail)
    master = election.master
    files = Files()
    if (written := served_log(options.flags, PROGRAM)) is not None:
        files.attach("/master/log", written)
    runner = await serve(routes(master, files, authentication), host=options.ip, port=options.port)
    log.info("%s serves at http://%s:%d", master.master_id, options.ip, options.port)
    await election.begin()
    daemon.notify_ready()
    allocating = asyncio.create_task(_allocate(master, options.allocation_interval))
    try:
        await stop.wait()
    finally:
        allocating.cancel()
        await election.close()
        await runner.cleanup()
    return 1 if failed.is_set() else 0


class Election:
    """Makes the master lead once it is elected and its registry is recovered; without ZooKeeper that is at once."""

    def __init__(self, options: MasterOptions, settings: Settings, *, on_failure: Callable[[str], None]) -> None:
        self._fail = on_failure
        self._recovering: asyncio.Task[None] | None = None
        self._group: MasterGroup | None = None
        storage: Storage = Nothing()
        if settings.zk is not None:
            self._group = MasterGroup(settings.zk, session_timeout=settings.session_timeout, on_change=self._changed)
        if settings.work_dir is not None:
            storage = ZooKeeperStorage(self._group) if self._group else FileStorage(settings.work_dir / REGISTRY)
        registrar = Registrar(
            storage,
            fetch_timeout=settings.fetch_timeout,
            store_timeout=settings.store_timeout,
            on_failure=on_failure,
        )
        self.master = Master(options, registrar, settings.membership, on_failure=on_failure)

    async def begin(self) -> None:
        if self._group is not None:
            self._group.start(self.master.info)
        else:
            self.master.lead()
            await self._recover()

    async def close(self) -> None:
        self.master.membership.close()
        if self._recovering is not None:
            self._recovering.cancel()
        if self._group is not None:
            await self._group.close()

    def _changed(self, leadership: Leadership) -> None:
        master = self.master
        if master.elected and not leadership.own:
            self._fail("lost leadership")
            return
        master.leader = leadership.info
        if not leadership.own and leadership.info is not None and leadership.info.get("pid") == master.pid:
            # The znode of this address' former process: its session has not expired yet, and nobody leads until then.
            master.leader = None
        if leadership.own and not master.elected:
            master.lead()
            self._recovering = asyncio.create_task(self._recover())
        elif master.leader is not None:
            log.info("%s leads", master.leader.get("pid"))
        else:
            log.info("nobody leads")

    async def _recover(self) -> None:
        try:
            await self.master.membership.recover()
        except RegistryError as error:
            self._fail(str(error))


async def _allocate(master: Master, interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        if master.membership.recovered:
            master.offers.allocate()


if __name__ == "__main__":
    raise SystemExit(main())
