"""What the server was asked: counted in plain numbers, and a sample of it logged.

A line has the route, never what stands in its place: a path may hold a SKU, and a query or a body anything.
"""

import time
from collections import Counter

from pagefold.engine.runtime.logs import Logger

FAILED = 500
UNKNOWN = "none"
"""What is counted and logged in place of a route or a method that there is not."""

log = Logger(__name__)


class RequestLog:
    """The requests of one process, and those `refused` before there was one.

    Every n-th is logged, where 1/n is the `sample`; those that failed, all.
    """

    def __init__(self, sample: float) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.reads = 0
        self.not_modified = 0
        self.gone = 0
        self.refused: Counter[int] = Counter()
        self._every = round(1 / sample) if sample > 0 else 0
        self._left = 1 if self._every else -1

    def logs_next(self) -> bool:
        """Whether the request that begins is to be logged."""
        self._left -= 1
        if self._left:
            return False
        self._left = self._every
        return True

    def note(self, method: str, route: str, status: int, size: int, started: float | None) -> None:
        """Counts a request, and logs it where it began at `started`, or has failed."""
        self.requests[method, route, status] += 1
        if started is not None or status >= FAILED:
            spent = {} if started is None else {"milliseconds": round((time.perf_counter() - started) * 1000, 3)}
            log.info("request", method=method, route=route, status=status, bytes=size, **spent)
