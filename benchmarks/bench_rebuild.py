"""Rebuilding a source: a snapshot in a file beside the log, when nothing has drifted and when everything has.

The floor reads the same rows and the same heads, a step of either after the other: it decodes the envelope of each line
and leaves its payload alone, and merges them by stream and version. No rule of the door, no comparison of contents, no
record of the run. Where everything has drifted, it appends what it has read, as it stands there, with the floor's bare
insert, one transaction a step.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

import msgspec

import pagefold
from benchmarks.baseline import TAILS, Floor, Head
from benchmarks.measurement import (
    FLOOR,
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
from benchmarks.price_workload import FIRST, SOURCE, WHOLE, Bystander, events, export
from benchmarks.run_settings import Bench, fresh, peak
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import RECORDED_AT, config
from pagefold.engine.rebuild.rebuild_service import RebuildService
from pagefold.engine.rebuild.run_aggregate import RunCounts
from pagefold.engine.stores.event_state import EncodedEvent

AT_LEAST = 0.6
MOST_MEGABYTES = 150


class Envelope(msgspec.Struct, gc=False, rename="camel"):
    """A row of a snapshot, its payload not decoded."""

    type: str
    sku: str
    channel: str
    source: str
    source_version: int
    occurred_at: str
    payload: msgspec.Raw


_decode = msgspec.json.Decoder(Envelope).decode


class Merge:
    """Rows beside heads, both in the order of their streams: which are equal, which newer, by their versions."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._rows = _named(lines)
        self._row = next(self._rows, None)
        self.equal = 0
        self.newer = 0

    def step(self, heads: Sequence[Head]) -> list[EncodedEvent]:
        """Goes on to the last of these heads. Gives, of the rows up to there, the newer ones as events."""
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
    """Each row with its stream."""
    for line in lines:
        row = _decode(line)
        yield f"{row.sku}/{row.channel}/{row.type}/{row.source}", row


def _event(stream: str, row: Envelope) -> EncodedEvent:
    """What a row says, as it stands there."""
    said = (stream.encode(), row.occurred_at.encode(), RECORDED_AT.encode(), row.payload)
    state = b'{"id":"%b","occurredAt":"%b","recordedAt":"%b","payload":%b}' % said
    return EncodedEvent(stream, row.source_version, row.type, state, b"")


async def compare(bench: Bench, stores: Stores) -> list[Line]:
    """A snapshot of each size, whose rows are all as the log has them."""
    return [await _equal(bench, stores, rows) for rows in bench.sizes]


async def _equal(bench: Bench, stores: Stores, rows: int) -> Line:
    url = await stores.prices(rows)
    with _file() as file:
        export(file, rows)
        async with pagefold.open(config(url, file)) as shop, shop.rebuilds() as office:
            floor = await stores.floor(url)
            sides = [
                Side(PAGEFOLD, lambda: _rebuild(office, RunCounts(rows=rows, equal=rows))),
                Side(FLOOR, lambda: _read(floor, file, rows)),
            ]
            rates = await interleave(sides, bench.rounds_of(rows))
            await floor.close()
    return _line("rebuild, nothing drifted", stores, rows, rates, "every row of the snapshot is as the log has it")


async def mend(bench: Bench, stores: Stores) -> list[Line]:
    """A snapshot of the smallest size, every row of which is newer than what the log has; newer with every round."""
    rows = min(bench.sizes)
    versions, bare_versions = count(FIRST + 1), count(FIRST + 1)
    with _file() as file:
        async with (
            fresh(stores, 2) as (url, floor_url),
            pagefold.open(config(url, file)) as shop,
            shop.rebuilds() as office,
        ):
            floor = await stores.floor(floor_url)
            for each in (url, floor_url):
                await stores.fill(each, events(rows))

            async def run_pagefold() -> Timed:
                export(file, rows, next(versions))
                return await _rebuild(office, RunCounts(rows=rows, newer=rows))

            async def barely() -> Timed:
                export(file, rows, next(bare_versions))
                return await _read(floor, file, rows)

            rates = await interleave([Side(PAGEFOLD, run_pagefold), Side(FLOOR, barely)], bench.rounds_of(rows))
            await floor.close()
    return [_line("rebuild, everything drifted", stores, rows, rates, "every row is newer, and is appended")]


@contextmanager
def _file() -> Iterator[Path]:
    """Where a snapshot can be."""
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        yield Path(folder) / "prices.ndjson"


async def _rebuild(office: RebuildService, expected: RunCounts) -> Timed:
    """A whole run, which finds what is expected in rows that are in order."""
    bystander, watch = Bystander(), Stopwatch()
    with watch:
        report = await office.rebuild(SOURCE, WHOLE, bystander)
    assert (report.state, report.complete, report.counts) == ("completed", True, expected)
    assert not bystander.restarts
    return Timed(watch.seconds, report.counts.rows)


async def _read(floor: Floor, file: Path, rows: int) -> Timed:
    """What a run reads, and as many events appended as are newer."""
    watch = Stopwatch()
    after: str | None = ""
    with file.open("rb") as lines, watch:
        merge = Merge(islice(lines, rows))
        while after is not None:
            heads, after = await floor.scan(TAILS["pricing"], after)
            if newer := merge.step(heads):
                await floor.append(newer)
    assert merge.equal + merge.newer == rows
    return Timed(watch.seconds, rows)


def _line(name: str, stores: Stores, rows: int, rates: dict[str, list[float]], note: str) -> Line:
    claims = [ratio(rates, PAGEFOLD, FLOOR, at_least=AT_LEAST)]
    return Line(name, stores.name, rows, "rows/s", spreads(rates), claims, note)


async def memory(bench: Bench, stores: Stores) -> list[Line]:
    """The peak of a process that rebuilds from rows that are all equal: many in order and in none, and few in order."""
    smallest, largest = min(bench.sizes), max(bench.sizes)
    times = 1 if bench.quick else 2
    many, jumbled = f"{largest:,}", f"{largest:,}, in no order"
    peaks = {
        many: [await _peak(stores, largest) for _ in range(times)],
        jumbled: [await _peak(stores, largest, shuffled=True) for _ in range(times)],
    }
    claims = [Claim(f"MB at {what}", Spread.of(peaks[what]), at_most=MOST_MEGABYTES) for what in (many, jumbled)]
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
