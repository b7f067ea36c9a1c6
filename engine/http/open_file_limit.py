"""Connections are open files, of which a process may have so many: often far fewer than it could, unless it asks."""

import sys

from pagefold.engine.runtime.logs import Logger

if sys.platform != "win32":
    import resource

SPARE = 200
"""Open files of a process that are no connections: the store's, the listener, what is being read."""

log = Logger(__name__)


def room_for(connections: int) -> int:
    """Asks the system for so many, and gives how many there may be: fewer where the system does not allow them.

    One connection more than there are files for would be refused by the system, without a word to whoever asks, and
    neither the store nor anybody else could open a file any more.
    """
    if sys.platform == "win32":
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    allowed = max(1, soft - SPARE)
    log.warning("fewer connections than configured: the system allows no more", connections=allowed, files=soft)
    return allowed
