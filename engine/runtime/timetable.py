"""The times of a task: a cron line in a time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MAX_AHEAD = timedelta(days=1)
"""A time of a past run that lies further ahead than this was taken from a clock that was wrong."""


class Timetable:
    """The times of a cron line, in UTC. Where the clock of its zone is set forward or back, each comes once.

    Raises `ValueError` for a line that is none, or that never comes true.
    """

    def __init__(self, cron: str, zone: ZoneInfo) -> None:
        self._cron = cron
        self._zone = zone
        try:
            following = self.next_after(datetime(2026, 1, 1, tzinfo=zone))
        except CronSimError as error:
            problem = f"{cron!r} is not a cron line such as '30 2 * * sun': {error}"
            raise ValueError(problem) from None
        if following is None:
            problem = f"{cron!r} is a time that never comes"
            raise ValueError(problem)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after a moment; None if there is none within 50 years."""
        return next(self._times(moment), None)

    def due(self, last: datetime, at: datetime) -> datetime | None:
        """The newest time up to a moment for which nothing ran: however many were missed, one is caught up.

        `last` is the time of the newest run. One that lies far ahead, as the clock was wrong, counts as now.
        """
        if last > at + MAX_AHEAD:
            last = at
        before = self._times(at + timedelta(minutes=1), reverse=True)
        newest = next((each for each in before if each <= at), None)
        return newest if newest is not None and newest > last else None

    def _times(self, moment: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        for each in CronSim(self._cron, moment.astimezone(self._zone), reverse=reverse):
            yield each.astimezone(UTC)  # times of one zone that exist twice do not equal those of another
