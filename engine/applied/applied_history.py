"""The configurations that counted at earlier positions of the log."""

from bisect import bisect_right

from pagefold.engine.applied.applied_log import AppliedLog
from pagefold.engine.configuration.config import Config

MAX_KEPT = 8
"""Configurations that are kept ready. Others are read again."""


class AppliedHistory:
    """Finds the configuration that counted at a position. `file` gives what pages do not depend on."""

    def __init__(self, log: AppliedLog, file: Config) -> None:
        self._log = log
        self._file = file
        self._positions: list[int] = []
        self._kept: dict[int, Config] = {}

    def __len__(self) -> int:
        """How many were applied."""
        return len(self._positions)

    def forget(self) -> None:
        """Forgets what was read: the log may be another one."""
        self._positions.clear()
        self._kept.clear()

    async def refresh(self) -> None:
        """Reads what was applied since the last call."""
        while found := await self._log.after(len(self._positions) - 1):
            self._positions += [each.position for each in found]

    def number_at(self, position: int) -> int | None:
        """The number of the configuration that counted at a position up to which this was refreshed.

        Before the first was applied, pages are folded under that one. None if there is none.
        """
        if not self._positions:
            return None
        return max(bisect_right(self._positions, position) - 1, 0)

    async def config(self, number: int | None) -> Config:
        """The configuration with a number; the file if that is None, or if there is no such one."""
        if number is None:
            return self._file
        if (known := self._kept.get(number)) is None:
            found = await self._log.read(number)
            known = self._file if found is None else self._file.under(found.record.settings)
            if len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = known
        return known
