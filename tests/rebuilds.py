"""Snapshots for tests, and rebuilds from them."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from engine import Config, DomainEvent, Shop
from engine.door import Drift
from engine.rebuild.office import Order, RunReport
from engine.snapshots.snapshot import Batch
from tests.shops import Document, as_line, document

WHOLE = Order()


class Witness:
    """A watcher that remembers what it is told."""

    def __init__(self) -> None:
        self.drift: dict[str, Drift] = {}
        self.rows = 0
        self.restarts = 0

    def read(self, batch: Batch) -> None:
        """Counts its rows."""
        self.rows += len(batch.rows)

    def found(self, stream: str, drift: Drift) -> None:
        """Remembers it; no stream is found twice."""
        assert stream not in self.drift
        self.drift[stream] = drift

    def start_over(self) -> None:
        """Forgets everything."""
        self.drift.clear()
        self.restarts += 1


def with_snapshots(url: str, folder: Path, *sources: str, **settings: object) -> Config:
    """The small shop, where these sources have snapshots in `folder`, such as `erp.ndjson`."""
    tables = document(url, work={"poll_seconds": 0.05, "lease_seconds": 1.0})
    for source in sources:
        tables["sources"][source]["snapshot"] = {"file": str(folder / f"{source}.ndjson")} | settings
    return Config.parse(tables, store=url)


def toml_of(config: Config) -> str:
    """The configuration as a file has it."""
    return "\n".join(_tables(msgspec.to_builtins(config), ""))


def _tables(table: Document, name: str) -> Iterator[str]:
    """A table, and those in it behind it. What JSON writes of texts, numbers and lists is TOML."""
    if name:
        yield f"[{name}]"
    for key, value in table.items():
        if not isinstance(value, dict) and value is not None:
            yield f"{json.dumps(key)} = {json.dumps(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _tables(value, f"{name}.{json.dumps(key)}".lstrip("."))


def lines_of(events: Iterable[DomainEvent], *, taken_at: str | None = None, end: bool = True) -> bytes:
    """A whole snapshot as NDJSON, in the order of the events."""
    return marked(map(as_line, events), taken_at=taken_at, end=end)


def marked(lines: Iterable[bytes], *, taken_at: str | None = None, end: bool = True) -> bytes:
    """Rows between the markers of a snapshot, which has no end marker unless `end`."""
    rows = list(lines)
    begin = [msgspec.json.encode({"snapshot": "begin", "takenAt": taken_at})] if taken_at else []
    marker = [msgspec.json.encode({"snapshot": "end", "count": len(rows)})] if end else []
    return b"".join(line + b"\n" for line in (*begin, *rows, *marker))


def file_of(config: Config, source: str) -> Path:
    """Where the configuration says that the snapshot of a source is."""
    settings = config.sources[source].snapshot
    assert settings is not None
    assert settings.file is not None
    return Path(settings.file)


def export(config: Config, source: str, *events: DomainEvent, taken_at: str | None = None, end: bool = True) -> None:
    """Puts a snapshot where it belongs."""
    file_of(config, source).write_bytes(lines_of(events, taken_at=taken_at, end=end))


async def rebuild(shop: Shop, source: str, order: Order = WHOLE, witness: Witness | None = None) -> RunReport:
    """One run, and what it has found folded."""
    async with shop.rebuilds() as office:
        report = await office.rebuild(source, order, witness or Witness())
    await shop.catch_up()
    return report


async def resume(shop: Shop, run_id: str | None, *, confirmed: bool = False) -> RunReport:
    """The same run, from where it was, and what it has found folded."""
    assert run_id is not None
    async with shop.rebuilds() as office:
        report = await office.resume(run_id, Witness(), confirmed=confirmed)
    await shop.catch_up()
    return report


def counts_of(report: RunReport) -> dict[str, int]:
    """The counts that are not 0."""
    return report.counts.as_dict()
