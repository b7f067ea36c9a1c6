"""The recorders of the `eventsourcing` library, over the records of a store."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DataError,
    Notification,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)

from pagefold.domains import DOMAINS
from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.recorders.datastore import Datastore
from pagefold.engine.recorders.notifications import NotifyingRecorder, given_id
from pagefold.engine.recorders.subscription import PagefoldSubscription
from pagefold.engine.stores.recorder_records import Records, RecordTable
from pagefold.projections.streams import parse_stream_id

MAX_LIMIT = 2**63 - 1
"""Above every version and position, and the most rows that a database accepts as a limit."""

_domains = frozenset(domain.name for domain in DOMAINS)


class _Row(NamedTuple):
    """An application's event, as stored."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


class PagefoldAggregateRecorder(AggregateRecorder):
    """Events or snapshots by aggregate. Inserts are durable and atomic."""

    def __init__(self, datastore: Datastore, table: RecordTable = "stored_events") -> None:
        self.datastore = datastore
        self._table = table

    @property
    def _records(self) -> Records:
        return self.datastore.store.records

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401  # the library's signature
        """Records events. Raises `IntegrityError` if a version is taken, `ProgrammingError` for a domain event."""
        self._insert(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one aggregate with gt < version <= lte, by version."""
        select = partial(
            self._records.select,
            self._table,
            _stored_id(originator_id),
            after=-1 if gt is None else gt,
            upto=MAX_LIMIT if lte is None else lte,
            descending=desc,
            limit=MAX_LIMIT if limit is None else limit,
        )
        uuids = self.datastore.uuids
        return [
            StoredEvent(given_id(event.originator_id, uuids=uuids), event.originator_version, event.topic, event.state)
            for event in self.datastore.call(select)
        ]

    def _insert(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None = None, **_: object) -> list[int]:
        rows = [_row(event) for event in stored_events]
        position = None if tracking is None else (tracking.application_name, tracking.notification_id)
        if not rows and position is None:
            return []
        return self.datastore.call(partial(self._records.insert, self._table, rows, position))


class PagefoldApplicationRecorder(PagefoldAggregateRecorder, NotifyingRecorder):
    """The whole log, in the order of its positions, besides the events of each aggregate."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401, ARG002  # the library's signature
        """Records events, and returns their positions. Raises as the aggregate recorder does."""
        return self._insert(stored_events)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """The next events from a position on, up to `stop`, of some topics or of all, including domain events."""
        first = 0 if start is None else start + (not inclusive_of_start)
        last = MAX_LIMIT if stop is None else stop
        select = partial(self._records.notifications, first, last, topics, limit)
        return self.notifications(self.datastore.call(select))

    def max_notification_id(self) -> int | None:
        """The position of the newest event, of any topic."""
        return self.datastore.call(self.datastore.store.log.end) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """The events after a position, of some topics or of all, as they are appended: complete and in order."""
        return PagefoldSubscription(self, gt, topics)


class PagefoldTrackingRecorder(TrackingRecorder):
    """The positions up to which applications have processed their upstream applications."""

    def __init__(self, datastore: Datastore) -> None:
        self.datastore = datastore

    def insert_tracking(self, tracking: Tracking) -> None:
        """Moves a position forward. Raises `IntegrityError` if it would not move forward."""
        insert = self.datastore.store.records.insert
        position = (tracking.application_name, tracking.notification_id)
        self.datastore.call(partial(insert, "stored_events", [], position))

    def max_tracking_id(self, application_name: str) -> int | None:
        """The tracked position of an upstream application, None if there is none."""
        return self.datastore.call(partial(self.datastore.store.records.tracked, application_name))


class PagefoldProcessRecorder(PagefoldApplicationRecorder, PagefoldTrackingRecorder, ProcessRecorder):
    """Records new events together with the position of the event that caused them, atomically."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:  # noqa: ANN401  # the library's signature
        """Records events, and a `tracking` that moves forward, in one transaction. Returns the positions."""
        return self._insert(stored_events, **kwargs)


def _row(event: StoredEvent) -> _Row:
    """The event as stored. Raises if it may not be written this way, or not be stored everywhere."""
    identifier = _stored_id(event.originator_id)
    if event.topic in _domains or _is_domain_stream(identifier):
        problem = f"topic {event.topic!r} in stream {identifier!r} belongs to the shop: append with `Shop.append`"
        raise ProgrammingError(problem)
    for text in (identifier, event.topic):
        if "\0" in text or not _is_unicode(text):
            problem = f"{text!r} must not contain U+0000 or a lone surrogate"
            raise DataError(problem)
    if not 0 <= event.originator_version <= MAX_INTEGER:
        problem = f"version {event.originator_version} of {identifier!r} is not between 0 and 2^53-1"
        raise DataError(problem)
    return _Row(identifier, event.originator_version, event.topic, event.state)


def _is_domain_stream(identifier: str) -> bool:
    try:
        return parse_stream_id(identifier).domain in _domains
    except ValueError:
        return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stored_id(identifier: UUID | str) -> str:
    return identifier.hex if isinstance(identifier, UUID) else identifier
