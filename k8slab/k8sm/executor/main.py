"""`km executor`: what Mesos starts on an agent to run pods; a kubelet whose pods come as Mesos tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from k8slab import daemon
from k8slab.k8sm.executor.settings import settings


def run(argv: Sequence[str]) -> int:
    flags = settings(argv)
    daemon.configure_logging(flags.verbosity - 1)

    async def serve(stop: asyncio.Event) -> int:
        from k8slab.k8sm.executor.process import serve

        return await serve(flags, os.environ, stop)

    return daemon.run(serve)
