"""Entrances whose records a contract reads: 50 mappings a record, beside a converter that was written by hand.

Both sides make the same events of the same file, or of the same rows of a database: reading included, storing not. The
converter checks nothing, and knows its columns.
"""

import csv
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import msgspec

from benchmarks.bench_transforms import COLORS, by_hand, mappings, record
from benchmarks.measurement import BASELINE, PAGEFOLD, Line, Side, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import PostgresStores, SQLiteStores, Stores
from pagefold import Config, DomainEvent
from pagefold.engine.snapshots import open_snapshot
from pagefold.projections.transforms import ValueType

RECORDS = 20_000
PIECES = 2
MIN_RATIO = 0.5
TYPES = {ValueType.INTEGER: "integer", ValueType.BOOLEAN: "boolean", ValueType.TIMESTAMP: "date"}
"""The transform by which an attribute, which may have any type, gets one."""

Columns = Mapping[str, str]
_encode = msgspec.json.Encoder().encode


def records(number: int) -> list[dict[str, str]]:
    """The rows of an export: an SKU, a version, and 50 values."""
    changed = "2026-01-01T00:00:00Z"
    return [{"sku": f"SKU-{each:06}", "rev": "7", "changed": changed, **record(each)} for each in range(number)]


def contract() -> dict[str, object]:
    """The contract of those records."""
    attributes: dict[str, object] = {}
    for name, (spec, expects) in mappings().items():
        table = {"from": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, dict) else {}
        attributes[name] = table | ({TYPES[expects]: True} if expects in TYPES else {})
    return {
        "sku": "sku",
        "sourceVersion": "rev",
        "occurredAt": "changed",
        "tables": {"colors": {"rows": COLORS}},
        "catalog": {"attributes": attributes},
    }


def config(snapshot: Mapping[str, object]) -> Config:
    """A shop whose source has this snapshot."""
    return Config.parse(
        {
            "store": {"url": "sqlite:///nowhere"},
            "sources": {"pim": {"domains": ["catalog"], "snapshot": dict(snapshot), "contract": contract()}},
            "channels": {"web": {"locale": "de", "currency": "EUR"}},
        }
    )


def event_by_hand(columns: Columns) -> DomainEvent:
    """The event of a row, as a careful programmer makes it."""
    return DomainEvent(
        type="catalog",
        sku=columns["sku"].strip(),
        channel="*",
        source="pim",
        source_version=int(columns["rev"]),
        occurred_at=datetime.fromisoformat(columns["changed"]).astimezone(UTC),
        payload=_encode({"attributes": by_hand(dict(columns))}),
    )


def csv_rows(file: Path) -> Iterator[Columns]:
    """The rows of a CSV file."""
    with file.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def json_rows(file: Path) -> Iterator[Columns]:
    """The rows of an NDJSON file."""
    decode = msgspec.json.Decoder(dict[str, str]).decode
    with file.open("rb") as lines:
        yield from map(decode, lines)


def write(folder: Path, rows: list[dict[str, str]]) -> None:
    """Writes the rows as CSV and as NDJSON."""
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "rows.ndjson").write_bytes(b"\n".join(map(_encode, rows)))


async def events_of(snapshot: Mapping[str, object]) -> list[DomainEvent]:
    """The events that Pagefold makes of a snapshot, before they are checked and compared."""
    async with open_snapshot(config(snapshot), "pim") as opened:
        found = [row.event async for batch in opened.batches() for row in batch.rows]
    return [event for event in found if isinstance(event, DomainEvent)]


def _pagefold(snapshot: Mapping[str, object]) -> Callable[[], Awaitable[Timed]]:
    async def run() -> Timed:
        begin = time.process_time()
        made = await events_of(snapshot)
        return Timed(time.process_time() - begin, len(made))

    return run


def _by_hand(rows: Callable[[], Iterable[Columns]]) -> Callable[[], Awaitable[Timed]]:
    async def run() -> Timed:
        begin = time.process_time()
        made = [event_by_hand(row) for row in rows()]
        return Timed(time.process_time() - begin, len(made))

    return run


def _decoded(event: DomainEvent) -> object:
    """The event with its payload decoded: its members may be in another order."""
    assert isinstance(event.payload, bytes)
    return msgspec.structs.replace(event, payload=msgspec.json.decode(event.payload))


async def _line(bench: Bench, name: str, store: str, sides: list[Side], number: int) -> Line:
    rates = await interleave(sides, bench.rounds, PIECES)
    claims = [ratio(rates, PAGEFOLD, BASELINE, at_least=MIN_RATIO, what="× a converter written by hand")]
    return Line(f"records of {name}, by contract", store, number, "records/s", spreads(rates), claims)


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Records a second through a contract of 50 mappings: 10 lookups, 5 localized, 5 computed, 3 amounts."""
    rows = records(RECORDS // (10 if bench.quick else 1))
    if isinstance(stores, SQLiteStores):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), rows)
            return [await _file(bench, Path(folder) / name, read, len(rows)) for name, read in FILES.items()]
    assert isinstance(stores, PostgresStores)
    return [await _query(bench, stores, rows)]


FILES = {"rows.csv": csv_rows, "rows.ndjson": json_rows}


async def _file(bench: Bench, file: Path, read: Callable[[Path], Iterator[Columns]], number: int) -> Line:
    """One form of file."""
    snapshot = {"file": str(file)}
    expected = [event_by_hand(row) for row in read(file)]
    assert list(map(_decoded, expected)) == list(map(_decoded, await events_of(snapshot)))
    sides = [Side(PAGEFOLD, _pagefold(snapshot)), Side(BASELINE, _by_hand(lambda: read(file)))]
    return await _line(bench, {".csv": "CSV", ".ndjson": "JSON"}[file.suffix], "sqlite", sides, number)


@asynccontextmanager
async def _table(url: str, rows: list[dict[str, str]]) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to a database that has the rows in a table."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE TABLE rows ({', '.join(f'{name} text' for name in rows[0])})")
        await connection.copy_records_to_table("rows", records=[tuple(row.values()) for row in rows])
        yield connection
    finally:
        await connection.close()


async def _query(bench: Bench, stores: PostgresStores, rows: list[dict[str, str]]) -> Line:
    """A query."""
    url = await stores.new()
    async with _table(url, rows) as connection:
        snapshot = {"query": "SELECT * FROM rows", "database": url}

        async def by_hand_side() -> Timed:
            begin = time.process_time()
            made = [event_by_hand(dict(row.items())) for row in await connection.fetch("SELECT * FROM rows")]
            return Timed(time.process_time() - begin, len(made))

        sides = [Side(PAGEFOLD, _pagefold(snapshot)), Side(BASELINE, by_hand_side)]
        line = await _line(bench, "a query", "postgres", sides, len(rows))
    await stores.drop(url)
    return line
