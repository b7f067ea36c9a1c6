"""The `eventsourcing` library doing the same work: its PostgreSQL recorder, its `ProjectionRunner`, a view of pages.

The library is used as documented, in the fastest way: events are inserted in large batches, directly into the recorder,
with the same bytes that Pagefold stores; the transcoder is orjson; a projection handles one event at a time and writes
its sections and its position in one transaction, with one statement for all channels. Nothing is folded: the payload is
stored unchanged.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import orjson
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import StoredEvent, Tracking, Transcoder
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL

from benchmarks.baseline import CHANNELS_OF_SOURCE
from benchmarks.measurement import Timed
from pagefold.engine.stores.event_state import EncodedEvent

POLL_SECONDS = 0.02
"""Time between polls of the position: long enough not to slow the library down."""

BATCH = 500
"""Events in one append: with 1,000 of this size over a unix socket, the driver's pipeline never returns."""


@dataclass(frozen=True)
class SourceChange:
    """A source's change, with the fields of Pagefold's log."""

    originator_id: str
    originator_version: int
    id: str
    occurredAt: str  # noqa: N815  # the field's name in the log
    recordedAt: str  # noqa: N815  # the same
    payload: dict[str, object]


class OrjsonTranscoder(Transcoder):
    """A transcoder several times as fast as the library's own."""

    def encode(self, obj: object) -> bytes:
        """To JSON."""
        return orjson.dumps(obj)

    def decode(self, data: bytes) -> Any:  # noqa: ANN401  # as the library declares it
        """From JSON."""
        return orjson.loads(data)


class PageView(PostgresTrackingRecorder):
    """Sections of pages, and the position up to which they are written."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:  # noqa: ANN401  # as the library declares it
        super().__init__(datastore, **kwargs)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS page_sections (sku text, channel text, domain text, versions bytea,"
                " body bytea, occurred_at timestamptz, PRIMARY KEY (sku, channel, domain))"
            ).format()
        )

    def put(self, event: SourceChange, tracking: Tracking) -> None:
        """Writes an event's sections in one statement, in one transaction with the tracking."""
        sku, channel, domain, source = event.originator_id.split("/")
        channels = CHANNELS_OF_SOURCE[source] if channel == "*" else (channel,)
        versions = orjson.dumps({f"{domain}/{source}": event.originator_version})
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "INSERT INTO page_sections SELECT %s, channel, %s, %s, %s, %s FROM unnest(%s::text[]) AS channel "
                "ON CONFLICT (sku, channel, domain) DO UPDATE SET versions = excluded.versions, body = excluded.body, "
                "occurred_at = excluded.occurred_at",
                (sku, domain, versions, orjson.dumps(event.payload), event.occurredAt, list(channels)),
                prepare=True,
            )
            self._insert_tracking(cursor, tracking)

    def fetch(self, sku: str, channel: str) -> list[dict[str, Any]]:
        """The sections of one page."""
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT domain, versions, body, occurred_at FROM page_sections WHERE sku = %s AND channel = %s",
                (sku, channel),
                prepare=True,
            )
            return cursor.fetchall()


class Pages(Projection[PageView]):
    """Writes each change to its sections."""

    name = "pages"
    topics = (get_topic(SourceChange),)

    @singledispatchmethod
    def process_event(self, domain_event: SourceChange, tracking: Tracking) -> None:
        """Handles one event in one transaction."""
        self.view.put(domain_event, tracking)


Runner: TypeAlias = ProjectionRunner[Application[str], PageView]


class Library:
    """The library on an empty database. Every method blocks: call it in a thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._environment = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "TRANSCODER_TOPIC": get_topic(OrjsonTranscoder),
            "POSTGRES_DBNAME": parts.path.removeprefix("/"),
            "POSTGRES_HOST": parse_qs(parts.query)["host"][0],
            "POSTGRES_USER": parts.username or "postgres",
            "POSTGRES_PASSWORD": "",
            "ORIGINATOR_ID_TYPE": "text",
        }
        self._topic = get_topic(SourceChange)
        self.application = Application[str](self._environment)
        with self.running():
            pass

    @contextmanager
    def running(self) -> Iterator[Runner]:
        """A running projection."""
        with ProjectionRunner(
            application_class=Application[str],
            projection_class=Pages,
            view_class=PageView,
            env=self._environment,
        ) as runner:
            try:
                yield runner
            finally:
                runner.view.datastore.close()

    def stored(self, events: Sequence[EncodedEvent]) -> list[StoredEvent]:
        """The events as the library stores them."""
        return [StoredEvent(event[0], event[1], self._topic, event[3]) for event in events]

    def append(self, events: Sequence[StoredEvent]) -> int:
        """Appends each batch in a transaction. Returns the position of the last event."""
        for start in range(0, len(events), BATCH):
            positions = self.application.recorder.insert_events(events[start : start + BATCH])
        assert positions is not None
        return positions[-1]

    def position(self, runner: Runner) -> int:
        """The position of the view."""
        return runner.view.max_tracking_id(runner.app_name) or 0

    def wait(self, runner: Runner, position: int) -> None:
        """Waits until the view reaches a position. The library's own `wait` polls at growing intervals."""
        while self.position(runner) < position:
            assert not runner.is_interrupted.is_set()
            time.sleep(POLL_SECONDS)

    def time_append(self, batch: Sequence[StoredEvent]) -> Timed:
        """Times appending in batches."""
        started = time.perf_counter()
        self.append(batch)
        return Timed(time.perf_counter() - started, len(batch))

    def time_apply(self, batch: Sequence[StoredEvent]) -> Timed:
        """Times applying events that are in the log when the runner starts; its start is not counted."""
        last = self.append(batch)
        with self.running() as runner:
            begun = self.position(runner)
            started = time.perf_counter()
            self.wait(runner, last)
            return Timed(time.perf_counter() - started, last - begun)

    def time_together(self, batch: Sequence[StoredEvent]) -> Timed:
        """Times appending while the runner runs, until the view has everything."""
        with self.running() as runner:
            started = time.perf_counter()
            self.wait(runner, self.append(batch))
            return Timed(time.perf_counter() - started, len(batch))

    def close(self) -> None:
        """Closes its connections."""
        self.application.close()
