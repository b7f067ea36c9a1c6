"""Subscriptions to the log, on either store."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import NamedTuple

import stamina
from eventsourcing.persistence import InterfaceError, Notification, Subscription

from pagefold.engine.errors import RETRYABLE, LogReplaced
from pagefold.engine.recorders.datastore import translate_errors
from pagefold.engine.recorders.notifications import NotifyingRecorder
from pagefold.engine.stores.log_records import StoredEvent

BATCH_EVENTS = 500
"""Events that are read at a time."""

RETRY_SECONDS = 20.0
"""How long a store that does not respond is retried, with warnings, before the subscription fails."""


class _Read(NamedTuple):
    """The next events, the position up to which there are no others, and the mark of the event at that position."""

    events: list[StoredEvent]
    position: int
    mark: bytes | None


class PagefoldSubscription(Subscription[NotifyingRecorder]):
    """Events of the log as they are appended. It has no thread: the iterating thread waits for the log to grow.

    A store outage is waited out. Iteration ends when it is stopped, from any thread, or when the store is closed. It
    fails if the log was restored to a state before the last event returned.
    """

    def __init__(self, recorder: NotifyingRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, tuple(topics))
        self._position = gt or 0
        self._mark: bytes | None = None
        self._ready: deque[Notification] = deque()
        self._reading: Future[_Read] | None = None

    def stop(self) -> None:
        """Ends the iteration at once."""
        super().stop()
        if self._reading is not None:
            self._reading.cancel()

    def __next__(self) -> Notification:
        while not self._has_been_stopped:
            if self._ready:
                return self._ready.popleft()
            self._read()
        raise StopIteration

    def _read(self) -> None:
        """Waits for the next events. Stops the subscription if that was cancelled, or the store is closed."""
        try:
            self._reading = self._recorder.datastore.start(self._next_events)
            if self._has_been_stopped:  # by another thread, before there was anything to cancel
                self._reading.cancel()
            with translate_errors():
                read = self._reading.result()
        except (CancelledError, InterfaceError):
            self.stop()
        else:
            self._position, self._mark = read.position, read.mark
            self._ready.extend(self._recorder.notifications(read.events))

    async def _next_events(self) -> _Read:
        read = _Read([], self._position, self._mark)
        while not read.events:
            async for attempt in stamina.retry_context(
                on=tuple(RETRYABLE),
                attempts=None,
                timeout=RETRY_SECONDS,
                wait_initial=0.05,
                wait_max=2.0,
                wait_jitter=0.05,
            ):
                with attempt:
                    read = await self._look(read.position, read.mark)
        return read

    async def _look(self, position: int, mark: bytes | None) -> _Read:
        """The events after a position; if there are none, waits for a while.

        The end of the log is read first: nothing new can appear up to there, so that a search for rare topics does not
        start over with every other event.
        """
        datastore = self._recorder.datastore
        log, proof = datastore.store.log, datastore.store.proof
        end = await log.end()
        if position > end or (mark is not None and await proof.mark(position) != mark):
            followed = f"a subscription has followed another log up to position {position}"
            raise LogReplaced(followed)
        if end == position:
            await log.wait(position, datastore.poll_seconds)
            return _Read([], position, mark or await proof.mark(position))
        events = await datastore.store.records.notifications(position + 1, end, self._topics, BATCH_EVENTS)
        reached = events[-1].notification_id if len(events) == BATCH_EVENTS else end
        return _Read(events, reached, await proof.mark(reached))
