"""Recent failures in this process, by kind of work, for health checks."""

import time

FAULT_SECONDS = 10.0
"""How long a failure counts if the work is not tried again."""


class RecentFaults:
    """The last failure of each kind of work, until it succeeds, or was not tried for a while."""

    def __init__(self) -> None:
        self._faults: dict[str, tuple[Exception, float]] = {}

    def failed(self, work: str, error: Exception, seconds: float = FAULT_SECONDS) -> None:
        """Records a failure. It counts for `seconds`, unless the work is tried again."""
        self._faults[work] = (error, time.monotonic() + seconds)

    def succeeded(self, work: str) -> None:
        """Records a success."""
        if self._faults:
            self._faults.pop(work, None)

    def last(self, work: str) -> Exception | None:
        """The recent failure of this work, or None."""
        error, until = self._faults.get(work, (None, 0.0))
        return error if time.monotonic() < until else None

    def by_prefix(self, prefix: str) -> dict[str, Exception]:
        """The recent failures of all work whose name has this prefix, by the rest of the name."""
        found = {work.removeprefix(prefix): self.last(work) for work in sorted(self._faults) if work.startswith(prefix)}
        return {name: error for name, error in found.items() if error is not None}
