"""The newest events of the log, read once for all consumers of a process."""

import time
from bisect import bisect_right
from collections import defaultdict
from operator import attrgetter

import anyio

from pagefold.engine.runtime.wake_signal import WakeSignal
from pagefold.engine.stores.log_records import LoggedEvent, TouchedStreams
from pagefold.engine.stores.store import Log

MAX_READ_EVENTS = 200
"""Events that are read at a time. If there are as many, there may be more than consumers should fold in small steps."""

MAX_KEPT_EVENTS, MAX_KEPT_SECONDS = 4 * MAX_READ_EVENTS, 0.5
"""How many events are kept for consumers that are busy, and for how long: the log may be replaced meanwhile."""

REST_SECONDS = 0.005
"""How long after new events were found the log is not read again: events that come fast are then folded together.

An event after a pause is found at once.
"""

QUIET_SECONDS = 0.05
"""How long the log must be quiet for the checkpoints of all consumers to follow what was read."""

_position = attrgetter("position")


class RecentEvents:
    """The events after some position, for consumers that are up to date, or nearly so.

    While consumers wait, one of them reads the log for all, and wakes those whose domain has new events; and all of
    them, when no more events come. `end` is the position up to which it was read.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._events: list[LoggedEvent] = []
        self._start = self.end = -1
        self._quiet_end = -1
        self._restarts = 0
        self._found_at = self._kept_since = float("-inf")
        self._is_read = False
        self._news: defaultdict[str, WakeSignal] = defaultdict(WakeSignal)

    def window(self, domain: str, after: int) -> TouchedStreams | None:
        """The events of a domain after a position, up to `end`. None if they must be read from the log."""
        newer = self._newer(after)
        if after < self._start or self._start < 0 or (newer and self._is_outdated()):
            return None
        own = [event for event in newer if event.topic == domain]
        streams = sorted({event.stream for event in own})
        end = newer[-1].position if newer else after
        return TouchedStreams(streams, len(own), len(newer), end, sum([event.bytes for event in own]))

    @property
    def is_quiet(self) -> bool:
        """Whether no event was found for a moment."""
        return time.monotonic() - self._found_at >= QUIET_SECONDS

    async def wait(self, domain: str, after: int, seconds: float) -> None:
        """Returns when the log has events of a domain after a position, or may have, or after `seconds`.

        Also if it has events of other domains there, once no more come.
        """
        deadline = time.monotonic() + seconds
        if after < self._start:  # the log may be a shorter one now
            self.restart(after)
        while not self._has_news(domain, after) and (seconds_left := deadline - time.monotonic()) > 0:
            if self._is_read:
                signal = self._news[domain]
                await signal.wait(seconds_left, signal.count)
            else:
                await self._read_for_all(domain, after, deadline)

    def _has_news(self, domain: str, after: int) -> bool:
        if after < self._start or after < self._quiet_end:
            return True
        return any(event.topic == domain for event in self._newer(after))

    def _newer(self, after: int) -> list[LoggedEvent]:
        if after >= self.end:
            return []
        return self._events[bisect_right(self._events, after, key=_position) :]

    async def _read_for_all(self, domain: str, after: int, deadline: float) -> None:
        """Reads the log until there are events of this consumer, or for that time. Then another one does it."""
        self._is_read = True
        try:
            if after > self.end:
                self.restart(after)
            while not self._has_news(domain, after) and (seconds_left := deadline - time.monotonic()) > 0:
                if (rest := self._found_at + REST_SECONDS - time.monotonic()) > 0:
                    await anyio.sleep(rest)
                hints = self._log.hints
                if not await self._read():
                    await self._wait_for_more(hints, seconds_left)
        finally:
            self._is_read = False
            self._hand_over()

    async def _wait_for_more(self, hints: int, seconds: float) -> None:
        """Waits for a hint. When no more events come, wakes all that wait: their positions can follow."""
        if self._quiet_end < self.end:
            seconds_left = self._found_at + QUIET_SECONDS - time.monotonic()
            if seconds_left <= 0:
                self._quiet_end = self.end
                self._wake_all()
                return
            seconds = min(seconds, seconds_left)
        await self._log.wait_for_hint(hints, seconds)

    async def _read(self) -> bool:
        """Reads the next events and wakes whom they concern. False if there were none."""
        restarts = self._restarts
        found = await self._log.next_events(self.end, MAX_READ_EVENTS)
        if not found or self._restarts != restarts:
            return self._restarts != restarts
        self._found_at = time.monotonic()
        if self._is_outdated():
            self._forget(self.end)
        if len(found) == MAX_READ_EVENTS or len(self._events) + len(found) > MAX_KEPT_EVENTS:
            self.restart(found[-1].position)
        else:
            self._events += found
            self.end = found[-1].position
            for topic in dict.fromkeys([event.topic for event in found]):
                if topic in self._news:
                    self._news[topic].set()
        return True

    def _is_outdated(self) -> bool:
        return time.monotonic() - self._kept_since > MAX_KEPT_SECONDS

    def restart(self, position: int) -> None:
        """Forgets what was read, and continues at a position. Consumers that are not there read the log themselves."""
        self._forget(position)
        self._restarts += 1
        self._quiet_end = -1
        self._wake_all()

    def _wake_all(self) -> None:
        for signal in self._news.values():
            signal.set()

    def _forget(self, position: int) -> None:
        self._events.clear()
        self._start = self.end = position
        self._kept_since = time.monotonic()

    def _hand_over(self) -> None:
        """Wakes one that waits, which then reads the log."""
        for signal in self._news.values():
            if signal.is_awaited:
                signal.set()
                return
