"""Counts requests, and logs a sample of them.

A log line has the route, never its values: a path may contain an SKU, and a query or body anything.
"""

import time
from collections import Counter

from pagefold.engine.runtime.counters import Histogram
from pagefold.engine.runtime.logs import Logger

FAILED = 500
READ_SAMPLE = 32
READ_BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
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
        self.read_seconds = Histogram(READ_BOUNDS)
        self._every = round(1 / sample) if sample > 0 else 0
        self._left = 1 if self._every else -1

    def logs_next(self) -> bool:
        """Whether the request that starts now is logged."""
        self._left -= 1
        if self._left:
            return False
        self._left = self._every
        return True

    def note_read(self, started: float) -> None:
        """Counts a page that was found for a reader, and takes the time of every `READ_SAMPLE`-th."""
        self.reads += 1
        if not self.reads % READ_SAMPLE:
            self.read_seconds.add(time.perf_counter() - started)

    def note(self, method: str, route: str, status: int, size: int, started: float | None) -> None:
        """Counts a request, and logs it if it has a start time or failed."""
        self.requests[method, route, status] += 1
        if started is not None or status >= FAILED:
            spent = {} if started is None else {"milliseconds": round((time.perf_counter() - started) * 1000, 3)}
            log.info("request", method=method, route=route, status=status, bytes=size, **spent)
