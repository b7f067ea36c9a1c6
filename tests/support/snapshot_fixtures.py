"""Snapshots under test: their configuration, their rows, and the result of reading them."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import orjson

from pagefold.domains.domain import JSON
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.event_parser import EventEnvelope, parse_envelope, parse_payload
from pagefold.engine.snapshots import open_snapshot
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.row import RefusedStatement, Row
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, Batch, End, Snapshot
from tests.support.command_line import event

Document: TypeAlias = dict[str, object]

TAKEN_AT = "2026-11-23T02:00:00Z"
BEGIN: Document = {"snapshot": "begin", "takenAt": TAKEN_AT}


class Read(NamedTuple):
    """The result of reading a snapshot, from its beginning or a cursor to its end."""

    batches: list[Batch]
    end: End | None
    taken_at: datetime | None

    @property
    def rows(self) -> list[Row]:
        """All rows, each parsed completely."""
        return [row for batch in self.batches for row in batch.rows]

    @property
    def events(self) -> list[DomainEvent]:
        """The events, if every row is one."""
        events = [row.event for row in self.rows]
        assert not [each for each in events if isinstance(each, Rejected | RefusedStatement)]
        return [each for each in events if isinstance(each, DomainEvent)]

    @property
    def refused(self) -> dict[int, str]:
        """The rejected rows, with the reason."""
        found = [(row.number, row.event) for row in self.rows]
        found = [(number, each.rejected if isinstance(each, RefusedStatement) else each) for number, each in found]
        return {number: str(each) for number, each in found if isinstance(each, Rejected)}


def parsed(row: Row) -> Row:
    """The row, parsed completely if only its envelope was."""
    if not isinstance(row.event, EventEnvelope | None):
        return row
    try:
        return Row(row.number, parse_payload(row.event or parse_envelope(row.line), row.line))
    except Rejected as refused:
        return Row(row.number, refused)


def configured(domains: Sequence[str] = ("pricing",), /, **snapshot: object) -> Config:
    """A shop whose source erp has this snapshot."""
    return Config.parse(
        {
            "store": {"url": "sqlite:///nowhere"},
            "sources": {"pim": {"domains": ["catalog"]}, "erp": {"domains": list(domains), "snapshot": snapshot}},
            "channels": {"web": {"locale": "de", "currency": "EUR"}},
        }
    )


async def read(config: Config, cursor: JSON = None, *, traffic: RequestLimiter | None = None) -> Read:
    """Reads the snapshot of erp to its end."""
    async with open_snapshot(config, "erp", traffic=traffic) as snapshot:
        batches = [batch._replace(rows=list(map(parsed, batch.rows))) async for batch in snapshot.batches(cursor)]
        assert all(len(batch.rows) + len(batch.identities) > 0 for batch in batches)
        assert all(len(batch.rows) <= BATCH_ROWS for batch in batches)
        return Read(batches, snapshot.end, snapshot.taken_at)


def covered_in(snapshot: Snapshot) -> set[str]:
    """The channels whose prices it covers: a configured one, an unknown one, and `*`."""
    return {name for name in ("*", "web", "old") if snapshot.coverage.has(f"A/{name}/pricing/erp".encode())}


def written(file: Path, content: bytes | bytearray | str) -> str:
    """Writes a file; returns its name."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(file)


def prices(count: int) -> list[Document]:
    """That many different prices of erp."""
    return [event(f"SKU-{number:05}", amount=f"{number}.00") for number in range(count)]


def payload_of(event: DomainEvent) -> Document:
    """Its payload, decoded."""
    assert isinstance(event.payload, bytes)
    return msgspec.json.decode(event.payload, type=Document)


def end(count: int) -> Document:
    """The end marker."""
    return {"snapshot": "end", "count": count}


def ndjson(rows: Sequence[object], *, begin: Document | None = BEGIN) -> bytes:
    """Rows between their markers; bytes are lines of their own."""
    lines = [*([] if begin is None else [begin]), *rows, end(len(rows))]
    return b"".join((line if isinstance(line, bytes) else orjson.dumps(line)) + b"\n" for line in lines)
