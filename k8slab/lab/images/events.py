"""What a build tells while it runs, and what it hands back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BuildState = Literal["waiting", "building", "built", "current", "failed"]


@dataclass(frozen=True)
class BuildEvent:
    """One sign of life of one image: step 3 of 5 and what it does. ``fraction`` of the step is 0–1, None when unknown;
    ``seconds`` since the image's first step began."""

    image: str
    step: int
    steps: int
    text: str
    fraction: float | None = None
    seconds: float = 0.0
    state: BuildState = "building"


@dataclass(frozen=True)
class Built:
    """One image that is there now. ``size`` in bytes counts what it shares with others too; ``origin`` tells where its
    root came from."""

    image: str
    id: str
    size: int
    seconds: float
    state: Literal["built", "current"]
    origin: str = ""


Listener = Callable[[BuildEvent], None]


class Progress:
    """The steps of one image's build. The listener is called from several threads, but never by two at once."""

    def __init__(self, image: str, listener: Listener, lock: threading.Lock) -> None:
        self.image = image
        self._listener, self._lock = listener, lock
        self._began = time.monotonic()
        self._step, self._steps, self._text = 0, 1, ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def plan(self, steps: int) -> None:
        self._steps = max(steps, 1)
        self._tell("waiting", "waiting", None)

    def begin(self, text: str) -> None:
        """The next step begins; its clock is the image's."""
        self._step = min(self._step + 1, self._steps)
        if self._step == 1:
            self._began = time.monotonic()
        self._text = text
        self._tell("building", text, None)

    def at(self, fraction: float | None, text: str = "") -> None:
        self._tell("building", text or self._text, fraction)

    def end(self, state: BuildState, text: str) -> None:
        self._tell(state, text, 1.0 if state in ("built", "current") else None)

    def _tell(self, state: BuildState, text: str, fraction: float | None) -> None:
        with self._lock:
            self._listener(BuildEvent(self.image, self._step, self._steps, text, fraction, self.seconds, state))
