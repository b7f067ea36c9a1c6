"""Runs the rebuild of the demo, and checks its findings."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pagefold.engine.demo.reference_model import Drift, Stream
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RebuildService, RunReport
from pagefold.engine.rebuild.run_observer import RunObserver
from pagefold.engine.replay.replayer import ReplayResult, SectionDrift
from pagefold.engine.shop import Shop
from pagefold.engine.snapshots.snapshot import Batch
from pagefold.projections.streams import parse_stream_id

MAX_STREAMS = 3
"""Maximum streams that a problem names."""


class Expected(NamedTuple):
    """The expected findings: `rows` of each source's snapshot, `drift` by stream, and the number of bad `sections`."""

    rows: Mapping[str, int]
    drift: Mapping[Stream, Drift]
    sections: int


@dataclass(slots=True)
class Findings:
    """The findings of a rebuild or a dry run: a report for each source, drift by stream, and the sections."""

    runs: list[RunReport] = field(default_factory=list)
    drift: dict[Stream, Drift] = field(default_factory=dict)
    pages: ReplayResult = field(default_factory=ReplayResult)
    seconds: float = 0.0
    folding_seconds: float = 0.0

    @property
    def rows(self) -> int:
        """The number of rows compared with the log."""
        return sum(run.counts.rows for run in self.runs)

    @property
    def events(self) -> int:
        """The number of events that repair drift."""
        return sum(run.drifted + run.counts.withdrawn for run in self.runs)

    def by_kind(self) -> Counter[Drift]:
        """The number of drifted streams by kind."""
        return Counter(self.drift.values())


class FindingsObserver(RunObserver):
    """Observes a run. Adds its findings to `kinds`, which a screen may display meanwhile."""

    def __init__(self, kinds: Counter[str], advance: Callable[[int], None]) -> None:
        self.found_by_stream: dict[str, Drift] = {}
        self._kinds = kinds
        self._advance = advance
        self._read = 0

    def read(self, batch: Batch) -> None:
        """A batch of the snapshot was read."""
        self._read += len(batch.rows)
        self._advance(len(batch.rows))

    def found(self, drift: Drift, streams: Sequence[str]) -> None:
        """These streams have this drift."""
        self.found_by_stream.update(dict.fromkeys(streams, drift))
        self._kinds[drift] += len(streams)

    def start_over(self) -> None:
        """The findings so far are void: the snapshot is read again and sorted."""
        self._advance(-self._read)
        self._read = 0
        self._kinds.subtract(Counter(self.found_by_stream.values()))
        self.found_by_stream.clear()


class RebuildCheck:
    """Finds and repairs drift. `kinds` counts the findings so far by kind."""

    def __init__(self, shop: Shop, advance: Callable[[int], None]) -> None:
        self.kinds: Counter[str] = Counter()
        self._shop = shop
        self._advance = advance

    async def compare_sources(self, findings: Findings, *, dry_run: bool) -> None:
        """Rebuilds every source from its snapshot. A real run's findings are read from its record."""
        self.kinds.clear()
        started = time.perf_counter()
        async with self._shop.rebuilds() as service:
            for source in service.sources(None, None):
                observer = FindingsObserver(self.kinds, self._advance)
                report = await service.rebuild(source, RebuildRequest(dry_run=dry_run), observer)
                findings.runs.append(report)
                found = observer.found_by_stream if report.run is None else await _recorded(service, report.run)
                findings.drift |= {Stream(*parse_stream_id(stream)): drift for stream, drift in found.items()}
        findings.seconds = time.perf_counter() - started

    async def compare_pages(self, findings: Findings, *, dry_run: bool) -> None:
        """Replays every page, or verifies it in a dry run."""
        started = time.perf_counter()
        findings.pages = await self._shop.replay(
            write=not dry_run, on_drift=self._count_section, on_progress=self._advance
        )
        findings.folding_seconds = time.perf_counter() - started

    def _count_section(self, _drift: SectionDrift) -> None:
        self.kinds["section"] += 1


async def _recorded(service: RebuildService, run_id: str) -> dict[str, Drift]:
    return {stream: drift async for stream, drift in service.drifted(run_id)}


def problems_of(findings: Findings, expected: Expected, when: str) -> list[str]:
    """Returns missing and wrong findings as sentences that begin with `when`."""
    problems = [
        f"{when}: the rebuild of {run.source} is {run.state}; {run.reason or 'some rows of its snapshot are missing'}"
        for run in findings.runs
        if run.state != "completed" or not run.complete or run.counts.rows != expected.rows[run.source]
    ]
    if {run.source for run in findings.runs} != set(expected.rows):
        problems.append(f"{when}: not every source was rebuilt")
    wrong = sorted(expected.drift.items() ^ findings.drift.items())
    if wrong:
        streams = list(dict.fromkeys("/".join(stream) for stream, _ in wrong))
        names = ", ".join(streams[:MAX_STREAMS]) + (" and others" if len(streams) > MAX_STREAMS else "")
        found, must = len(findings.drift), len(expected.drift)
        problems.append(f"{when}: found {found:,} drifted streams, expected {must:,}; they differ in {names}")
    if findings.pages.changed != expected.sections:
        found, must = findings.pages.changed, expected.sections
        problems.append(f"{when}: found {found:,} corrupted sections, expected {must:,}")
    return problems
