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
from pagefold.engine.stores.store import StoredEvent

BATCH_EVENTS = 500
"""How many events are read at a time."""

RETRY_SECONDS = 20.0
"""How long a store that does not answer is tried again, loudly, before the subscription fails."""


class _Read(NamedTuple):
    """The next events, the position up to which there are no others, and the mark of the event that stands there."""

    events: list[StoredEvent]
    position: int
    mark: bytes | None


class PagefoldSubscription(Subscription[NotifyingRecorder]):
    """Events of the log as they come. It has no thread of its own: who iterates waits at the store for the log to grow.

    A store that is away for a while is waited for. The iteration ends when it is stopped, from whatever thread, or when
    the store is closed. It fails where the log was put back behind what it has given.
    """

    def __init__(self, recorder: NotifyingRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, tuple(topics))
        self._position = gt or 0
        self._mark: bytes | None = None
        self._ready: deque[Notification] = deque()
        self._reading: Future[_Read] | None = None

    def stop(self) -> None:
        """Ends the iteration at once, wherever it stands."""
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
        """Waits for what comes next. Stops the subscription when that was cancelled, or the store is closed."""
        try:
            self._reading = self._recorder.datastore.start(self._next_events)
            if self._has_been_stopped:  # by another thread, too early to see what it should cancel
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
        """What stands behind a position; when nothing does, after waiting for a while.

        The end of the log is read first: up to there, what is not found will never be. So a search for rare topics does
        not begin anew with every event of others.
        """
        datastore = self._recorder.datastore
        log, proof = datastore.store.log, datastore.store.proof
        end = await log.end()
        if position > end or (mark is not None and await proof.mark(position) != mark):
            followed = f"a subscription has followed another one up to position {position}"
            raise LogReplaced(followed)
        if end == position:
            await log.wait(position, datastore.poll_seconds)
            return _Read([], position, mark or await proof.mark(position))
        events = await datastore.store.records.notifications(position + 1, end, self._topics, BATCH_EVENTS)
        reached = events[-1].notification_id if len(events) == BATCH_EVENTS else end
        return _Read(events, reached, await proof.mark(reached))
