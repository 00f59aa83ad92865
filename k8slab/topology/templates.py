"""Templates of a topology, filled in without trust: whatever goes wrong inside of one becomes a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

# A template computes ports and addresses; past these it would only eat the memory or the day of who validates it.
LARGEST_NUMBER_BITS = 4096
LONGEST_REPEAT = 100_000
# What Jinja and the expressions inside a template can raise; SyntaxError is Python's, for blocks nested too deeply.
FAILURES = (
    TemplateError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    ValueError,
    RuntimeError,
    MemoryError,
    SyntaxError,
)


class UnfilledTemplate(Exception):
    """Why a template cannot be filled in, as the end of a sentence without its full stop."""


class _Environment(SandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * right > LARGEST_NUMBER_BITS:
                raise OverflowError(f"{left} ** {right} is too large")
        elif operator == "*":
            for repeated, times in ((left, right), (right, left)):
                several = isinstance(repeated, str | list | tuple) and isinstance(times, int)
                if several and len(repeated) * times > LONGEST_REPEAT:
                    raise OverflowError(f"a repetition of {times} times is too long")
        return super().call_binop(context, operator, left, right)


class Templates:
    """A compiler that keeps what it compiled: each node of a group fills in the same texts."""

    def __init__(self) -> None:
        self._environment = _Environment(undefined=StrictUndefined, keep_trailing_newline=True)
        self._compiled: dict[str, Template] = {}

    def compiled(self, text: str) -> Template:
        """Raises UnfilledTemplate when ``text`` is no template."""
        if text not in self._compiled:
            try:
                self._compiled[text] = self._environment.from_string(text)
            except FAILURES as error:
                raise UnfilledTemplate(_reason(error)) from error
        return self._compiled[text]

    def fill(self, text: str, context: Mapping[str, Any]) -> str:
        """Raises UnfilledTemplate."""
        template = self.compiled(text)
        try:
            filled = template.render(context)
        except FAILURES as error:
            raise UnfilledTemplate(_reason(error)) from error
        if "\0" in filled:
            raise UnfilledTemplate("it has a NUL character in it")
        return filled


def _reason(error: BaseException) -> str:
    match error:
        case RecursionError():
            return "it goes round in a circle or too deep"
        case MemoryError():
            return "it needs more memory than there is"
    return str(error).removesuffix(".") or type(error).__name__
