"""When a target is considered to be down, from the answers of one process; and when it is tried again.

The circuit itself is in the store, so that all processes know that it is open, and one of them probes.
"""

import random
import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 30.0
WINDOW_ANSWERS = 10
MAX_FAILED_SHARE = 0.8
"""It opens when of the last answers within the window, at least as many are faults of the target,"""

MAX_FAILURES_IN_A_ROW = 5
"""or when as many of its answers in a row are, however slowly they come."""

MAX_UNKNOWN_ADDRESSES = 50
"""It also opens when as many pages in a row are answered with 404 or 410: the address is wrong, not the pages."""

FIRST_PROBE_SECONDS, MAX_PROBE_SECONDS = 1.0, 60.0


class AnswerWindow:
    """The newest answers of a target, as one process sees them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: deque[tuple[float, bool]] = deque(maxlen=WINDOW_ANSWERS)
        self._failures_in_a_row = 0
        self._unknown: set[object] = set()

    def taken(self) -> None:
        """The target has taken a page."""
        self._failures_in_a_row = 0
        self._unknown.clear()
        self._answers.append((self._clock(), True))

    def refused(self, page: object, *, unknown_address: bool) -> None:
        """The target has refused a page: it works. Unless it does not know the address of any page."""
        self._failures_in_a_row = 0
        self._answers.append((self._clock(), True))
        if unknown_address:
            self._unknown.add(page)

    def failed(self) -> None:
        """A fault of the target."""
        self._failures_in_a_row += 1
        self._answers.append((self._clock(), False))

    def forget(self) -> None:
        """Begins anew: the circuit was closed."""
        self._answers.clear()
        self._failures_in_a_row = 0
        self._unknown.clear()

    @property
    def knows_no_page(self) -> bool:
        """Whether every one of many different pages was answered with 404 or 410, and none was taken since."""
        return len(self._unknown) >= MAX_UNKNOWN_ADDRESSES

    @property
    def is_down(self) -> bool:
        """Whether the target is to be left alone, but for probes."""
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW or self.knows_no_page:
            return True
        since = self._clock() - WINDOW_SECONDS
        recent = [good for moment, good in self._answers if moment >= since]
        return len(recent) == WINDOW_ANSWERS and recent.count(False) >= MAX_FAILED_SHARE * WINDOW_ANSWERS


def probe_delay(failed_probes: int, dice: Callable[[], float] = random.random) -> float:
    """Seconds until the next probe, after so many that failed: 1, 2, 4 … 60, within a fifth of it."""
    return backoff(failed_probes, dice)


def backoff(failures: int, dice: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row, at least one: 1, 2, 4 … 60, each within a fifth of it.

    The jitter keeps those that failed together from coming back together.
    """
    seconds = min(FIRST_PROBE_SECONDS * 2.0 ** min(failures - 1, 16), MAX_PROBE_SECONDS)
    return min(seconds * (0.8 + 0.4 * dice()), MAX_PROBE_SECONDS)
