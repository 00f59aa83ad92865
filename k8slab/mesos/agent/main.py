"""``mesos-slave`` (also ``mesos-agent``): flags, recovery, serving, registration."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from k8slab import daemon
from k8slab.mesos.agent import views
from k8slab.mesos.agent.agent import Agent
from k8slab.mesos.agent.checkpoint import Checkpoint
from k8slab.mesos.agent.collector import SandboxCollector
from k8slab.mesos.agent.docker_cleaner import DockerCleaner
from k8slab.mesos.agent.executor_api import ExecutorApi
from k8slab.mesos.agent.fetching import FetcherCache
from k8slab.mesos.agent.isolation import Isolation
from k8slab.mesos.agent.launcher import Launcher, LauncherOptions
from k8slab.mesos.agent.launches import Launches
from k8slab.mesos.agent.leaving import leave
from k8slab.mesos.agent.master_link import MasterLink
from k8slab.mesos.agent.operator_api import OperatorApi
from k8slab.mesos.agent.options import AgentOptions
from k8slab.mesos.agent.paths import Paths
from k8slab.mesos.agent.processes import kill_tree
from k8slab.mesos.agent.recovery import Incompatible, await_executors, check_compatible, recover
from k8slab.mesos.attributes import parse_attributes
from k8slab.mesos.authentication import Authentication, Realm
from k8slab.mesos.builtin_routes import add_builtin_routes
from k8slab.mesos.client.detector import MasterDetector
from k8slab.mesos.durations import parse_bytes
from k8slab.mesos.files import Files
from k8slab.mesos.flags import Flags, host_address, http_authentication
from k8slab.mesos.http import Routes, json_answer, serve
from k8slab.mesos.log_file import LOG_FLAGS, log_as_told, served_log
from k8slab.mesos.log_level import LogLevel
from k8slab.mesos.resources import Resources

log = logging.getLogger("mesos-slave")

PROGRAM = "mesos-slave"
DEFAULT_PORTS = "ports:[31000-32000]"

FLAGS: dict[str, tuple[str | None, str]] = {
    "master": (None, "where the master is: zk://host:port,…/path or host:port"),
    "ip": (None, "address to listen on and to be known by"),
    "port": ("5051", "port to listen on"),
    "hostname": (None, "name to be known by"),
    "work_dir": (None, "where sandboxes and what survives a restart are kept"),
    "resources": ("", "what this agent offers, such as cpus:4;mem:4096;ports:[31000-32000]; the rest is detected"),
    "attributes": ("", "what this agent is, such as rack:r0;level:3"),
    "registration_backoff_factor": ("1secs", "longest wait before the first registration with a new leader"),
    "executor_registration_timeout": ("1mins", "how long a new executor may take to subscribe"),
    "executor_reregistration_timeout": ("2secs", "how long executors may take to return after an agent restart"),
    "executor_shutdown_grace_period": ("5secs", "how long an executor may take to shut down"),
    "executor_environment_variables": (None, "JSON object of variables that every executor gets"),
    "recover": ("reconnect", "reconnect with living executors, or cleanup: kill them and exit"),
    "recovery_timeout": ("15mins", "how long executors wait for their agent"),
    "reconfiguration_policy": ("equal", "equal: same resources and attributes as before; additive: more is fine"),
    "strict": ("true", "accepted"),
    "switch_user": ("true", "whether tasks run as their framework's user"),
    "zk_session_timeout": ("10secs", "ZooKeeper session for finding the master"),
    "boot_id": ("/proc/sys/kernel/random/boot_id", "file naming this boot; MESOS_BOOT_ID_FILE overrides it"),
    "containerizers": ("mesos", "mesos and docker, in the order of their preference"),
    "docker_socket": ("/var/run/docker.sock", "the engine that runs tasks with a container of type DOCKER"),
    "docker_remove_delay": ("6hrs", "how long an ended container stays in the engine"),
    "docker_kill_orphans": ("true", "whether containers that no executor stands for are killed at start"),
    "sandbox_directory": ("/mnt/mesos/sandbox", "where a container with an own file system sees its sandbox"),
    "isolation": ("posix/cpu,posix/mem", "posix/cpu or cgroups/cpu, posix/mem or cgroups/mem"),
    "cgroups_enable_cfs": ("false", "whether cpus are a ceiling, not only a share, with cgroups/cpu"),
    "cgroups_root": ("mesos", "the control group below which this agent alone has containers"),
    "gc_delay": ("1weeks", "how long sandboxes of ended executors stay; less when the disk fills"),
    "gc_disk_headroom": ("0.1", "the share of the disk that should stay free"),
    "disk_watch_interval": ("1mins", "how often the disk is looked at"),
    "fetcher_cache_size": ("2GB", "how much of what was fetched is kept"),
    "launcher": ("posix", "accepted"),
    **LOG_FLAGS,
    "logging_level": ("INFO", "INFO, WARNING or ERROR"),
    "http_credentials": (None, "file of principals and secrets, as JSON or one pair a line"),
    "authenticate_http_readonly": ("false", "whether routes that only show ask who is calling"),
    "authenticate_http_readwrite": ("false", "whether the operator API and what changes anything ask who is calling"),
    "http_authenticators": ("basic", "only basic"),
}
LIMITS_SECONDS = 1.0
LONGEST_REREGISTRATION_SECONDS = 15.0


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    flags = Flags.parse(PROGRAM, FLAGS, argv, paths={"http_credentials"})
    daemon.configure_logging()
    log_as_told(flags, PROGRAM)
    logging.getLogger("kazoo").setLevel(logging.WARNING)
    work_dir = Path(flags.required("work_dir")).absolute()
    flags.read("master", _master)
    ip = host_address(flags)
    port = flags.port("port")
    quota = flags.boolean("cgroups_enable_cfs")
    isolation = flags.read(
        "isolation", lambda text: Isolation.parse(text, quota=quota, root=flags.required("cgroups_root"))
    )
    containerizers = flags.read("containerizers", _containerizers)
    docker_socket = Path(flags.required("docker_socket"))
    docker = (
        DockerCleaner(
            docker_socket,
            remove_delay=flags.seconds("docker_remove_delay"),
            kill_orphans=flags.boolean("docker_kill_orphans"),
        )
        if "docker" in containerizers
        else None
    )
    cache = FetcherCache(work_dir / "fetch", size=flags.read("fetcher_cache_size", parse_bytes))
    launcher = Launcher(
        LauncherOptions(
            ip=ip,
            port=port,
            shutdown_grace=flags.seconds("executor_shutdown_grace_period"),
            recovery_timeout=flags.seconds("recovery_timeout"),
            switch_user=flags.boolean("switch_user"),
            containerizers=containerizers,
            docker_socket=docker_socket,
            docker_quota=quota,
            sandbox_directory=flags.required("sandbox_directory"),
            environment=flags.read("executor_environment_variables", _variables)
            if flags.text("executor_environment_variables")
            else {},
        ),
        cache=cache,
        docker=docker,
    )
    authentication = http_authentication(
        flags, "mesos-agent", credentials="http_credentials", realms=(Realm.READONLY, Realm.READWRITE)
    )
    info: dict[str, Any] = {
        "hostname": flags.text("hostname") or ip,
        "port": port,
        "resources": _resources(flags).to_json(),
        "attributes": flags.read("attributes", parse_attributes) if flags.text("attributes") else [],
        "checkpoint": True,
    }
    options = AgentOptions(
        executor_registration_timeout=flags.seconds("executor_registration_timeout"),
        executor_reregistration_timeout=min(
            flags.seconds("executor_reregistration_timeout"), LONGEST_REREGISTRATION_SECONDS
        ),
        executor_shutdown_grace_period=flags.seconds("executor_shutdown_grace_period"),
        flags=flags.shown(),
    )
    return daemon.run(lambda stop: _serve(flags, work_dir, info, options, launcher, isolation, authentication, stop))


async def _serve(
    flags: Flags,
    work_dir: Path,
    info: dict[str, Any],
    options: AgentOptions,
    launcher: Launcher,
    isolation: Isolation,
    authentication: Authentication,
    stop: asyncio.Event,
) -> int:
    """Serve until told to stop. Executors are left alone: those of checkpointing frameworks wait for the next agent."""
    checkpoint = Checkpoint(Paths(work_dir))
    before = checkpoint.recover_agent()
    if before is not None:
        try:
            check_compatible(before, info, policy=flags.required("reconfiguration_policy"))
        except Incompatible as error:
            print(
                f"mesos-slave: incompatible agent info: {error}. Either start it as before, or forget it: "
                f"rm -f {checkpoint.paths.latest_agent}",
                file=sys.stderr,
            )
            return 1
        info = {**info, "id": before["id"]}
        checkpoint.write_agent(info)
    same_boot = checkpoint.same_boot(_boot_id(flags))
    detector = MasterDetector(flags.required("master"), session_timeout=flags.interval("zk_session_timeout"))
    link = MasterLink(detector, backoff=flags.seconds("registration_backoff_factor"), on_registered=daemon.notify_ready)
    pid = f"slave(1)@{launcher.options.ip}:{launcher.options.port}"
    agent = Agent(
        info,
        pid=pid,
        options=options,
        launcher=launcher,
        checkpoint=checkpoint,
        send=link.send,
        isolation=isolation,
    )
    alive = recover(agent, same_boot=same_boot) if before is not None else []
    if flags.text("recover") == "cleanup":
        for executor in alive:
            if executor.process is not None:
                kill_tree(executor.process.pid)
        try:
            await launcher.end_all(work_dir)
        except OSError as error:
            print(f"mesos-slave: containers may be left in the engine: {error}", file=sys.stderr)
            return 1
        checkpoint.forget_agent()
        return 0
    launches = Launches(agent)
    executor_api = ExecutorApi(agent, launches)
    executor_api.recovering = False
    table = _routes(agent, link, executor_api, authentication)
    runner = await serve(table, host=launcher.options.ip, port=launcher.options.port)
    log.info("agent serves at http://%s:%d", launcher.options.ip, launcher.options.port)
    collector = SandboxCollector(
        checkpoint.paths,
        delay=flags.seconds("gc_delay"),
        headroom=flags.share("gc_disk_headroom"),
        interval=flags.interval("disk_watch_interval"),
    )
    loop = asyncio.get_running_loop()
    farewell = agent.farewell = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, agent.order_to_leave, "asked to by SIGUSR1")
    running = asyncio.create_task(_run(agent, link, launches, alive, collector))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping, farewell}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        if farewell.done():
            await link.unregister()
            await leave(agent, message=farewell.result())
    finally:
        for task in (running, stopping):
            task.cancel()
        await detector.close()
        await launcher.close()
        await runner.cleanup()
    return 0


async def _run(
    agent: Agent, link: MasterLink, launches: Launches, alive: list[Any], collector: SandboxCollector
) -> None:
    executors = [executor for framework in agent.frameworks.values() for executor in framework.executors.values()]
    agent.isolation.release_unknown(executor.container_id for executor in executors)
    agent.launcher.end_strays(agent.checkpoint.paths.work_dir, executors)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch_limits(agent))
        tasks.create_task(collector.run(agent))
        await await_executors(agent, alive)
        tasks.create_task(link.run(agent, launches))


async def _watch_limits(agent: Agent) -> None:
    while True:
        await asyncio.sleep(LIMITS_SECONDS)
        agent.check_limits()


def _routes(agent: Agent, link: MasterLink, executor_api: ExecutorApi, authentication: Authentication) -> Routes:
    table = Routes("slave(1)", authentication)

    def show(path: str, view: Any, *, realm: Realm | None = Realm.READONLY) -> None:
        async def handler(request: web.Request) -> web.Response:
            return json_answer(request, view())

        table.add(path, handler, realm=realm)

    async def health(_request: web.Request) -> web.Response:
        return web.Response()

    table.add("/api/v1/executor", executor_api)
    table.add("/health", health)
    files, log_level = _files(agent), LogLevel()
    files.add_to(table)
    log_level.add_to(table)
    add_builtin_routes(table, "slave(1)")
    operator_api = OperatorApi(agent, files, log_level, registered=lambda: link.registered)
    table.add("/api/v1", operator_api, realm=Realm.READWRITE)
    table.add("/api/v1/operator", operator_api, realm=Realm.READWRITE)
    show("/state", lambda: views.state(agent, master=link.master))
    show("/state.json", lambda: views.state(agent, master=link.master))
    show("/containers", lambda: views.containers(agent))
    show("/monitor/statistics", lambda: views.statistics(agent))
    show("/monitor/statistics.json", lambda: views.statistics(agent))
    show("/version", views.version, realm=None)
    show("/flags", lambda: {"flags": dict(agent.options.flags)})
    show("/metrics/snapshot", lambda: views.metrics(agent, registered=link.registered))
    return table


def _files(agent: Agent) -> Files:
    """Sandboxes, by their path on this machine and by the names of their executors; the agent's log."""
    files = Files()
    sandboxes = agent.checkpoint.paths.work_dir / "slaves"
    files.attach(str(sandboxes), sandboxes)
    files.attach("/frameworks", sandboxes / "latest" / "frameworks")
    if (written := served_log(agent.options.flags, PROGRAM)) is not None:
        files.attach("/slave/log", written)
    return files


def _master(text: str) -> str:
    """Checked here, so that a wrong one ends the program with a sentence instead of waiting for ever."""
    if text.startswith("zk://"):
        from k8slab.mesos.zookeeper import ZooKeeperAddress

        ZooKeeperAddress.parse(text)
    else:
        from k8slab.mesos.client.detector import with_port

        with_port(text)
    return text


def _resources(flags: Flags) -> Resources:
    """What the flag says; cpus, mem, disk and ports it does not mention are what this machine has."""
    text = flags.text("resources") or ""
    given = flags.read("resources", Resources.parse) if text else Resources()
    named = {name for name, _ in [*given.scalars, *given.ranges]}
    detected: dict[str, Callable[[], str]] = {
        "cpus": _cpus,
        "mem": _mem,
        "disk": lambda: _disk(Path(flags.required("work_dir"))),
        "ports": lambda: DEFAULT_PORTS,
    }
    for name, detect in detected.items():
        if name not in named:
            given += Resources.parse(detect())
    return given


def _cpus() -> str:
    return f"cpus:{os.cpu_count() or 1}"


def _mem() -> str:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    return f"mem:{whole - 1024 if whole >= 2048 else whole // 2}"


def _disk(home: Path) -> str:
    home.mkdir(parents=True, exist_ok=True)
    stat = os.statvfs(home)
    whole = stat.f_frsize * stat.f_blocks // (1 << 20)
    return f"disk:{whole - 5120 if whole >= 10240 else whole // 2}"


def _boot_id(flags: Flags) -> str:
    """A node that shares its kernel with others is given a boot id of its own by whoever starts it."""
    return Path(os.environ.get("MESOS_BOOT_ID_FILE") or flags.required("boot_id")).read_text().strip()


def _containerizers(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if unknown := set(names) - {"mesos", "docker"}:
        raise ValueError(f"unknown or unsupported containerizer: {', '.join(sorted(unknown))}")
    return names


def _variables(text: str) -> dict[str, str]:
    value = orjson.loads(text)
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError("expected a JSON object of strings")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
