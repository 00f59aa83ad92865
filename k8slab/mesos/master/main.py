"""``mesos-master``: flags, election, serving."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from k8slab import daemon
from k8slab.mesos.files import Files
from k8slab.mesos.flags import Flags, host_address
from k8slab.mesos.http import serve
from k8slab.mesos.master.allocator import minimums
from k8slab.mesos.master.master import Master, MasterOptions
from k8slab.mesos.master.routes import routes
from k8slab.mesos.zookeeper import Leadership, MasterGroup, ZooKeeperAddress

log = logging.getLogger("mesos-master")

LOG_FILE = "mesos-master.INFO"

FLAGS: dict[str, tuple[str | None, str]] = {
    "zk": (None, "where the masters elect: zk://host:port,…/path; without it this master leads alone"),
    "quorum": (None, "required with zk and registry=replicated_log, and only that: ZooKeeper alone elects"),
    "ip": (None, "address to listen on and to be known by"),
    "port": ("5050", "port to listen on"),
    "hostname": (None, "name to be known by"),
    "work_dir": (
        None,
        "required unless registry=in_memory; nothing is written there",
    ),
    "cluster": ("", "name of the cluster, shown to people"),
    "registry": (
        "replicated_log",
        "replicated_log or in_memory: both are in memory here; returning agents fill the books",
    ),
    "zk_session_timeout": ("10secs", "ZooKeeper session: how long a dead leader is still believed to lead"),
    "allocation_interval": ("1secs", "how often free resources are offered"),
    "agent_ping_timeout": ("15secs", "how long an agent may take to answer a ping"),
    "max_agent_ping_timeouts": ("5", "how many pings an agent may miss before it counts as unreachable"),
    "agent_reregister_timeout": (
        "10mins",
        "how long a new leader answers nothing about tasks of agents it has not seen; none is removed after it",
    ),
    "offer_timeout": (None, "rescind offers not used within this time; never unless set"),
    "min_allocatable_resources": (
        "cpus:0.01|mem:32",
        "less than any of these is not offered",
    ),
    "roles": (None, "comma-separated roles frameworks may use; any unless set"),
    "root_submissions": ("true", "whether frameworks may run as root"),
    "log_dir": (
        None,
        "also log to mesos-master.INFO in this directory, served as /master/log; stderr alone unless set",
    ),
    "logging_level": ("INFO", "INFO, WARNING or ERROR"),
    "authenticate_frameworks": ("false", "only false"),
    "authenticate_agents": ("false", "only false"),
    "authenticate_http_frameworks": ("false", "only false"),
}
ALIASES = {
    "slave_ping_timeout": "agent_ping_timeout",
    "max_slave_ping_timeouts": "max_agent_ping_timeouts",
    "slave_reregister_timeout": "agent_reregister_timeout",
    "authenticate_slaves": "authenticate_agents",
}


# Each allocation makes thousands of objects that die at once. At Python's own thresholds the search for cycles among
# all the others, every few hundred objects, makes up half of the slowest allocations.
GARBAGE_THRESHOLDS = (10_000, 50, 100)


def main(argv: Sequence[str] | None = None) -> int:
    flags = Flags.parse("mesos-master", FLAGS, sys.argv[1:] if argv is None else argv, aliases=ALIASES)
    daemon.configure_logging()
    logging.getLogger("kazoo").setLevel(logging.WARNING)
    if log_dir := flags.text("log_dir"):
        _log_into(Path(log_dir))
    ip = host_address(flags.text("ip"))
    roles = flags.text("roles")
    options = MasterOptions(
        ip=ip,
        port=flags.read("port", int),
        hostname=flags.text("hostname") or ip,
        cluster=flags.text("cluster") or "",
        allocation_interval=flags.seconds("allocation_interval"),
        agent_ping_timeout=flags.seconds("agent_ping_timeout"),
        max_agent_ping_timeouts=flags.read("max_agent_ping_timeouts", int),
        agent_reregister_timeout=flags.seconds("agent_reregister_timeout"),
        offer_timeout=flags.seconds("offer_timeout") if flags.text("offer_timeout") else None,
        min_allocatable=flags.read("min_allocatable_resources", minimums),
        roles=frozenset(roles.split(",")) if roles else None,
        root_submissions=flags.boolean("root_submissions"),
        flags=flags.shown(),
    )
    zk = flags.read("zk", ZooKeeperAddress.parse) if flags.text("zk") else None
    if zk is not None and flags.text("registry") == "replicated_log":
        flags.required("quorum")
    if flags.text("registry") != "in_memory":
        flags.required("work_dir")
    flags.refuse_when_true("authenticate_frameworks", "authenticate_agents", "authenticate_http_frameworks")
    session_timeout = flags.seconds("zk_session_timeout")
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    return daemon.run(lambda stop: _serve(options, zk, session_timeout, stop))


def _log_into(directory: Path) -> None:
    """Raises SystemExit when that cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(directory / LOG_FILE)
    except OSError as error:
        raise SystemExit(f"cannot log into {directory}: {error.strerror}") from error
    root = logging.getLogger()
    if root.handlers:
        handler.setFormatter(root.handlers[0].formatter)
    root.addHandler(handler)


async def _serve(
    options: MasterOptions, zk: ZooKeeperAddress | None, session_timeout: float, stop: asyncio.Event
) -> int:
    """Serve until told to stop (0) or until leadership is lost (1): nothing a former leader knows can be trusted."""
    master = Master(options)
    failed = asyncio.Event()
    files = Files()
    if log_dir := options.flags.get("log_dir"):
        files.attach("/master/log", Path(log_dir) / LOG_FILE)
    runner = await serve(routes(master, files), host=options.ip, port=options.port)
    log.info("%s serves at http://%s:%d", master.master_id, options.ip, options.port)
    daemon.notify_ready()

    def changed(leadership: Leadership) -> None:
        if master.elected and not leadership.own:
            log.error("lost leadership: exiting")
            failed.set()
            stop.set()
            return
        master.leader = leadership.info
        if not leadership.own and leadership.info is not None and leadership.info.get("pid") == master.pid:
            # The znode of this address' former process: its session has not expired yet, and nobody leads until then.
            master.leader = None
        if leadership.own and not master.elected:
            master.lead()
        elif master.leader is not None:
            log.info("%s leads", master.leader.get("pid"))
        else:
            log.info("nobody leads")

    group: MasterGroup | None = None
    if zk is None:
        master.lead()
    else:
        group = MasterGroup(zk, session_timeout=session_timeout, on_change=changed, candidate=master.info)
        group.start()
    allocating = asyncio.create_task(_allocate(master, options.allocation_interval))
    try:
        await stop.wait()
    finally:
        allocating.cancel()
        if group is not None:
            await group.close()
        await runner.cleanup()
    return 1 if failed.is_set() else 0


async def _allocate(master: Master, interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        if master.elected:
            master.offers.allocate()


if __name__ == "__main__":
    raise SystemExit(main())
