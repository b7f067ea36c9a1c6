"""What failed lately in this process, by what was tried: for those who ask whether it can be done."""

import time

FAULT_SECONDS = 10.0
"""How long a failure counts that nobody has tried to repeat since."""


class RecentFaults:
    """The last failure of each kind of work, until it succeeds again, or has not been tried for a while."""

    def __init__(self) -> None:
        self._faults: dict[str, tuple[Exception, float]] = {}

    def failed(self, work: str, error: Exception, seconds: float = FAULT_SECONDS) -> None:
        """It was tried, and failed. That counts for so long, unless it is tried again."""
        self._faults[work] = (error, time.monotonic() + seconds)

    def succeeded(self, work: str) -> None:
        """It can be done."""
        if self._faults:
            self._faults.pop(work, None)

    def last(self, work: str) -> Exception | None:
        """Why it failed lately; None when it did not."""
        error, until = self._faults.get(work, (None, 0.0))
        return error if time.monotonic() < until else None

    def by_prefix(self, prefix: str) -> dict[str, Exception]:
        """The failures of all work whose name begins like this, by what follows."""
        found = {work.removeprefix(prefix): self.last(work) for work in sorted(self._faults) if work.startswith(prefix)}
        return {name: error for name, error in found.items() if error is not None}
