"""The agent's own programs, as command lines."""

from __future__ import annotations

import sys


def argv(module: str, *arguments: str) -> list[str]:
    """This very interpreter and package, found without leaving a trace in the environment its task inherits."""
    code = (
        f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}; "
        f"from k8slab.mesos.agent.{module} import main; sys.exit(main())"
    )
    return [sys.executable, "-I", "-c", code, *arguments]
