"""What dead containers have left to say: their message files, or the ends of their logs when they asked for that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from k8slab.kube.kubelet.context import Pod
from k8slab.kube.kubelet.engine import Engine
from k8slab.kube.kubelet.observation import EXITED, Observed, Seen, arranged
from k8slab.kube.kubelet.spec import container_named

_LOG_LINES: Final = 80
_LOG_LIMIT: Final = 2048

ReadMessage = Callable[[str, int], str]
"""The message file of a container's attempt."""


async def with_last_words(engine: Engine, pod: Pod, observed: Observed, read: ReadMessage) -> Observed:
    """The same with the messages of the dead. Raises EngineError and EngineUnavailable."""
    dead = [seen for attempts in observed.containers.values() for seen in attempts if seen.state == EXITED]
    if not dead:
        return observed
    words = {seen.id: await _words(engine, pod, seen, read) for seen in dead}
    return arranged(dataclasses.replace(seen, message=words.get(seen.id, "")) for seen in observed.everything)


async def _words(engine: Engine, pod: Pod, seen: Seen, read: ReadMessage) -> str:
    message = read(seen.container, seen.attempt)
    policy = container_named(pod, seen.container).get("terminationMessagePolicy")
    if message or policy != "FallbackToLogsOnError" or not seen.exit_code:
        return message
    pieces = [piece async for _, piece in engine.logs(seen.id, {"tail": str(_LOG_LINES)})]
    return b"".join(pieces)[-_LOG_LIMIT:].decode(errors="replace")
