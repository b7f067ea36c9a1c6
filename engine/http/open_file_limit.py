"""Raises the limit of open files for connections: a process often gets fewer than it may ask for."""

import sys

from pagefold.engine.runtime.logs import Logger

if sys.platform != "win32":
    import resource

SPARE_FILES = 200
"""Open files that are not connections: the store's, the listener, files being read."""

log = Logger(__name__)


def raise_file_limit(connections: int) -> int:
    """Raises the limit to fit this many connections, and returns how many fit: fewer if the system does not allow them.

    Beyond the limit, the system would refuse connections silently, and neither the store nor anything else could open a
    file.
    """
    if sys.platform == "win32":
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    allowed = max(1, soft - SPARE_FILES)
    log.warning(
        "fewer connections than configured: the system's limit of open files is too low",
        connections=allowed,
        files=soft,
    )
    return allowed
