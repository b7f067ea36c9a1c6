"""Limits how fast the rows of a snapshot are read, so that source and store have time for others."""

from time import monotonic

import anyio


class Pace:
    """At most so many rows a second, over the time since the first; None for as many as possible."""

    def __init__(self, rows_per_second: float | None) -> None:
        self._rate = rows_per_second
        self._began: float | None = None
        self._rows = 0

    async def keep(self, rows: int) -> None:
        """Counts rows that were read, and waits until the next may be."""
        if self._rate is None:
            return
        began = self._began = monotonic() if self._began is None else self._began
        self._rows += rows
        await anyio.sleep(max(0.0, began + self._rows / self._rate - monotonic()))
