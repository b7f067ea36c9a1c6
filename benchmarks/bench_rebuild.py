"""Rebuilding a source from a snapshot file, when nothing drifted and when everything did.

The baseline reads the same rows and heads alternately, decodes each line without its payload, and merges them by stream
and version: no validation, no comparison of contents, no record of the run. If everything drifted, it appends the rows
unchecked, one transaction per chunk.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

import msgspec

import pagefold
from benchmarks.baseline import STREAM_SUFFIXES, Baseline, Head
from benchmarks.measurement import (
    BASELINE,
    PAGEFOLD,
    Claim,
    Line,
    Side,
    Spread,
    Stopwatch,
    Timed,
    interleave,
    ratio,
    spreads,
)
from benchmarks.price_workload import FIRST, REQUEST, SOURCE, RestartCounter, events, export
from benchmarks.run_settings import Bench, new_stores, peak
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import RECORDED_AT, config
from pagefold.engine.rebuild.rebuild_service import RebuildService
from pagefold.engine.rebuild.run_records import RunCounts
from pagefold.engine.stores.event_state import EncodedEvent

MIN_RATIO = 0.6
MAX_MEGABYTES = 150


class Envelope(msgspec.Struct, gc=False, rename="camel"):
    """A row of a snapshot, with its payload undecoded."""

    type: str
    sku: str
    channel: str
    source: str
    source_version: int
    occurred_at: str
    payload: msgspec.Raw


_decode = msgspec.json.Decoder(Envelope).decode


class RowMerge:
    """Merges rows and heads, both in the order of their streams: equal and newer rows, by version."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._rows = _named(lines)
        self._row = next(self._rows, None)
        self.equal = 0
        self.newer = 0

    def step(self, heads: Sequence[Head]) -> list[EncodedEvent]:
        """Advances to the last of these heads. Returns the newer rows up to there as events."""
        row, rows, equal = self._row, self._rows, 0
        newer: list[EncodedEvent] = []
        for head in heads:
            while row is not None and row[0] < head[1]:
                row = next(rows, None)
            if row is not None and row[0] == head[1]:
                if row[1].source_version > head[2]:
                    newer.append(_event(*row))
                equal += row[1].source_version == head[2]
                row = next(rows, None)
        self._row = row
        self.equal += equal
        self.newer += len(newer)
        return newer


def _named(lines: Iterable[bytes]) -> Iterator[tuple[str, Envelope]]:
    """The rows with their streams."""
    for line in lines:
        row = _decode(line)
        yield f"{row.sku}/{row.channel}/{row.type}/{row.source}", row


def _event(stream: str, row: Envelope) -> EncodedEvent:
    """A row as an event, unchecked."""
    fields = (stream.encode(), row.occurred_at.encode(), RECORDED_AT.encode(), row.payload)
    state = b'{"id":"%b","occurredAt":"%b","recordedAt":"%b","payload":%b}' % fields
    return EncodedEvent(stream, row.source_version, row.type, state, b"")


async def compare(bench: Bench, stores: Stores) -> list[Line]:
    """Rebuilds from a snapshot of each size whose rows all equal the log."""
    return [await _equal(bench, stores, rows) for rows in bench.sizes]


async def _equal(bench: Bench, stores: Stores, rows: int) -> Line:
    url = await stores.prices(rows)
    with _file() as file:
        export(file, rows)
        async with pagefold.open(config(url, file)) as shop, shop.rebuilds() as service:
            baseline = await stores.baseline(url)
            sides = [
                Side(PAGEFOLD, lambda: _rebuild(service, RunCounts(rows=rows, equal=rows))),
                Side(BASELINE, lambda: _read(baseline, file, rows)),
            ]
            rates = await interleave(sides, bench.rounds_of(rows))
            await baseline.close()
    return _line("rebuild, nothing drifted", stores, rows, rates, "every row equals the log")


async def repair(bench: Bench, stores: Stores) -> list[Line]:
    """Rebuilds from a snapshot of the smallest size whose rows are all newer than the log, in every round."""
    rows = min(bench.sizes)
    versions, bare_versions = count(FIRST + 1), count(FIRST + 1)
    with _file() as file:
        async with (
            new_stores(stores, 2) as (url, baseline_url),
            pagefold.open(config(url, file)) as shop,
            shop.rebuilds() as service,
        ):
            baseline = await stores.baseline(baseline_url)
            for each in (url, baseline_url):
                await stores.fill(each, events(rows))

            async def run_pagefold() -> Timed:
                export(file, rows, next(versions))
                return await _rebuild(service, RunCounts(rows=rows, newer=rows))

            async def run_baseline() -> Timed:
                export(file, rows, next(bare_versions))
                return await _read(baseline, file, rows)

            rates = await interleave(
                [Side(PAGEFOLD, run_pagefold), Side(BASELINE, run_baseline)], bench.rounds_of(rows)
            )
            await baseline.close()
    return [_line("rebuild, everything drifted", stores, rows, rates, "every row is newer, and is appended")]


@contextmanager
def _file() -> Iterator[Path]:
    """The path of a temporary snapshot."""
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        yield Path(folder) / "prices.ndjson"


async def _rebuild(service: RebuildService, expected: RunCounts) -> Timed:
    """Times a whole run, and checks its counts."""
    counter, watch = RestartCounter(), Stopwatch()
    with watch:
        report = await service.rebuild(SOURCE, REQUEST, counter)
    assert (report.state, report.complete, report.counts) == ("completed", True, expected)
    assert not counter.restarts
    return Timed(watch.seconds, report.counts.rows)


async def _read(baseline: Baseline, file: Path, rows: int) -> Timed:
    """Times reading what a run reads, and appending the newer rows."""
    watch = Stopwatch()
    after: str | None = ""
    with file.open("rb") as lines, watch:
        merge = RowMerge(islice(lines, rows))
        while after is not None:
            heads, after = await baseline.scan(STREAM_SUFFIXES["pricing"], after)
            if newer := merge.step(heads):
                await baseline.append(newer)
    assert merge.equal + merge.newer == rows
    return Timed(watch.seconds, rows)


def _line(name: str, stores: Stores, rows: int, rates: dict[str, list[float]], note: str) -> Line:
    claims = [ratio(rates, PAGEFOLD, BASELINE, at_least=MIN_RATIO)]
    return Line(name, stores.name, rows, "rows/s", spreads(rates), claims, note)


async def memory(bench: Bench, stores: Stores) -> list[Line]:
    """Peak memory of a process that only rebuilds, from equal rows: many sorted, many shuffled, and few sorted."""
    smallest, largest = min(bench.sizes), max(bench.sizes)
    times = 1 if bench.quick else 2
    many, shuffled_rows = f"{largest:,}", f"{largest:,}, shuffled"
    peaks = {
        many: [await _peak(stores, largest) for _ in range(times)],
        shuffled_rows: [await _peak(stores, largest, shuffled=True) for _ in range(times)],
    }
    claims = [Claim(f"MB at {what}", Spread.of(peaks[what]), at_most=MAX_MEGABYTES) for what in (many, shuffled_rows)]
    if smallest != largest:
        few = f"{smallest:,}"
        peaks[few] = [await _peak(stores, smallest) for _ in range(times)]
        growth = [one - other for one, other in zip(peaks[many], peaks[few], strict=True)]
        claims.append(Claim(f"MB more at {many} than at {few}", Spread.of(growth)))
    sides = {f"peak at {what}": Spread.of(values) for what, values in peaks.items()}
    note = "peak resident size of a process that only rebuilds"
    return [Line("rebuild, memory", stores.name, largest, "MB", sides, claims, note)]


async def _peak(stores: Stores, rows: int, *, shuffled: bool = False) -> float:
    url = await stores.prices(rows)
    with _file() as file:
        export(file, rows, shuffled=shuffled)
        return await peak(url, str(file))
