"""``mesos-docker-executor``: a command task in a container of the node's engine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from k8slab.mesos.agent.builtin import start
from k8slab.mesos.agent.command_executor import CommandExecutor
from k8slab.mesos.agent.docker_cleaner import connect
from k8slab.mesos.agent.docker_payload import DockerOptions, DockerPayload
from k8slab.mesos.client.executor import ExecutorClient


def main() -> int:
    parser = argparse.ArgumentParser(prog="mesos-docker-executor", allow_abbrev=False)
    parser.add_argument("--container", required=True, help="name of the container")
    parser.add_argument("--docker_socket", type=Path, required=True)
    parser.add_argument("--mapped_directory", required=True, help="where the sandbox appears in the container")
    parser.add_argument("--cgroups_enable_cfs", action="store_true", help="cpus are a ceiling, not only a share")
    given = parser.parse_args()

    async def run() -> int:
        options = DockerOptions(
            container=given.container,
            sandbox=Path.cwd(),
            mapped_directory=given.mapped_directory,
            quota=given.cgroups_enable_cfs,
        )
        async with connect(given.docker_socket) as docker:
            client = ExecutorClient.from_environment(os.environ)
            return await CommandExecutor(client, lambda task: DockerPayload(docker, task, options)).run()

    return start(run())


if __name__ == "__main__":
    sys.exit(main())
