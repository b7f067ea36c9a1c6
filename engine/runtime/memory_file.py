"""Files without a name, for what another process is to read."""

import os
import tempfile
from typing import IO


def file_in_memory() -> IO[bytes]:
    """A file without a name, in memory if the system supports it, so that no writable disk is needed."""
    make = getattr(os, "memfd_create", None)
    return tempfile.TemporaryFile() if make is None else os.fdopen(make("pagefold"), "w+b")
