"""Where ``k8slab`` begins: while it is being loaded nothing has been begun, and Ctrl-C ends it without a word."""

from __future__ import annotations

import sys

from k8slab.errors import Interrupted


def main() -> None:
    try:
        from k8slab.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(Interrupted.exit_code)
