"""What a call to a master or an agent can end with."""

from __future__ import annotations


class MesosError(Exception):
    """A call was refused, or could not be made: ``status`` is the HTTP status, 0 when there was no answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}" if status else text)
        self.status = status
        self.text = text
