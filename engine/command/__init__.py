"""The command line, `pagefold`. One file a group of commands; `app.py` puts them together."""

from pagefold.engine.command.app import main

__all__ = ["main"]
