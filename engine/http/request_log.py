"""Counts requests, and logs a sample of them.

A log line has the route, never its values: a path may contain an SKU, and a query or body anything.
"""

import time
from collections import Counter

from pagefold.engine.runtime.logs import Logger

FAILED = 500
UNKNOWN = "none"
"""Counted and logged instead of an unknown route or method."""

log = Logger(__name__)


class RequestLog:
    """Counts the requests of one process, and those `refused` before they were complete.

    Logs every n-th request, where 1/n is the `sample`, and all that failed.
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
        """Whether the request that starts now is logged."""
        self._left -= 1
        if self._left:
            return False
        self._left = self._every
        return True

    def note(self, method: str, route: str, status: int, size: int, started: float | None) -> None:
        """Counts a request, and logs it if it has a start time or failed."""
        self.requests[method, route, status] += 1
        if started is not None or status >= FAILED:
            spent = {} if started is None else {"milliseconds": round((time.perf_counter() - started) * 1000, 3)}
            log.info("request", method=method, route=route, status=status, bytes=size, **spent)
