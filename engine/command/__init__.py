"""The command line, `pagefold`. One file a group of commands; `app.py` puts them together."""

import sys

from pagefold.engine.errors import ExtraMissing
from pagefold.engine.runtime.extras import needs_extra

__all__ = ["main"]


def main() -> None:
    """The entry point. Without `pagefold[cli]`, says so and exits with 2."""
    try:
        with needs_extra("the command pagefold", "cli"):
            from pagefold.engine.command.app import main as run  # noqa: PLC0415  # its packages may be missing
    except ExtraMissing as missing:
        print(f"pagefold: {missing}", file=sys.stderr)
        sys.exit(2)
    run()
