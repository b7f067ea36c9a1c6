"""Events are lost, sections are corrupted, a product disappears from its sources; then a rebuild repairs the pages."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from anyio.to_thread import run_sync

from pagefold.engine.demo.corruption import corrupt_sections
from pagefold.engine.demo.event_loss import Loss, LossyTransport
from pagefold.engine.demo.faults import Faults, inject_faults
from pagefold.engine.demo.live_phase import LivePhase
from pagefold.engine.demo.page_check import Verdict
from pagefold.engine.demo.rebuild_check import Expected, Findings, RebuildCheck
from pagefold.engine.demo.reference_model import DOMAINS, Document, Drift, Model, Stream
from pagefold.engine.demo.sample_shop import Shop as SampleShop
from pagefold.engine.demo.snapshot_export import export
from pagefold.engine.runtime.task_groups import run_beside

CORRUPTED_SKUS = 8
"""SKUs whose sections may be corrupted: two for each domain."""


class LossResult(NamedTuple):
    """The losses, the expected findings, those of a dry run and of the rebuild, and the pages before and after it.

    `events` is the number of events that each domain must have afterwards, `example` a stream that drifted.
    """

    losses: Counter[Loss]
    gone: str
    expected: Expected
    before: Verdict
    dry_run_findings: Findings
    rebuild_findings: Findings
    after: Verdict
    events: Mapping[str, int]
    example: Stream


class LossScenario:
    """The second half of the demo. `model` has all events of the first half."""

    def __init__(self, phase: LivePhase, sample: SampleShop, model: Model) -> None:
        self._phase = phase
        self._display = phase.display
        self._sample = sample
        self._model = model
        self._received = model.copy()
        self._gone = phase.ledger.quietest()
        self._line = LossyTransport(model, self._gone, sample.seed, self._display.advance)
        self._rebuild_check = RebuildCheck(phase.shop, self._display.advance)
        self._display.lost = self._line.losses
        self._display.found = self._rebuild_check.kinds

    async def run_demo(self, changes: Iterator[Document], count: int) -> LossResult:
        """Runs the whole phase, beginning with `count` more changes."""
        await self._lose(changes, count)
        drift = self._model.drift(self._received, {self._gone})
        sections = await corrupt_sections(self._phase.shop, self._undamaged_skus({stream.sku for stream in drift}))
        taken_at = datetime.now(UTC)
        rows = await run_sync(export, self._model, self._phase.shop.config, {self._gone}, taken_at)
        expected = Expected(rows, drift, sections)
        before = await self._compare_pages("Comparing after the losses")
        dry_run_findings = await self._check_rebuild(expected, dry_run=True)
        async with run_beside(self._display.storefront.browse):
            rebuild_findings = await self._check_rebuild(expected, dry_run=False)
        self._withdraw(drift, taken_at)
        after = await self._compare_pages("Comparing with the model")
        return LossResult(
            losses=self._line.losses,
            gone=self._gone,
            expected=expected,
            before=before,
            dry_run_findings=dry_run_findings,
            rebuild_findings=rebuild_findings,
            after=after,
            events=self._events(drift),
            example=self._example(drift),
        )

    async def _lose(self, changes: Iterator[Document], count: int) -> None:
        """Delivers launches and changes over a lossy transport."""
        events = itertools.chain(self._sample.launches(), changes)
        arrivals = inject_faults(events, Faults(), self._sample.seed + 1)
        self._display.begin("Delivering with losses", sum(1 for _ in self._sample.launches()) + count, "events")
        await self._phase.deliver(self._line.passes(arrivals), self._received)

    def _undamaged_skus(self, drifted: set[str]) -> list[str]:
        """Some products without losses."""
        skus = (product.sku for product in self._sample.products if product.sku not in drifted)
        return list(itertools.islice(skus, CORRUPTED_SKUS))

    async def _compare_pages(self, step: str) -> Verdict:
        self._display.begin(step, sum(self._display.channels.values()), "pages")
        return await self._phase.compare_pages(self._model)

    async def _check_rebuild(self, expected: Expected, *, dry_run: bool) -> Findings:
        """Rebuilds all sources from their snapshots, then all pages from the log."""
        findings = Findings()
        step = "A dry run of the rebuild" if dry_run else "Rebuilding from snapshots"
        self._display.begin(step, sum(expected.rows.values()), "rows")
        await self._rebuild_check.compare_sources(findings, dry_run=dry_run)
        await self._phase.shop.catch_up()
        stored = [await self._phase.shop.store.pages.count(domain) for domain in DOMAINS]
        step = "Verifying every section" if dry_run else "Replaying every section"
        self._display.begin(step, sum(stored), "sections")
        await self._rebuild_check.compare_pages(findings, dry_run=dry_run)
        return findings

    def _withdraw(self, drift: Mapping[Stream, Drift], taken_at: datetime) -> None:
        """Withdraws the removed product's streams in the model, as the rebuild does in the log."""
        for stream, kind in drift.items():
            if kind == "orphan":
                self._model.withdraw(stream, taken_at)

    def _events(self, drift: Mapping[Stream, Drift]) -> dict[str, int]:
        """The events that each domain received, plus one for each of its drifted streams."""
        rebuild_findings = Counter(stream.domain for stream in drift)
        return {domain: self._received.events(domain) + rebuild_findings[domain] for domain in DOMAINS}

    def _example(self, drift: Mapping[Stream, Drift]) -> Stream:
        """The stream that was most versions behind; any drifted stream if none was behind."""
        behind = [stream for stream, kind in drift.items() if kind == "newer"] or list(drift)
        return max(behind, key=lambda stream: (self._behind(stream), stream))

    def _behind(self, stream: Stream) -> int:
        sent, arrived = self._model.head(stream), self._received.head(stream)
        return sent.version - arrived.version if sent and arrived else 0
